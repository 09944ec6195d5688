# The whole of a server, in order. Each part changes only what differs, so a second run is quick and harmless.
# shellcheck shell=bash

install_server() {
    local began first=no
    began=$(date +%s%N)
    [ -n "$(live_release)" ] || first=yes
    refuse_unfit_machine
    install_packages
    make_users
    make_settings
    configure_upkeep
    configure_firewall
    configure_postgresql
    configure_redis
    configure_backups
    # Before the parts that people see: what only a person can write.
    if has_role web || has_role worker; then require_settings; fi
    [ "$first" = yes ] || settle
    install_units
    configure_nginx
    get_certificate
    if has_role web || has_role worker; then
        if [ "$first" = yes ]; then release "$SOURCE"; else say "* $(live_release) stays live; \`deploy.sh release\` puts another version live."; fi
    fi
    if has_backups && ! { succeeded backup && succeeded restore-test; }; then
        step "First backup"
        back_up full
        # A backup that was never restored is a hope.
        test_restore
    fi
    say "Installed in $(seconds_since "$began") s."
    if has_role database && ! has_backups; then
        warn "There are no backups: a lost disk loses every booking. Set BACKUP_TYPE in $CONF_FILE and run install again."
    fi
    [ "$first" = no ] || [ -z "$(live_release)" ] || say "Make the first member of staff: parking manage createsuperuser. Then ask every account: parking doctor"
}

# What nobody can guess, before anything is built. The release asks the site's own checks for the rest.
require_settings() {
    local name missing=() mail="SENDGRID_API_KEY SENDGRID_WEBHOOK_VERIFICATION_KEY"
    [ "$(setting EMAIL_PROVIDER)" != postmark ] || mail="POSTMARK_SERVER_TOKEN POSTMARK_WEBHOOK_SECRET"
    for name in SITE_URL ALLOWED_HOSTS STRIPE_SECRET_KEY STRIPE_PUBLISHABLE_KEY STRIPE_WEBHOOK_SECRET TWILIO_ACCOUNT_SID TWILIO_AUTH_TOKEN TWILIO_FROM_NUMBER \
        DEFAULT_FROM_EMAIL SUPPORT_EMAIL POSTAL_ADDRESS $mail; do
        [ -n "$(setting "$name")" ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    die "$ENV_FILE still lacks what only you know: ${missing[*]}." "Fill them in (each is explained there), then run this again: it goes on where it stopped."
}
