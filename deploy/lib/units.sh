# systemd: the units, and starting, stopping and watching them.
# shellcheck shell=bash

# write_unit NAME [NAME=VALUE...]: from deploy/systemd; remembers in UNITS_CHANGED whether it differs.
write_unit() {
    local name=$1 hardening
    shift
    hardening=$(grep -v '^#' "$DEPLOY/systemd/hardening.conf")
    if fill "HARDENING=$hardening" "$@" <"$DEPLOY/systemd/${name##*/}" | write_file "/etc/systemd/system/$name" 644 root:root; then
        UNITS_CHANGED=yes
    fi
}

worker_units() {
    local number
    if has_role worker; then
        for number in $(seq "$WORKERS"); do printf 'parking-worker@%s.service ' "$number"; done
        for number in $(seq "$CAMPAIGN_WORKERS"); do printf 'parking-campaigns@%s.service ' "$number"; done
    fi
}

install_units() {
    step "Units of systemd"
    UNITS_CHANGED=$(begun units)
    local slot timer path="" unit
    if has_role web; then
        write_unit parking-web@.socket
        write_unit parking-web@.service "WEB_PROCESSES=$WEB_PROCESSES" "WEB_THREADS=$WEB_THREADS"
    fi
    if has_role worker; then
        write_worker parking-worker@.service default "$WORKER_CONCURRENCY"
        write_worker parking-campaigns@.service campaigns 2
        write_unit parking-audit.service
        write_unit parking-audit.timer
        write_unit parking-metrics.service
    fi
    if has_role database && [ -n "$BACKUP_TYPE" ] && [ "$BACKUP_TYPE" != none ]; then
        [ "$BACKUP_TYPE" != posix ] || path="ReadWritePaths=$(backup_option path)"
        for timer in backup restore-test; do
            write_unit "parking-$timer.service" "BACKUP_PATH=$path"
            write_unit "parking-$timer.timer"
        done
    fi
    write_file /etc/tmpfiles.d/parking.conf 644 root:root <"$DEPLOY/systemd/tmpfiles.conf" || true
    systemd-tmpfiles --create /etc/tmpfiles.d/parking.conf
    [ "$UNITS_CHANGED" = no ] || systemctl daemon-reload
    finished units
    if has_role web; then
        for slot in "${SLOTS[@]}"; do systemctl enable --quiet --now "parking-web@$slot.socket" 2>/dev/null || true; done
        # The slot that serves starts at boot; without it the first visitor would wait for it.
        [ -z "$(live_slot)" ] || systemctl enable --quiet "parking-web@$(live_slot).service" 2>/dev/null || true
    fi
    for unit in $(worker_units); do systemctl enable --quiet "$unit" 2>/dev/null || true; done
    if has_role worker; then systemctl enable --quiet --now parking-audit.timer; systemctl enable --quiet parking-metrics.service; fi
    if [ -f /etc/systemd/system/parking-backup.timer ]; then systemctl enable --quiet --now parking-backup.timer parking-restore-test.timer; fi
    # Fewer workers than before: those that are too many end.
    for unit in $(systemctl list-units --plain --no-legend --state=active 'parking-worker@*' 'parking-campaigns@*' | awk '{print $1}'); do
        [[ " $(worker_units) " == *" $unit "* ]] || systemctl disable --quiet --now "$unit"
    done
    done_step
}

write_worker() {
    local hardening
    hardening=$(grep -v '^#' "$DEPLOY/systemd/hardening.conf")
    if fill "HARDENING=$hardening" "QUEUES=$2" "CONCURRENCY=$3" "POOL=$(($3 + 2))" <"$DEPLOY/systemd/parking-worker@.service" |
        sed '$a\\n[Install]\nWantedBy=multi-user.target' | write_file "/etc/systemd/system/$1" 644 root:root; then
        UNITS_CHANGED=yes
    fi
}

# The web slot that nginx sends people to; "" before the first release.
live_slot() {
    [ ! -L "$HOME_DIR/live-slot" ] || basename "$(readlink "$HOME_DIR/live-slot")"
}

idle_slot() {
    if [ "$(live_slot)" = blue ]; then printf green; else printf blue; fi
}
