# What every part uses: words to the person, the machine's configuration, writing only what differs.
# shellcheck disable=SC2034 # other parts use these
# shellcheck shell=bash

HOME_DIR=/opt/parking
ETC=/etc/parking
STATE=/var/lib/parking
ENV_FILE=$ETC/parking.env
CONF_FILE=$ETC/deploy.conf
APP_USER=parking
OWNER=parking_owner
SLOTS=(blue green)
# How a step of several lines is named, and when it began.
STEP=""
STEP_BEGAN=0

say() { printf '%s\n' "$*"; }

warn() { printf 'warning: %s\n' "$*" >&2; }

# die WHAT WHAT-TO-DO
die() {
    printf '\nerror: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf '       %s\n' "$2" >&2
    exit 1
}

step() {
    STEP=$1
    STEP_BEGAN=$(date +%s%N)
    printf '* %s\n' "$STEP"
}

done_step() {
    printf '  done in %s s%s\n' "$(seconds_since "$STEP_BEGAN")" "${1:+: $1}"
}

seconds_since() {
    local tenths=$((($(date +%s%N) - $1) / 100000000))
    printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

failed_line() {
    [ "$BASH_SUBSHELL" -eq 0 ] || return 0
    # $BASH_COMMAND may hold secrets (an assignment of a variable), so only its first word is named.
    local word=${BASH_COMMAND%% *}
    printf '\nerror: "%s" failed (line %s of %s)%s.\n' "${word%%=*}" "${BASH_LINENO[0]}" "${BASH_SOURCE[1]##*/}" "${STEP:+ during: $STEP}" >&2
}
trap failed_line ERR

need_root() {
    [ "$(id -u)" -eq 0 ] || die "\"$1\" needs root: it reads settings and looks into services that only root may." "Run: sudo $DEPLOY/deploy.sh $1"
}

# One deployment at a time; the lock ends with the process.
locked() {
    exec 9>/run/parking-deploy.lock
    flock --nonblock 9 || die "Another deployment runs on this machine." "Wait for it to end, then run this again."
}

has_role() { [[ " $ROLES " == *" $1 "* ]]; }

read_configuration() {
    ROLES="database redis web worker proxy"
    WEB_PROCESSES="" WEB_THREADS=4 WORKERS=1 CAMPAIGN_WORKERS=1 WORKER_CONCURRENCY=4
    WEB_LISTEN="" BALANCERS="" WEB_HOSTS=""
    ACME_EMAIL="" ACME_SERVER="" TLS_CERTIFICATE="" TLS_KEY=""
    SSH_PORT=22 FIREWALL=yes TRUSTED_ADDRESSES=""
    BACKUP_TYPE="" BACKUP_OPTIONS="" BACKUP_KEEP_FULL=4
    OWNER_DATABASE_URL=""
    KEEP_RELEASES=5 HEALTH_SECONDS=60 WATCH_SECONDS=20 REQUESTS_PER_SECOND=30 REQUESTS_BURST=120
    if grep -qs $'\r' "$CONF_FILE"; then die "$CONF_FILE has the line ends of Windows." "Run: sed -i 's/\\r\$//' $CONF_FILE"; fi
    # shellcheck source=/dev/null
    [ ! -f "$CONF_FILE" ] || . "$CONF_FILE"
    local role name
    for role in $ROLES; do
        [[ " database redis web worker proxy " == *" $role "* ]] ||
            die "ROLES in $CONF_FILE names \"$role\"." "Use any of: database redis web worker proxy."
    done
    for name in WEB_THREADS WORKERS CAMPAIGN_WORKERS WORKER_CONCURRENCY SSH_PORT BACKUP_KEEP_FULL KEEP_RELEASES HEALTH_SECONDS \
        WATCH_SECONDS REQUESTS_PER_SECOND REQUESTS_BURST; do
        [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || die "$name in $CONF_FILE is \"${!name}\"." "Write a whole number."
    done
    if [ -z "$WEB_PROCESSES" ]; then
        WEB_PROCESSES=$(nproc)
        [ "$WEB_PROCESSES" -ge 2 ] || WEB_PROCESSES=2
    fi
}

# write_file PATH MODE OWNER:GROUP  < content; returns 0 when it changed something, 1 when it was so already.
write_file() {
    local path=$1 mode=$2 owner=$3 new
    # Callers ask what it returns, so `set -e` does not hold here: on a full disk half a file would replace a whole one.
    if ! new=$(mktemp "$path.XXXXXX") || ! cat >"$new" || ! chmod "$mode" "$new" || ! chown "$owner" "$new"; then
        [ -z "$new" ] || rm -f "$new"
        warn "$path could not be written; what was there stays."
        return 2
    fi
    if [ -f "$path" ] && cmp -s "$path" "$new" && [ "$(stat -c %a:%U:%G "$path")" = "$(stat -c %a:%U:%G "$new")" ]; then
        rm -f "$new"
        return 1
    fi
    mv -f "$new" "$path"
}

# begun NAME, finished NAME: whether the last run was killed between writing a service's configuration and giving it to the service. Prints yes or no, as
# a first value of `changed`: the files alone no longer differ then. The mark ends with the boot, as what the service had read does.
begun() {
    if [ -e "/run/parking-unfinished.$1" ]; then printf yes; else printf no; fi
    touch "/run/parking-unfinished.$1"
}
finished() { rm -f "/run/parking-unfinished.$1"; }

# fill NAME=VALUE ... < template: replaces @NAME@. Values may hold anything but a line end.
fill() {
    local text pair
    text=$(cat; printf x)
    for pair in "$@"; do
        text=${text//"@${pair%%=*}@"/"${pair#*=}"}
    done
    printf '%s' "${text%x}"
}

# setting NAME: the value in the site's settings, read as the site reads it (no shell expansion, CRLF or not); "" when it is not there.
setting() {
    local line value=""
    [ -r "$ENV_FILE" ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%$'\r'} line=${line#export }
        case $line in
            "$1="*)
                value=${line#*=}
                if [[ $value == \'*\' || $value == \"*\" ]]; then value=${value:1:-1}; fi
                ;;
        esac
    done <"$ENV_FILE"
    printf '%s' "$value"
}

site_host() {
    local url
    url=$(setting SITE_URL)
    url=${url#*://}
    printf '%s' "${url%%[:/]*}"
}

# as USER [NAME=VALUE...] COMMAND...: with a clean environment. Variables may hold passwords, and everybody may read a process's arguments: so they are
# exported here, not given to env.
as() (
    user=$1
    shift
    for name in $(compgen -e); do unset "$name"; done
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/nonexistent LANG=C.UTF-8
    while [[ ${1:-} =~ ^[A-Z_]+= ]]; do
        export "${1?}"
        shift
    done
    exec runuser -u "$user" -- "$@"
)

live_release() {
    [ ! -L "$HOME_DIR/current" ] || basename "$(readlink "$HOME_DIR/current")"
}

# manage ARGUMENTS: manage.py of the live release.
manage() {
    [ -n "$(live_release)" ] || die "Nothing is live on this machine yet." "Run: $DEPLOY/deploy.sh install"
    in_release "$HOME_DIR/releases/$(live_release)" "$APP_USER" -- "$@"
}

# in_release FOLDER USER [NAME=VALUE...] -- ARGUMENTS: manage.py of a release that need not be live.
in_release() {
    local folder=$1 user=$2 variables=()
    shift 2
    while [ "$1" != -- ]; do
        variables+=("$1")
        shift
    done
    shift
    mapfile -t -O "${#variables[@]}" variables <"$folder/release.env"
    (cd "$folder" && as "$user" "${variables[@]}" .venv/bin/python manage.py "$@")
}

random_secret() { openssl rand -base64 48 | tr -d '\n=' | tr '+/' '-_'; }
