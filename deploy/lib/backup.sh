# Backups by pgBackRest: encrypted before they leave, a full one each week, what changed each night, and every change within a minute.
# shellcheck shell=bash

backup_option() { sed -n "s/^$1=//p" <<<"$BACKUP_OPTIONS"; }

has_backups() { has_role database && [ -n "$BACKUP_TYPE" ] && [ "$BACKUP_TYPE" != none ]; }

pgbackrest_as_postgres() { (cd / && runuser -u postgres -- pgbackrest --stanza=parking "$@"); }

configure_backups() {
    has_backups || return 0
    step "Backups to $BACKUP_TYPE"
    local version options="" line
    version=$(postgresql_version)
    install -d -m 750 -o postgres -g postgres /etc/pgbackrest /var/lib/pgbackrest /var/log/pgbackrest /var/spool/pgbackrest
    [ -s /etc/pgbackrest/passphrase ] || (umask 077 && random_secret >/etc/pgbackrest/passphrase)
    chown postgres:postgres /etc/pgbackrest/passphrase
    while IFS= read -r line; do [ -z "$line" ] || options+="repo1-$line"$'\n'; done <<<"$BACKUP_OPTIONS"
    {
        printf '[global]\nrepo1-type=%s\n%s' "$BACKUP_TYPE" "$options"
        printf 'repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=%s\n' "$(cat /etc/pgbackrest/passphrase)"
        printf 'repo1-retention-full=%s\nrepo1-bundle=y\nrepo1-block=n\n' "$BACKUP_KEEP_FULL" | grep -v repo1-block
        printf 'compress-type=lz4\nstart-fast=y\ndelta=y\nprocess-max=2\narchive-async=y\nspool-path=/var/spool/pgbackrest\nlog-level-console=warn\nlog-level-file=info\n'
        printf '\n[global:archive-push]\nprocess-max=1\n\n[parking]\npg1-path=/var/lib/postgresql/%s/main\npg1-socket-path=/run/postgresql\n' "$version"
    } | write_file /etc/pgbackrest.conf 640 postgres:postgres || true
    [ "$BACKUP_TYPE" != posix ] || install -d -m 750 -o postgres -g postgres "$(backup_option path)"
    if ! pgbackrest_as_postgres stanza-create >/dev/null; then
        archive_answers || die "The place of the backups does not answer." "Mend BACKUP_TYPE and BACKUP_OPTIONS in $CONF_FILE, then run install again."
        die "There are backups of another database." "A new server in place of a lost one: run $DEPLOY/deploy.sh restore, then install again. Otherwise choose another path in BACKUP_OPTIONS."
    fi
    pgbackrest_as_postgres check
    done_step
}

# Full on Sundays and when there is none; otherwise what changed. Leaves a note for the metrics, whatever happened.
back_up() {
    has_backups || die "Backups are not set up on this machine." "Set BACKUP_TYPE in $CONF_FILE and run: deploy.sh install"
    local kind=$1 began
    [ "$(date +%u)" != 7 ] || kind=full
    began=$(date +%s)
    if pgbackrest_as_postgres backup --type="$kind" && keep_settings; then
        note_state backup true "$began" "$(pgbackrest_as_postgres info --output=json | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["backup"][-1]["info"]["repository"]["delta"])')"
        say "The backup is done: $(($(date +%s) - began)) s."
    else
        note_state backup false "$began" 0
        die "The backup failed." "See: journalctl -u parking-backup, /var/log/pgbackrest"
    fi
}

# The site's settings beside the database, encrypted by the same passphrase: a restored database is of no use without ADDRESS_KEY.
keep_settings() {
    # `set -e` does not hold where this is asked, so each step is.
    tar --create --gzip --directory=/ etc/parking etc/pgbackrest.conf 2>/dev/null |
        openssl enc -aes-256-cbc -pbkdf2 -iter 600000 -pass file:/etc/pgbackrest/passphrase -out /var/lib/pgbackrest/settings.tar.gz.enc &&
        chown postgres:postgres /var/lib/pgbackrest/settings.tar.gz.enc &&
        pgbackrest_as_postgres repo-put settings.tar.gz.enc </var/lib/pgbackrest/settings.tar.gz.enc
}

# note_state NAME OK BEGAN BYTES
note_state() {
    install -d -m 755 -o "$APP_USER" -g "$APP_USER" "$STATE/state"
    printf '{"finished_at": "%s", "ok": %s, "seconds": %s, "bytes": %s}\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$2" "$(($(date +%s) - $3))" "$4" |
        write_file "$STATE/state/$1.json" 644 "$APP_USER:$APP_USER" || true
}

succeeded() { grep -qs '"ok": true' "$STATE/state/$1.json"; }

# A copy of the database must not fill the disk that the database writes to.
has_room() {
    local needed free
    needed=$(($(du -sm "/var/lib/postgresql/$(postgresql_version)/main" 2>/dev/null | cut -f1 || true) + 1024))
    free=$(df --output=avail -BM "$1" | tail -1 | tr -dc '0-9')
    [ "$free" -lt "$needed" ] || return 0
    say "  A copy of the database needs $needed MB at $1, and $free MB are free." >&2
    return 1
}

# Restore the newest backup into a folder of its own, start a server on it that nobody else can reach, and audit the books in it.
test_restore() {
    has_backups || die "Backups are not set up on this machine." "Set BACKUP_TYPE in $CONF_FILE and run: deploy.sh install"
    local began folder=/var/lib/pgbackrest/restore-test
    # The timer and a person at once: each would clear the other's folder.
    exec 8>/run/parking-restore-test.lock
    flock --nonblock 8 || die "A backup is being proved already." "Wait for it to end: journalctl -u parking-restore-test"
    began=$(date +%s)
    if restore_beside "$folder"; then
        note_state restore-test true "$began" "$(du -sb "$folder" | cut -f1)"
        say "The newest backup can be restored$([ -z "$(live_release)" ] || printf ', and its books are right'): $(($(date +%s) - began)) s."
    else
        note_state restore-test false "$began" 0
        clean_restore_test "$folder"
        die "The backup could not be proved." "Treat this as having no backup until it passes: journalctl -u parking-restore-test"
    fi
    clean_restore_test "$folder"
}

clean_restore_test() {
    local bin
    bin=/usr/lib/postgresql/$(postgresql_version)/bin
    (cd / && runuser -u postgres -- "$bin/pg_ctl" -D "$1" -m immediate stop >/dev/null 2>&1) || true
    rm -rf "$1"
}

restore_beside() {
    local folder=$1 bin
    bin=/usr/lib/postgresql/$(postgresql_version)/bin
    clean_restore_test "$folder"
    has_room "${folder%/*}" || return 1
    install -d -m 700 -o postgres -g postgres "$folder" || return 1
    # 8>&- 9>&-: a server that a kill leaves behind must not hold our locks. archive-mode=off: a copy must never write into the archive of the original.
    pgbackrest_as_postgres restore --pg1-path="$folder" --archive-mode=off --no-delta --type=default || return 1
    (cd / && runuser -u postgres -- "$bin/pg_ctl" -D "$folder" -w -t 600 -l "$folder/restore.log" -o "$(restored_server_options "$folder")" start) >/dev/null 8>&- 9>&- || return 1
    local tries
    for tries in $(seq 300); do
        [ "$(restored_sql "SELECT pg_is_in_recovery()" 2>/dev/null)" = f ] && break
        sleep 1
    done
    say "Restored after $tries s of replay."
    if [ -z "$(live_release)" ]; then
        # A machine that has the database only has no program to audit with: every row is read once.
        (cd / && runuser -u postgres -- "$bin/pg_dump" --host=/run/postgresql --port=5499 --file=/dev/null parking)
        return
    fi
    say "$(restored_sql "SELECT count(*) FROM bookings_booking") bookings, the newest of $(restored_sql "SELECT max(created_at) FROM bookings_booking")."
    in_release "$HOME_DIR/releases/$(live_release)" "$APP_USER" "DATABASE_URL=postgres://$APP_USER@/parking?host=/run/postgresql&port=5499" -- audit_books
}

restored_sql() { (cd / && runuser -u postgres -- psql --no-psqlrc -qtAX -h /run/postgresql -p 5499 -d parking -c "$1"); }

restored_server_options() {
    local version
    version=$(postgresql_version)
    printf -- '-c config_file=/etc/postgresql/%s/main/postgresql.conf -c data_directory=%s -c hba_file=/etc/postgresql/%s/main/pg_hba.conf -c port=5499 -c listen_addresses= -c archive_mode=off -c shared_buffers=64MB -c external_pid_file=' \
        "$version" "$1" "$version"
}

# Replace the database by the backup, to its last change or to a moment. The old one is kept beside it.
restore_database() {
    has_backups || die "Backups are not set up on this machine." "Set BACKUP_TYPE in $CONF_FILE and run: deploy.sh install"
    local target=$1 version folder old answer=${PARKING_RESTORE_CONFIRMED:-} type=()
    version=$(postgresql_version)
    folder=/var/lib/postgresql/$version/main
    if [ -n "$target" ]; then
        target=$(date -u -d "$target" '+%Y-%m-%d %H:%M:%S.%6N+00' 2>/dev/null) || die "\"$1\" is no time." 'Write it like "2026-11-26 14:05:00+00".'
        type=(--type=time "--target=$target" --target-action=promote)
    fi
    # Before anything stops.
    has_room /var/lib/postgresql || die "The former database is kept, and there is no room for both." "Make room, then run this again. Nothing was changed."
    archive_answers || die "The backups cannot be read, or there is none." "Nothing was changed. See: runuser -u postgres -- pgbackrest info"
    if [ "$answer" != yes ]; then
        say "This ends the site for some minutes and replaces its database by the backup${target:+ as of $target}."
        say "What happened after that is lost here; the providers' side of it comes back by reconciliation. The old database is kept."
        read -r -p 'Type "replace" to go on: ' answer </dev/tty || true
        [ "$answer" = replace ] || die "Nothing was changed." "Type the word to go on."
    fi
    step "Site and workers stop"
    # shellcheck disable=SC2046
    systemctl stop $(worker_units) parking-metrics.service "parking-web@blue.service" "parking-web@green.service" "parking-web@blue.socket" "parking-web@green.socket" 2>/dev/null || true
    systemctl stop "postgresql@$version-main" 2>/dev/null || true
    done_step
    step "Restore${target:+ as of $target}"
    if [ -d "$folder" ]; then
        old=$folder.before-$(date -u +%Y%m%d-%H%M%S)
        mv "$folder" "$old"
    fi
    install -d -m 700 -o postgres -g postgres "$folder"
    if ! pgbackrest_as_postgres restore --no-delta "${type[@]}" || ! systemctl start "postgresql@$version-main" || ! is_replayed; then
        put_back "$folder" "${old:-}"
        start_everything || true
        die "The backup could not be restored." "${old:+The former database is back and serves. }See above, and journalctl -u postgresql@$version-main"
    fi
    done_step "${old:+the old database is $old}"
    if [ -z "$(live_release)" ]; then
        say "Now: deploy.sh install, which goes on where it stopped. Other machines that use this database: parking restart there."
        say "Then: parking manage reconcile --since <the day before>, and parking manage audit_books."
        return 0
    fi
    step "Site and workers start"
    start_everything
    done_step
    say "Now: parking manage reconcile --since <the day before>, then parking manage audit_books."
}

archive_answers() {
    pgbackrest_as_postgres info --output=json | python3 -c 'import json, sys; told = json.load(sys.stdin)[0]; sys.exit(told["status"]["code"] != 0 or not told["backup"])'
}

is_replayed() {
    local tries
    for ((tries = 0; tries < 3600; tries++)); do
        [ "$(sql --dbname postgres --command 'SELECT pg_is_in_recovery()' 2>/dev/null || true)" != f ] || return 0
        # It ends by itself when the moment that was asked for never comes.
        systemctl is-active --quiet "postgresql@$(postgresql_version)-main" || return 1
        sleep 1
    done
    return 1
}

# put_back FOLDER FORMER
put_back() {
    local version
    version=$(postgresql_version)
    systemctl stop "postgresql@$version-main" 2>/dev/null || true
    [ -n "$2" ] || return 0
    rm -rf "$1"
    mv "$2" "$1"
    systemctl start "postgresql@$version-main"
}

# Nothing, on a new server that has no release yet: `install` goes on from here.
start_everything() {
    local slot
    [ -n "$(live_release)" ] || return 0
    if has_role web; then
        for slot in "${SLOTS[@]}"; do systemctl start "parking-web@$slot.socket"; done
        systemctl start "parking-web@$(live_slot).service"
    fi
    # shellcheck disable=SC2046
    if has_role worker; then systemctl start $(worker_units) parking-metrics.service; fi
}
