# nginx and the certificate.
# shellcheck shell=bash

NGINX=/etc/nginx/parking
# The site watches when its certificate ends, but may not read the folder of the keys: so it gets a copy of what everybody may see.
SHOW_CERTIFICATE="install -m 644 $ETC/tls/fullchain.pem $STATE/state/certificate.pem"
show_certificate() { $SHOW_CERTIFICATE; }

# The names that the site is reached by. nginx and the certificate need each in full; a name for the machine itself is none of theirs.
hosts() {
    local host list=()
    IFS=', ' read -r -a list <<<"$(setting ALLOWED_HOSTS)"
    for host in "${list[@]}"; do
        case $host in
            localhost | 127.* | '[::1]') continue ;;
            .* | *[!A-Za-z0-9.-]*) die "ALLOWED_HOSTS names \"$host\"." "Write each name in full, without a port or *: ALLOWED_HOSTS=parking.example.com,www.parking.example.com" ;;
        esac
        printf '%s ' "${host,,}"
    done
}

configure_nginx() {
    has_role proxy || has_role web || return 0
    step "nginx"
    local changed stapling=off names pattern trusted="" address proto=https
    changed=$(begun nginx)
    names=$(hosts)
    names=${names% }
    [ -n "$names" ] || die "ALLOWED_HOSTS is not set." "Name the hosts that you serve in $ENV_FILE, such as ALLOWED_HOSTS=parking.example.com"
    [[ " $names " == *" $(site_host) "* ]] || die "SITE_URL's host \"$(site_host)\" is not in ALLOWED_HOSTS." "Name it there as well, in small letters: $ENV_FILE"
    pattern=${names//./\\.}
    pattern=${pattern// /|}
    install -d -m 755 "$NGINX" /var/lib/parking-acme
    install -d -m 700 -o www-data -g root /var/cache/nginx /var/cache/nginx/parking
    for address in $BALANCERS; do trusted+="    set_real_ip_from $address;"$'\n'; done
    [ -z "$trusted" ] || trusted+="    real_ip_header X-Real-IP;"$'\n'
    if has_role proxy; then
        make_first_certificate
        show_certificate
        if openssl x509 -in "$ETC/tls/fullchain.pem" -noout -ocsp_uri 2>/dev/null | grep -q .; then stapling=on; fi
    fi
    if has_role proxy; then proto="\$scheme"; fi
    rm -rf /run/parking-nginx.before
    mkdir -p /run/parking-nginx.before
    cp -a /etc/nginx/nginx.conf "$NGINX" /run/parking-nginx.before/
    write_nginx nginx.conf /etc/nginx/nginx.conf "STAPLING=$stapling" "REQUESTS_PER_SECOND=$REQUESTS_PER_SECOND"
    local static="    alias /var/lib/parking-static/;"$'\n'"    gzip_static on;"
    has_role web || static="    proxy_pass http://parking;"$'\n'"    include /etc/nginx/parking/proxy.conf;"
    write_nginx doors.conf "$NGINX/doors.conf" "REQUESTS_BURST=$REQUESTS_BURST" "STATIC=$static"
    write_nginx proxy.conf "$NGINX/proxy.conf" "PROTO=$proto"
    if has_role proxy; then
        write_nginx site.conf "$NGINX/site.conf" "HOSTS=$names" "HOSTS_PATTERN=$pattern" "TRUSTED=$trusted"
    else
        [ -n "$WEB_LISTEN" ] || die "WEB_LISTEN is not set." "A web machine without the role proxy needs a private address to listen at: $CONF_FILE"
        [ -n "$BALANCERS" ] || die "BALANCERS is not set." "Without it every customer has the balancer's address, and shares one limit: $CONF_FILE"
        write_nginx web.conf "$NGINX/site.conf" "WEB_LISTEN=$WEB_LISTEN" "TRUSTED=$trusted"
    fi
    if ! has_role web; then
        [ -n "$WEB_HOSTS" ] || die "WEB_HOSTS is not set." "A balancer needs the web machines' addresses: $CONF_FILE"
        if write_upstream; then changed=yes; fi
    elif [ ! -f "$NGINX/upstream.conf" ]; then
        write_upstream "$(live_slot)"
    fi
    rm -f /etc/nginx/sites-enabled/default
    if ! nginx -t 2>/run/parking-nginx.test; then
        cat /run/parking-nginx.test >&2
        # A file that nginx refuses must not lie in wait for its next restart.
        cp -a /run/parking-nginx.before/nginx.conf /etc/nginx/
        cp -a "/run/parking-nginx.before/${NGINX##*/}/." "$NGINX/"
        die "nginx does not take its configuration." "See above. The former one is back, and nothing was reloaded."
    fi
    install -d /etc/systemd/system/nginx.service.d
    write_file /etc/systemd/system/nginx.service.d/parking.conf 644 root:root <<'TEXT' && systemctl daemon-reload
[Unit]
# It goes on trying: what keeps it from starting may be gone in a minute.
StartLimitIntervalSec=0

[Service]
Restart=always
RestartSec=1
LimitNOFILE=32768
NoNewPrivileges=yes
ProtectHome=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateTmp=yes
TEXT
    systemctl enable --quiet nginx 2>/dev/null || true
    if ! systemctl is-active --quiet nginx; then systemctl start nginx; elif [ "$changed" = yes ]; then systemctl reload nginx; fi
    finished nginx
    done_step
}

# write_nginx TEMPLATE PATH NAME=VALUE...; sets `changed` of the caller.
write_nginx() {
    local template=$1 path=$2
    shift 2
    if fill "$@" <"$DEPLOY/nginx/$template" | without_ipv6 | write_file "$path" 644 root:root; then changed=yes; fi
}

# Where the kernel has no IPv6, nginx cannot listen there.
without_ipv6() { if [ -e /proc/net/if_inet6 ]; then cat; else grep -v 'listen \[::\]'; fi; }

# write_upstream SLOT: whom nginx asks. On a balancer: the web machines.
write_upstream() {
    local servers="" host
    if has_role web; then
        servers="server unix:/run/parking-web/${1:-blue}.sock fail_timeout=0;"
    else
        for host in $WEB_HOSTS; do servers+="server $host max_fails=1 fail_timeout=5s; "; done
    fi
    printf 'upstream parking {\n    zone parking 64k;\n    %s\n}\n' "$servers" | write_file "$NGINX/upstream.conf" 644 root:root
}

# nginx cannot start without a certificate, and Let's Encrypt asks through nginx: so the first is self-signed.
make_first_certificate() {
    local host
    host=$(site_host)
    install -d -m 750 "$ETC/tls"
    if [ -n "$TLS_CERTIFICATE" ]; then
        [ -r "$TLS_CERTIFICATE" ] && [ -r "$TLS_KEY" ] || die "TLS_CERTIFICATE or TLS_KEY cannot be read." "Set both paths in $CONF_FILE, or neither."
        # nginx's unit sees no homes, so it would serve until its next start only.
        case $(readlink -f "$TLS_CERTIFICATE")$(readlink -f "$TLS_KEY") in
            */root/* | */home/*) die "TLS_CERTIFICATE or TLS_KEY lies in somebody's home." "Put both files into $ETC/tls-own, readable by root only, and name them there." ;;
        esac
        ln -sfn "$TLS_CERTIFICATE" "$ETC/tls/fullchain.pem"
        ln -sfn "$TLS_KEY" "$ETC/tls/privkey.pem"
        rm -f "$ETC/tls/self-signed"
        return 0
    fi
    # A kill between the two links would leave a key of another certificate, with which nginx does not start.
    if [ -e "/etc/letsencrypt/live/$host/privkey.pem" ]; then use_certificate "$host"; fi
    [ ! -e "$ETC/tls/fullchain.pem" ] || return 0
    touch "$ETC/tls/self-signed"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj "/CN=$host" -addext "subjectAltName=DNS:$host" \
        -keyout "$ETC/tls/privkey.pem" -out "$ETC/tls/fullchain.pem" 2>/dev/null
}

use_certificate() {
    ln -sfn "/etc/letsencrypt/live/$1/fullchain.pem" "$ETC/tls/fullchain.pem"
    ln -sfn "/etc/letsencrypt/live/$1/privkey.pem" "$ETC/tls/privkey.pem"
    rm -f "$ETC/tls/self-signed"
}

# One name that leads nowhere would cost all of them their certificate, and each try counts at Let's Encrypt: such a name is left out until it resolves.
certificate_names() {
    local name
    for name in $(hosts); do
        if [ "$name" = "$1" ] || getent ahosts "$name" >/dev/null; then printf '%s ' "$name"; else
            warn "$name does not resolve, so the certificate is asked for without it. Run install again once it does."
        fi
    done
}

certificate_has() {
    local name
    for name in "$@"; do
        openssl x509 -in "$ETC/tls/fullchain.pem" -noout -checkhost "$name" 2>/dev/null | grep -q 'does match' || return 1
    done
}

# Let's Encrypt's certificate, and its renewal. Without one (the domain does not point here yet) the self-signed one stays, and it is said.
get_certificate() {
    has_role proxy || return 0
    [ -z "$TLS_CERTIFICATE" ] || return 0
    local host names=() name email server=() wanted
    host=$(site_host)
    systemctl enable --quiet --now certbot.timer 2>/dev/null || true
    wanted=$(certificate_names "$host")
    # shellcheck disable=SC2086
    if [ ! -e "$ETC/tls/self-signed" ] && certificate_has $wanted; then return 0; fi
    step "Certificate for $host"
    for name in $wanted; do names+=(--domain "$name"); done
    email=${ACME_EMAIL:-$(setting SUPPORT_EMAIL)}
    [ -z "$ACME_SERVER" ] || server=(--server "$ACME_SERVER")
    # The hook is kept with the certificate, so each renewal runs it.
    if certbot certonly --non-interactive --quiet --agree-tos --email "$email" --webroot --webroot-path /var/lib/parking-acme --cert-name "$host" \
        --keep-until-expiring --renew-with-new-domains --key-type ecdsa "${names[@]}" "${server[@]}" --deploy-hook "systemctl reload nginx; $SHOW_CERTIFICATE" >/var/log/parking-certificate.log 2>&1; then
        use_certificate "$host"
        systemctl reload nginx
        show_certificate
        done_step "$(openssl x509 -in "$ETC/tls/fullchain.pem" -noout -enddate | cut -d= -f2)"
    else
        tail -5 /var/log/parking-certificate.log >&2
        if [ ! -e "$ETC/tls/self-signed" ]; then warn "Let's Encrypt gave no certificate for: ${wanted% }. The former one stays."; return 0; fi
        warn "Let's Encrypt gave no certificate for $host; the self-signed one stays, which browsers refuse. Point the domain here, open port 80, and run install again (it takes five failures an hour)."
    fi
}
