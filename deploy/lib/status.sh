# What runs here, for a person.
# shellcheck shell=bash

show_status() {
    local unit state since name mark worst=0 serving
    serving=$(live_release)
    printf 'Release   %s\n' "${serving:-none}"
    for name in $(find "$HOME_DIR/releases" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort -r | head -8); do
        mark=""
        [ "$name" != "$(live_release)" ] || mark="live"
        [ ! -e "$HOME_DIR/releases/$name/FAILED" ] || mark="failed, never stayed live"
        [ "$name" != "$(basename "$(readlink "$HOME_DIR/previous" 2>/dev/null || true)")" ] || mark="previous"
        printf '          %s %s\n' "$name" "$mark"
    done
    local units
    units="$(worker_units)"
    if has_role web && [ -n "$(live_slot)" ]; then units="parking-web@$(live_slot).socket parking-web@$(live_slot).service $units"; fi
    if has_role proxy || has_role web; then units="nginx.service $units"; fi
    if has_role redis; then units="redis-server.service $units"; fi
    if has_role database; then units="postgresql@$(postgresql_version)-main.service $units"; fi
    if has_role worker; then units="$units parking-metrics.service"; fi
    printf '\n%-38s %-10s %-30s %s\n' Unit State Since Memory
    for unit in $units; do
        state=$(systemctl is-active "$unit" 2>/dev/null || true)
        since=$(systemctl show --property=ActiveEnterTimestamp --value "$unit")
        printf '%-38s %-10s %-30s %s\n' "$unit" "$state" "$since" "$(systemctl show --property=MemoryCurrent --value "$unit" | awk '/^[0-9]+$/ {printf "%.0f MB", $1 / 1048576}')"
        [ "$state" = active ] || worst=1
    done
    printf '\n'
    systemctl list-timers --no-pager 'parking-*' certbot.timer 2>/dev/null | sed -n '1,8p'
    if has_role web && [ -n "$(live_slot)" ]; then
        printf '\nHealth: '
        if [ "$(ask "$(live_slot)" /api/health)" = 200 ]; then say "every part is well"; else
            worst=1
            cat /run/parking-answer 2>/dev/null || true
            printf '\n'
        fi
    fi
    for name in backup restore-test; do
        [ ! -f "/var/lib/parking/state/$name.json" ] || printf '%s: %s\n' "$name" "$(cat "/var/lib/parking/state/$name.json")"
    done
    return "$worst"
}

show_logs() {
    local what=${1:-all}
    [ $# -eq 0 ] || shift
    case $what in
        web) exec journalctl --unit 'parking-web@*' --follow --lines=100 "$@" ;;
        worker) exec journalctl --unit 'parking-worker@*' --unit 'parking-campaigns@*' --follow --lines=100 "$@" ;;
        nginx) exec tail --follow=name --lines=100 /var/log/nginx/access.log /var/log/nginx/error.log ;;
        all) exec journalctl --unit 'parking-*' --follow --lines=100 "$@" ;;
        *) exec journalctl --unit "$what" --follow --lines=100 "$@" ;;
    esac
}
