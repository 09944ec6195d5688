# Packages, users, folders, firewall, unattended upgrades, logs of the system.
# shellcheck shell=bash

install_packages() {
    step "Packages of Debian"
    # Ours, left by a kill: with it no service would ever start again after an upgrade.
    if grep -qs '^# parking' /usr/sbin/policy-rc.d; then rm -f /usr/sbin/policy-rc.d; fi
    local wanted=(ca-certificates curl openssl python3 python3-venv git-core cron- unattended-upgrades logrotate util-linux rsync) missing=() name
    has_role database && wanted+=(postgresql pgbackrest)
    has_role redis && wanted+=(redis-server)
    if has_role proxy || has_role web; then wanted+=(nginx); fi
    has_role proxy && wanted+=(certbot)
    [ "$FIREWALL" != yes ] || wanted+=(ufw)
    for name in "${wanted[@]}"; do
        case $name in
            *-) continue ;;
            git-core) name=git ;;
        esac
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
    done
    if [ ${#missing[@]} -eq 0 ]; then
        done_step "all there"
        return 0
    fi
    # What an installation that was killed has left.
    DEBIAN_FRONTEND=noninteractive dpkg --configure -a >/dev/null 2>&1 || true
    # A fresh server often upgrades itself just now.
    apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 update -qq
    # No service starts with the distribution's configuration: each is started once it has ours.
    printf '#!/bin/sh\n# parking: until its packages are installed\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    # --no-remove: ufw would push out the firewall that is here.
    if ! DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 install -y -qq --no-remove --no-install-recommends "${missing[@]}" \
        >/var/log/parking-packages.log 2>&1; then
        rm -f /usr/sbin/policy-rc.d
        tail -20 /var/log/parking-packages.log >&2
        die "Debian's packages could not be installed." "The end of /var/log/parking-packages.log is above; mend it and run this again."
    fi
    rm -f /usr/sbin/policy-rc.d
    done_step "${#missing[@]} new"
}

make_users() {
    step "Users and folders"
    local user
    for user in "$APP_USER" "$OWNER"; do
        id "$user" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
    done
    # The migrations' user reads the same settings as the site.
    usermod --append --groups "$APP_USER" "$OWNER"
    if has_role redis && id redis >/dev/null 2>&1; then usermod --append --groups redis "$APP_USER"; fi
    install -d -m 755 "$HOME_DIR" "$HOME_DIR/releases" "$HOME_DIR/environments" "$HOME_DIR/slots"
    install -d -m 750 -o root -g "$APP_USER" "$ETC"
    install -d -m 750 -o "$APP_USER" -g "$APP_USER" "$STATE" "$STATE/media"
    install -d -m 755 -o "$APP_USER" -g "$APP_USER" "$STATE/state"
    install -d -m 755 /var/lib/parking-static
    [ -f "$CONF_FILE" ] || install -m 640 -o root -g root "$DEPLOY/deploy.conf.example" "$CONF_FILE"
    # It holds the keys of the backups' store.
    chown root:root "$CONF_FILE"
    chmod 640 "$CONF_FILE"
    ln -sfn "$HOME_DIR/current/deploy/deploy.sh" /usr/local/sbin/parking
    done_step
}

# The site's settings, with secrets of its own, when there are none. They are never overwritten: later installs only read them.
make_settings() {
    if [ -f "$ENV_FILE" ]; then
        # Somebody who brought the file along: a site that may not read it would say that every setting is missing.
        chown "root:$APP_USER" "$ENV_FILE"
        chmod 640 "$ENV_FILE"
        return 0
    fi
    step "Settings with fresh secrets in $ENV_FILE"
    local cache=redis://REPLACE-WITH-THE-HOST:6379/0 database=postgres://parking:REPLACE@REPLACE-WITH-THE-HOST:5432/parking
    local certificate="" line
    if has_role proxy && has_role worker; then certificate=$STATE/state/certificate.pem; fi
    if has_role redis; then cache="unix:///run/redis/redis-server.sock?db=0"; fi
    if has_role database; then database="postgres://$APP_USER@/parking?host=/run/postgresql"; fi
    # By the shell alone: what sed is told could be read from its arguments.
    while IFS= read -r line; do
        case $line in
            SECRET_KEY= | JWT_SIGNING_KEY= | ADDRESS_KEY=) line+=$(random_secret) ;;
            STRIPE_WEBHOOK_UUID=) line+=$(cat /proc/sys/kernel/random/uuid) ;;
            DATABASE_URL=) line+=$database ;;
            REDIS_URL=) line+=$cache ;;
            "# CERTIFICATE_FILE="*) [ -z "$certificate" ] || line=CERTIFICATE_FILE=$certificate ;;
        esac
        printf '%s\n' "$line"
    done <"$SOURCE/.env.production.example" | write_file "$ENV_FILE" 640 "root:$APP_USER" || true
    done_step
    say "  Keep a copy of ADDRESS_KEY elsewhere: another one would forget everybody's \"no\" to offers."
}

# Every port by which somebody may be signed in now: what deploy.conf says, what sshd (or its socket) listens at, and what this session uses. A rule too
# many is better than a machine that nobody reaches any more.
ssh_ports() {
    {
        say "$SSH_PORT"
        sshd -T 2>/dev/null | awk '$1 == "port" {print $2}' || true
        ! systemctl is-active --quiet ssh.socket || systemctl show --property=Listen --value ssh.socket | grep -oE ':[0-9]+ ' | tr -dc '0-9\n' || true
        ss -Htnlp 2>/dev/null | awk '/"sshd"/ && $4 !~ /^(127\.|\[::1\])/ {sub(/.*:/, "", $4); print $4}' || true
        [ -z "${SSH_CONNECTION:-}" ] || say "${SSH_CONNECTION##* }"
    } | sort -nu
}

configure_firewall() {
    if [ "$FIREWALL" != yes ]; then
        warn "FIREWALL=$FIREWALL: this machine's ports are guarded by somebody else."
        return 0
    fi
    step "Firewall"
    local address port
    sed -i 's/^IPV6=.*/IPV6=yes/' /etc/default/ufw
    # First, for where ufw is on already, the next line counts at once.
    for port in $(ssh_ports); do ufw limit "$port/tcp" comment ssh >/dev/null; done
    ufw --force default deny incoming >/dev/null
    ufw --force default allow outgoing >/dev/null
    if has_role proxy; then
        ufw allow 80/tcp comment "http, for certificates and redirects" >/dev/null
        ufw allow 443/tcp comment https >/dev/null
    fi
    if [ -n "$WEB_LISTEN" ]; then
        for address in $BALANCERS; do ufw allow from "$address" to any port "${WEB_LISTEN##*:}" proto tcp >/dev/null; done
    fi
    for address in $TRUSTED_ADDRESSES; do
        has_role database && ufw allow from "$address" to any port 5432 proto tcp >/dev/null
        has_role redis && ufw allow from "$address" to any port 6379 proto tcp >/dev/null
    done
    ufw --force enable >/dev/null
    done_step "$(ufw status | grep -c ALLOW) rules"
}

configure_upkeep() {
    step "Security upgrades and logs"
    write_file /etc/apt/apt.conf.d/52parking 644 root:root <<'TEXT' || true
// Security fixes are installed each night. What must not restart by itself in the day restarts at four.
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
Unattended-Upgrade::Remove-Unused-Dependencies "true";
Unattended-Upgrade::Automatic-Reboot "true";
Unattended-Upgrade::Automatic-Reboot-Time "04:00";
TEXT
    install -d -m 755 /etc/systemd/journald.conf.d
    if write_file /etc/systemd/journald.conf.d/parking.conf 644 root:root <<'TEXT'; then systemctl restart systemd-journald; fi
# The logs of site and workers: kept for a month, or until they fill this much.
[Journal]
Storage=persistent
SystemMaxUse=2G
SystemKeepFree=1G
MaxRetentionSec=31day
RateLimitIntervalSec=30s
RateLimitBurst=20000
TEXT
    write_file /etc/logrotate.d/parking 644 root:root <<'TEXT' || true
/var/log/parking-*.log {
    monthly
    rotate 6
    compress
    missingok
    notifempty
}
TEXT
    systemctl enable --quiet --now apt-daily.timer apt-daily-upgrade.timer logrotate.timer 2>/dev/null || warn "the system's upkeep timers could not be enabled"
    done_step
}
