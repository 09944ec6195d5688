# A release: built and proved beside the live one, switched to in one reload of nginx, watched, and taken back if it is wrong.
# shellcheck shell=bash

RELEASES=$HOME_DIR/releases

# Name a release by when it was made and from what.
release_name() {
    local version=unversioned
    if git -C "$1" -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        version=$(git -C "$1" -c safe.directory='*' rev-parse --short=10 HEAD)
    fi
    printf '%s-%s' "$(date -u +%Y%m%d-%H%M%S)" "$version"
}

# hand_over [FOLDER]: a version is released by its own script, for units and nginx's files are its own, and may want what this one does not know.
hand_over() {
    local source
    source=$(readlink -f "${1:-$SOURCE}")
    [ "$source" = "$SOURCE" ] || [ ! -f "$source/deploy/deploy.sh" ] || exec bash "$source/deploy/deploy.sh" release "$source"
}

release() {
    local source=$1 name folder began
    source=$(readlink -f "$source")
    if [ ! -f "$source/manage.py" ] || [ ! -f "$source/requirements.txt" ]; then
        die "$source is no checkout of the platform." "Name the folder that holds manage.py: deploy.sh release /path/to/checkout"
    fi
    [ -f "$ENV_FILE" ] || die "This machine is not installed yet." "Run: $DEPLOY/deploy.sh install"
    began=$(date +%s%N)
    settle
    note_health
    name=$(release_name "$source")
    folder=$RELEASES/$name
    local serving
    serving=$(live_release)
    say "Release $name, while ${serving:-nothing} serves"
    build "$source" "$folder"
    prove "$folder" || give_up "$folder" "It was never live."
    migrate "$folder" || give_up "$folder" "The database has the old schema, or steps of the new one that the old version can live with."
    if has_role web; then
        start_beside "$folder" || give_up "$folder" "It was never live."
    fi
    local before
    before=$(readlink "$HOME_DIR/previous" || true)
    rm -f "$folder/FAILED"
    if ! switch_to "$name"; then
        systemctl stop "parking-web@$(idle_slot).service" 2>/dev/null || true
        give_up "$folder" "It was never live."
    fi
    if ! watch_live; then
        [ -n "$serving" ] || die "The first release does not hold." "Its logs: journalctl -u 'parking-*' --since '-10 min'"
        warn "The new release does not hold: the old one returns."
        # What still serves keeps its files.
        return_to_previous || die "The old one does not start either, so $name goes on serving." "See: parking status, and journalctl -u 'parking-*' --since '-10 min'"
        # What one could roll back to before is what one can roll back to now.
        if [ -n "$before" ]; then ln -sfn "$before" "$HOME_DIR/previous"; else rm -f "$HOME_DIR/previous"; fi
        mark_failed "$folder"
        die "Release $name was taken back after the switch." "Its logs: journalctl -u 'parking-*' --since '-10 min'"
    fi
    forget_old_releases
    # The machine's own part of this version, now that the version is proved. Only what differs is written.
    install_units
    configure_nginx
    say "Live: $name, after $(seconds_since "$began") s."
}

# Copy what is committed, make its environment from the pinned hashes, and its static files.
build() {
    local source=$1 folder=$2 environment
    step "Build"
    install -d -m 755 "$folder"
    # Until it is whole and proved: a kill leaves no half release that counts as one to return to.
    touch "$folder/FAILED"
    if git -C "$source" -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git -C "$source" -c safe.directory='*' archive HEAD | tar --extract --directory="$folder"
    else
        rsync --archive --exclude=.venv --exclude=/var --exclude=.git --exclude=/.env --exclude=/static-root --exclude=/release.env --exclude='/*.log' "$source/" "$folder/"
    fi
    chown -R root:root "$folder"
    chmod -R u=rwX,go=rX "$folder"
    ln -sfn "$ENV_FILE" "$folder/.env"
    environment=$(environment_for "$folder")
    ln -sfn "$environment" "$folder/.venv"
    # A hardened process may not write beside its code, so it is compiled here.
    "$folder/.venv/bin/python" -m compileall -q -j 0 "$folder" -x '/(lab|tests|\.venv)/' >/dev/null 2>&1 || true
    printf 'RELEASE=%s\nSTATIC_ROOT=%s\nVAR_DIR=%s\n' "$(basename "$folder")" "$folder/static-root" "$STATE" >"$folder/release.env"
    done_step
}

# The environment of a version's pinned requirements. Versions that pin the same share one, for it never changes once it is complete.
environment_for() {
    local folder=$1 python environment
    environment=$HOME_DIR/environments/$(sha256sum "$folder/requirements.txt" | cut -c1-16)
    # An upgrade of Debian takes its Python away.
    if [ ! -e "$environment/.complete" ] || ! "$environment/bin/python" -c '' 2>/dev/null; then
        rm -rf "$environment"
        for python in python3.13 python3.12 python3.11 python3; do
            if command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then break; fi
        done
        "$python" -m venv "$environment" >&2
        install -d -m 755 /var/cache/parking
        if ! PIP_CACHE_DIR=/var/cache/parking/pip "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
            --only-binary :all: --no-compile --requirement "$folder/requirements.txt" >"$folder/pip.log" 2>&1; then
            tail -15 "$folder/pip.log" >&2
            rm -rf "$environment"
            give_up "$folder" "The packages could not be installed; see above."
        fi
        "$environment/bin/python" -m compileall -q -j 0 "$environment/lib" >/dev/null 2>&1 || true
        touch "$environment/.complete"
    fi
    printf '%s' "$environment"
}

prove() {
    local folder=$1
    step "Prove: settings, static files"
    if ! in_release "$folder" "$APP_USER" -- check --deploy --fail-level WARNING >"$folder/check.log" 2>&1; then
        cat "$folder/check.log" >&2
        say "  Each line above names a setting of $ENV_FILE, and what to write there." >&2
        return 1
    fi
    install -d -m 755 -o "$APP_USER" "$folder/static-root"
    if ! in_release "$folder" "$APP_USER" -- collectstatic --no-input --verbosity 0 >"$folder/static.log" 2>&1; then
        tail -5 "$folder/static.log" >&2
        return 1
    fi
    # Names hold a hash of their content, so files of all releases lie together: a page of the old one still finds its own.
    rsync --archive --ignore-existing --chown=root:root --chmod=D755,F644 --exclude=staticfiles.json "$folder/static-root/" /var/lib/parking-static/ || return 1
    chown -R root:root "$folder/static-root"
    chmod -R u=rwX,go=rX "$folder/static-root"
    done_step
}

owner_database() {
    local url
    url=$(setting DATABASE_URL)
    if [ -n "$OWNER_DATABASE_URL" ]; then printf '%s' "$OWNER_DATABASE_URL"; else printf '%s' "${url/\/\/$APP_USER@/\/\/$OWNER@}"; fi
}

# The old version goes on serving meanwhile, so a lock is waited for briefly and the step tried again: nobody queues behind a migration.
migrate() {
    local folder=$1 pending try user=$OWNER database
    if ! has_role database && [ -z "$OWNER_DATABASE_URL" ]; then
        # Another machine migrates; this one must not go live before it has.
        if ! in_release "$folder" "$APP_USER" -- migrate --check >"$folder/migrate.log" 2>&1; then
            say "  The database lacks migrations of this version. Release first on the machine that has them (the role database, or OWNER_DATABASE_URL)." >&2
            return 1
        fi
        return 0
    fi
    step "Migrate"
    database=$(owner_database)
    pending=$(in_release "$folder" "$user" "DATABASE_URL=$database" -- showmigrations --plan 2>"$folder/migrate.log" | grep -c '^\[ \]' || true)
    if [ "$pending" = 0 ] && ! grep -q . "$folder/migrate.log"; then
        done_step "nothing to do"
        return 0
    fi
    if [ -n "$(live_release)" ] && has_backups; then
        pgbackrest_as_postgres backup --type=incr || { say "  The backup before the migration failed; nothing was migrated." >&2; return 1; }
    fi
    for try in 1 2 3 4 5; do
        if in_release "$folder" "$user" "DATABASE_URL=$database" "PGOPTIONS=-c lock_timeout=4s" -- prepare_database >"$folder/migrate.log" 2>&1; then
            done_step "$pending steps, try $try"
            return 0
        fi
        grep -q 'lock timeout' "$folder/migrate.log" || break
        say "  A lock was not free within 4 s; once more."
        sleep 3
    done
    tail -8 "$folder/migrate.log" >&2
    return 1
}

start_beside() {
    local folder=$1 slot
    slot=$(idle_slot)
    step "Start beside the live one ($slot)"
    ln -sfn "$folder" "$HOME_DIR/slots/$slot"
    systemctl restart "parking-web@$slot.service" 2>/dev/null || true
    if answers "$slot" "$HEALTH_SECONDS"; then
        done_step
    else
        journalctl --unit "parking-web@$slot.service" --since "@$((STEP_BEGAN / 1000000000))" --no-pager --output=cat 2>/dev/null | tail -15 >&2
        systemctl stop "parking-web@$slot.service" 2>/dev/null || true
        return 1
    fi
}

# ask SLOT PATH: the status of one request, as nginx would make it.
ask() {
    curl --silent --noproxy '*' --output /run/parking-answer --write-out '%{http_code}' --max-time 10 --unix-socket "/run/parking-web/$1.sock" \
        --header "Host: $(site_host)" --header "X-Forwarded-Proto: https" --header "X-Real-IP: 127.0.0.1" "http://$(site_host)$2" 2>/dev/null || true
}

# Jobs that wait, or a provider that is down: what ails the live release already must not stop the one that may mend it, nor the way back.
note_health() {
    UNWELL=no
    has_role web && [ -n "$(live_slot)" ] || return 0
    [ "$(ask "$(live_slot)" /api/health)" != 200 ] || return 0
    UNWELL=yes
    warn "what serves is not well itself, so /api/health is no condition: $(head -c 300 /run/parking-answer 2>/dev/null | tr -d '\n' || true)"
}

# The gate: alive, every part well, and each kind of page right, three times in a row.
answers() {
    local slot=$1 until=$(($(date +%s) + $2)) path code good=0
    while [ "$(date +%s)" -lt "$until" ]; do
        for path in /health /api/health / /api/airports /accounts/login/ /api/schema /admin/login/; do
            code=$(ask "$slot" "$path")
            case $path:$code:${UNWELL:-no} in
                *:200:* | /admin/login/:302:* | /api/health:503:yes) ;;
                *)
                    good=0
                    GATE="$path answers $code: $(head -c 300 /run/parking-answer 2>/dev/null | tr -d '\n' || true)"
                    sleep 1
                    continue 2
                    ;;
            esac
        done
        good=$((good + 1))
        [ "$good" -lt 3 ] || return 0
    done
    say "  ${GATE:-It was not asked in time.}" >&2
    return 1
}

# From here on it is live. nginx's reload lets old connections end on the old one. The links follow what serves, never the other way round.
switch_to() {
    step "Switch"
    if has_role web; then switch_slot "$(idle_slot)" || return 1; fi
    point_to "$1"
    if has_role worker; then
        provision
        restart_workers || WORKERS_DEAD=yes
    fi
    done_step
}

# point_to NAME: the release that is live, and the one before it.
point_to() {
    local serving
    serving=$(live_release)
    [ -z "$serving" ] || [ "$serving" = "$1" ] || ln -sfn "$RELEASES/$serving" "$HOME_DIR/previous"
    ln -sfn "$RELEASES/$1" "$HOME_DIR/current"
}

# Callers ask whether it succeeds, so each step says so itself.
switch_slot() {
    local old
    old=$(live_slot)
    write_upstream "$1" || true
    if ! nginx -t 2>/run/parking-nginx.test || ! systemctl reload nginx; then
        [ -z "$old" ] || write_upstream "$old" || true
        tail -3 /run/parking-nginx.test >&2
        say "  nginx was not reloaded, so it goes on asking the former slot." >&2
        return 1
    fi
    ln -sfn "$HOME_DIR/slots/$1" "$HOME_DIR/live-slot"
    # What runs at boot is the live one only.
    systemctl enable --quiet "parking-web@$1.service" 2>/dev/null || true
    LEFT_SLOT=$old
}

# After a deployment that was killed in its switch: nginx's file says who serves, or will after its next reload. The links follow, or the next release
# would start over the slot that serves.
settle() {
    local slot name
    has_role web && [ -n "$(live_slot)" ] || return 0
    slot=$(sed -n 's|.*/run/parking-web/\([a-z]*\)\.sock.*|\1|p' "$NGINX/upstream.conf" 2>/dev/null || true)
    if [ -n "$slot" ] && [ "$slot" != "$(live_slot)" ]; then
        warn "A deployment was killed in its switch: $slot serves."
        systemctl start "parking-web@$slot.service"
        switch_slot "$slot" || die "nginx cannot be reloaded." "See: parking nginx-test"
        retire_left_slot
    fi
    name=$(basename "$(readlink -f "$HOME_DIR/live-slot")")
    if [ -d "$RELEASES/$name" ] && [ "$name" != "$(live_release)" ]; then
        warn "$name serves, though it was not watched. \`parking rollback\` returns to $(live_release)."
        point_to "$name"
        if has_role worker; then restart_workers || warn "a worker does not start: parking status"; fi
    fi
}

# The old web processes end once nobody is left on them: nginx's old workers finish what they have.
retire_left_slot() {
    [ -n "${LEFT_SLOT:-}" ] || return 0
    sleep 2
    systemctl stop "parking-web@$LEFT_SLOT.service" 2>/dev/null || true
    systemctl disable --quiet "parking-web@$LEFT_SLOT.service" 2>/dev/null || true
    systemctl start "parking-web@$LEFT_SLOT.socket" 2>/dev/null || true
    LEFT_SLOT=""
}

# Fails when a worker does not come up. Each finishes the jobs that it has first.
restart_workers() {
    systemctl restart --no-block parking-metrics.service 2>/dev/null || true
    # shellcheck disable=SC2046
    systemctl restart $(worker_units) 2>/dev/null
}

# Rows that the providers' libraries want before the first webhook. Idempotent; a provider that is down stops no release.
provision() {
    manage provision_stripe >/run/parking-provision.log 2>&1 ||
        warn "provision_stripe did not succeed: $(tail -1 /run/parking-provision.log)"
}

# For WATCH_SECONDS: the site goes on answering, and no worker stops or starts again by itself.
watch_live() {
    local until unit restarts slot bad=0
    step "Watch for $WATCH_SECONDS s"
    if [ "${WORKERS_DEAD:-no}" = yes ]; then
        for unit in $(worker_units); do
            systemctl is-active --quiet "$unit" || journalctl --unit "$unit" --no-pager --output=cat --lines=6 >&2
        done
        say "  A worker does not start." >&2
        return 1
    fi
    until=$(($(date +%s) + WATCH_SECONDS))
    slot=$(live_slot)
    declare -A seen=()
    sleep 2
    for unit in $(worker_units); do seen[$unit]=$(systemctl show --property=NRestarts --value "$unit"); done
    while [ "$(date +%s)" -lt "$until" ]; do
        if has_role web && [ "$(ask "$slot" /health)" != 200 ]; then bad=$((bad + 1)); fi
        for unit in $(worker_units); do
            restarts=$(systemctl show --property=NRestarts --value "$unit")
            if [ "$restarts" != "${seen[$unit]}" ] || systemctl is-failed --quiet "$unit"; then
                journalctl --unit "$unit" --no-pager --output=cat --lines=12 >&2
                say "  $unit does not stay up." >&2
                return 1
            fi
        done
        if [ "$bad" -ge 3 ]; then
            say "  /health failed $bad times." >&2
            return 1
        fi
        sleep 1
    done
    if has_role web && ! answers "$slot" 15; then return 1; fi
    retire_left_slot
    done_step
}

return_to_previous() {
    local name
    [ -L "$HOME_DIR/previous" ] || return 1
    name=$(basename "$(readlink "$HOME_DIR/previous")")
    [ -d "$RELEASES/$name" ] || return 1
    if has_role web; then
        if [ -n "${LEFT_SLOT:-}" ] && systemctl is-active --quiet "parking-web@$LEFT_SLOT.service"; then
            switch_slot "$LEFT_SLOT" || return 1
        else
            start_beside "$RELEASES/$name" || return 1
            switch_slot "$(idle_slot)" || return 1
        fi
    fi
    # Only now: had it not started, the other would go on serving and be current.
    ln -sfn "$RELEASES/$name" "$HOME_DIR/current"
    retire_left_slot
    if has_role worker; then restart_workers || warn "a worker does not start: parking status"; fi
}

rollback() {
    local from to began
    began=$(date +%s%N)
    settle
    note_health
    from=$(live_release)
    [ -L "$HOME_DIR/previous" ] || die "There is no release before this one." "deploy.sh status lists what is here."
    to=$(basename "$(readlink "$HOME_DIR/previous")")
    [ "$to" != "$from" ] || die "The release before this one is not here any more." "Release it again: deploy.sh release FOLDER"
    say "Back from $from to $to"
    return_to_previous || die "$to does not start either." "$from goes on serving. See: journalctl -u 'parking-web@*'"
    ln -sfn "$RELEASES/$from" "$HOME_DIR/previous"
    say "Live: $to, after $(seconds_since "$began") s. \`deploy.sh rollback\` again returns to $from."
}

mark_failed() {
    touch "$1/FAILED"
    rm -rf "$1/static-root"
}

# give_up FOLDER WHAT-IS-SO
give_up() {
    local serving
    serving=$(live_release)
    mark_failed "$1"
    die "The release $(basename "$1") was given up${STEP:+ at: $STEP}. $2" "${serving:-Nothing} serves as before. What it said is kept in $1/*.log"
}

forget_old_releases() {
    local name kept=0 environment
    for name in $(find "$RELEASES" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -r); do
        if [ -e "$RELEASES/$name/FAILED" ]; then
            [ "$(find "$RELEASES/$name" -maxdepth 0 -mtime +7)" = "" ] || rm -rf "${RELEASES:?}/$name"
            continue
        fi
        kept=$((kept + 1))
        [ "$kept" -gt "$KEEP_RELEASES" ] || continue
        [ "$name" = "$(live_release)" ] || [ "$name" = "$(basename "$(readlink "$HOME_DIR/previous" 2>/dev/null || true)")" ] || rm -rf "${RELEASES:?}/$name"
    done
    for environment in "$HOME_DIR"/environments/*; do
        [ -n "$(find "$RELEASES" -mindepth 2 -maxdepth 2 -name .venv -lname "$environment" -print -quit)" ] || rm -rf "$environment"
    done
}

# Web and workers anew, the web by way of the other slot: nobody waits.
restart_all() {
    local name
    settle
    note_health
    name=$(live_release)
    [ -n "$name" ] || die "Nothing is live on this machine yet." "Run: $DEPLOY/deploy.sh install"
    if has_role web; then
        start_beside "$RELEASES/$name" || die "It does not start again." "The running one goes on."
        switch_slot "$(idle_slot)" || die "It was not switched to." "The running one goes on."
        retire_left_slot
    fi
    if has_role worker; then restart_workers || die "A worker does not start." "See: parking logs worker"; fi
    say "Restarted."
}
