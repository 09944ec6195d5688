# What must be so before anything is changed. Each finding is one line that says what to do.
# shellcheck shell=bash

FINDINGS=0
NOTES=0

finding() {
    FINDINGS=$((FINDINGS + 1))
    printf '  FAIL  %s\n        %s\n' "$1" "$2"
}

note() {
    NOTES=$((NOTES + 1))
    printf '  note  %s\n        %s\n' "$1" "$2"
}

fine() { printf '  ok    %s\n' "$1"; }

# The machine itself: what `install` cannot mend.
check_machine() {
    local id="" version="" free memory
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || { id=$(. /etc/os-release && printf '%s' "$ID"); version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}"); }
    case $id:$version in
        debian:12 | debian:13) fine "Debian $version" ;;
        ubuntu:2[4-9]*) note "Ubuntu $version: this script is tried on Debian 12 only." "It may work; watch what it says." ;;
        *) finding "This is ${id:-an unknown system} ${version}." "Use a server with Debian 12 (or 13)." ;;
    esac
    if [ -d /run/systemd/system ]; then fine "systemd"; else
        finding "systemd does not run here." "Use a server or virtual machine, not a plain container."
    fi
    free=$(df --output=avail -BM / | tail -1 | tr -dc '0-9')
    if [ "$free" -ge 3000 ]; then fine "$((free / 1024)) GB of disk are free"; else
        finding "Only $free MB of disk are free." "Make room: 3 GB at least, more for the database and logs."
    fi
    memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
    if [ "$memory" -ge 1800 ]; then fine "$memory MB of memory"; else
        finding "Only $memory MB of memory." "2 GB is the least that database, cache, site and workers need together."
    fi
    local listens
    listens=$(PATH=$PATH:/usr/sbin sshd -T 2>/dev/null | sed -n 's/^port //p' | tr '\n' ' ' || true)
    if [ "$FIREWALL" = yes ] && [ -n "$listens" ] && [[ " $listens" != *" $SSH_PORT "* ]]; then
        finding "SSH listens at port ${listens% }, and SSH_PORT is $SSH_PORT: the firewall would lock you out." \
            "Set SSH_PORT in $CONF_FILE (a copy of deploy/deploy.conf.example)."
    fi
    if command -v python3 >/dev/null; then
        if python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
            fine "Python $(python3 -c 'import platform; print(platform.python_version())')"
        else
            finding "python3 is $(python3 --version 2>&1)." "The site runs on Python 3.11, 3.12 or 3.13."
        fi
    fi
    if [ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null || true)" = yes ]; then fine "the clock is synchronised"; else
        note "The clock is not synchronised." "Signed webhooks are refused when it is minutes off: timedatectl set-ntp true"
    fi
}

# What others have put here: this script writes over nginx.conf and pg_hba.conf, so their sites and databases would be gone without a word.
check_neighbours() {
    local site others=""
    for site in /etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf; do
        [ ! -e "$site" ] || [ "${site##*/}" = default ] || others+=" $site"
    done
    if [ -n "$others" ] && ! grep -qs '/etc/nginx/parking/' /etc/nginx/nginx.conf; then
        finding "nginx serves other sites here:$others" "Use a server of its own, or move them away: nginx.conf is replaced and does not read those folders."
    fi
    others=$(ss -Htlnp '( sport = :80 or sport = :443 )' 2>/dev/null | grep -v '"nginx"' | grep -o '"[^"]*"' | sort -u | tr '\n' ' ' || true)
    if has_role proxy && [ -n "$others" ]; then finding "Port 80 or 443 is taken by: ${others% }" "nginx needs both; stop and disable it."; fi
    others=""
    has_role database && command -v psql >/dev/null || return 0
    others=$(sql --dbname postgres --command "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', 'parking')" 2>/dev/null |
        tr '\n' ' ' || true)
    [ -z "$others" ] || finding "PostgreSQL has other databases here: ${others% }" "Use a server of its own: pg_hba.conf is replaced, and a restore replaces all of them."
}

# The site's settings: what a person has to write. DOMAIN problems are told apart, for they take time to mend.
check_settings() {
    local host addresses
    if [ ! -f "$ENV_FILE" ]; then
        note "$ENV_FILE is not there yet." "\`deploy.sh install\` makes it with fresh secrets; then fill in your accounts."
        return 0
    fi
    if [ "$(stat -c '%U:%G %a' "$ENV_FILE")" = "root:$APP_USER 640" ]; then fine "$ENV_FILE is readable by root and $APP_USER only"; else
        finding "$ENV_FILE is $(stat -c '%U:%G, mode %a' "$ENV_FILE")." "chown root:$APP_USER $ENV_FILE && chmod 640 $ENV_FILE"
    fi
    host=$(site_host)
    if [ -z "$host" ]; then
        finding "SITE_URL is not set." "Write your public address into $ENV_FILE, such as SITE_URL=https://parking.example.com"
        return 0
    fi
    addresses=$(getent ahosts "$host" | awk '{print $1}' | sort -u | tr '\n' ' ' || true)
    if [ -n "$addresses" ]; then fine "$host resolves to ${addresses% }"; else
        finding "The domain $host does not resolve." "Add an A (and AAAA) record for it that points at this server."
    fi
    if has_role proxy; then
        check_certificate "$host"
    fi
    if [ -n "$(live_release)" ]; then
        if manage check --deploy --fail-level WARNING >/run/parking-check 2>&1; then
            fine "the site's own checks pass"
        else
            finding "The site's own checks fail:" "$(grep -E '^\?|parking\.|HINT' /run/parking-check | head -20)"
        fi
    fi
}

check_certificate() {
    local file=$ETC/tls/fullchain.pem
    if [ -n "$TLS_CERTIFICATE$TLS_KEY" ]; then
        for file in "$TLS_CERTIFICATE" "$TLS_KEY"; do
            [ -r "$file" ] || finding "The certificate's file \"$file\" is not there." "Set TLS_CERTIFICATE and TLS_KEY in $CONF_FILE, or neither."
        done
        file=$TLS_CERTIFICATE
    fi
    [ -r "$file" ] || { note "There is no certificate yet." "\`deploy.sh install\` asks Let's Encrypt for one."; return 0; }
    if [ -e "$ETC/tls/self-signed" ]; then
        finding "The certificate is the self-signed one of the installation." "Point the domain $1 here, open ports 80 and 443, and run: deploy.sh install"
    elif ! openssl x509 -in "$file" -noout -checkhost "$1" | grep -q 'does match'; then
        finding "The certificate is not for $1." "Ask for a new one: deploy.sh install"
    elif ! openssl x509 -in "$file" -noout -checkend 604800 >/dev/null; then
        finding "The certificate ends within a week: $(openssl x509 -in "$file" -noout -enddate)." "See: systemctl status certbot.timer; certbot renew"
    else
        fine "the certificate is for $1, $(openssl x509 -in "$file" -noout -enddate | cut -d= -f2)"
    fi
}

check_backup() {
    has_role database || return 0
    if [ -z "$BACKUP_TYPE" ]; then
        finding "Backups leave this machine nowhere: BACKUP_TYPE is not set." "Set it in $CONF_FILE; deploy.conf.example says how. (BACKUP_TYPE=none: you keep backups by other means.)"
    elif [ "$BACKUP_TYPE" = none ]; then
        note "There are no backups (BACKUP_TYPE=none)." "A lost disk loses every booking since your own last copy."
    else
        fine "backups go to $BACKUP_TYPE"
    fi
}

preflight() {
    say "This machine ($ROLES):"
    check_machine
    check_neighbours
    check_settings
    check_backup
    if [ "$FINDINGS" -gt 0 ]; then
        say "$FINDINGS to mend before it can serve customers, $NOTES to know."
        return 1
    fi
    say "Nothing to mend, $NOTES to know. The accounts at the providers: deploy.sh doctor"
}

# Before `install` touches anything: only what it cannot mend itself.
refuse_unfit_machine() {
    FINDINGS=0
    say "* Is this machine fit?"
    check_machine
    check_neighbours
    [ "$FINDINGS" -eq 0 ] || die "$FINDINGS of these must be mended first." "Nothing was changed."
}
