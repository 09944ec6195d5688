# PostgreSQL and Redis.
# shellcheck shell=bash

# Of the cluster that serves: an upgrade of Debian puts a newer, empty one beside it.
postgresql_version() {
    local version
    version=$(pg_lsclusters --no-header 2>/dev/null | awk '$2 == "main" && $3 == 5432 {print $1; exit}' || true)
    [ -n "$version" ] || version=$(find /usr/lib/postgresql -maxdepth 1 -mindepth 1 -printf '%f\n' | sort -n | tail -1)
    printf '%s' "$version"
}

sql() { (cd / && runuser -u postgres -- psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"); }

# A single address as pg_hba.conf wants it; /32 of an IPv6 address would let in a whole provider.
as_network() {
    case $1 in
        */*) printf '%s' "$1" ;;
        *:*) printf '%s/128' "$1" ;;
        *) printf '%s/32' "$1" ;;
    esac
}

configure_postgresql() {
    has_role database || return 0
    step "PostgreSQL"
    local version memory cores folder changed remote="" address listen=localhost archive=true
    changed=$(begun postgresql)
    version=$(postgresql_version)
    folder=/etc/postgresql/$version/main
    memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
    cores=$(nproc)
    for address in $TRUSTED_ADDRESSES; do
        remote+="hostssl parking parking,parking_owner $(as_network "$address") scram-sha-256"$'\n'
        listen='*'
    done
    [ -n "$BACKUP_TYPE" ] && [ "$BACKUP_TYPE" != none ] && archive="pgbackrest --stanza=parking archive-push %p"
    local shared=$((memory / 4)) maintenance=$((memory / 16))
    [ "$shared" -le 8192 ] || shared=8192
    [ "$maintenance" -le 1024 ] || maintenance=1024
    if fill "LISTEN=$listen" "SHARED_BUFFERS=$shared" "CACHE=$((memory / 2))" "MAINTENANCE=$maintenance" "CORES=$cores" "ARCHIVE=$archive" \
        <"$DEPLOY/postgresql/parking.conf" | write_file "$folder/conf.d/parking.conf" 644 postgres:postgres; then changed=yes; fi
    if fill "REMOTE=${remote%$'\n'}" <"$DEPLOY/postgresql/pg_hba.conf" | write_file "$folder/pg_hba.conf" 640 postgres:postgres; then changed=yes; fi
    systemctl enable --quiet "postgresql@$version-main" postgresql 2>/dev/null || true
    # A restart ends every connection, so only when its configuration is another one.
    if [ "$changed" = yes ] || ! systemctl is-active --quiet "postgresql@$version-main"; then systemctl restart "postgresql@$version-main"; fi
    wait_for_postgresql
    finished postgresql
    # The site may read and write rows; only the migrations' role may change what tables are. So a stolen web process drops nothing.
    sql --dbname postgres <<SQL >/dev/null
SELECT 'CREATE ROLE $OWNER LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$OWNER') \gexec
SELECT 'CREATE ROLE $APP_USER LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$APP_USER') \gexec
ALTER ROLE $APP_USER NOSUPERUSER NOCREATEDB NOCREATEROLE;
ALTER ROLE $OWNER NOSUPERUSER NOCREATEDB NOCREATEROLE;
ALTER ROLE $APP_USER SET statement_timeout = '60s';
ALTER ROLE $APP_USER SET lock_timeout = '15s';
SELECT 'CREATE DATABASE parking OWNER $OWNER ENCODING ''UTF8'' LOCALE ''C.UTF-8'' TEMPLATE template0'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'parking') \gexec
REVOKE ALL ON DATABASE parking FROM PUBLIC;
GRANT CONNECT ON DATABASE parking TO $APP_USER;
SQL
    sql --dbname parking <<SQL >/dev/null
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO $OWNER;
GRANT USAGE ON SCHEMA public TO $APP_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE $OWNER IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO $APP_USER;
ALTER DEFAULT PRIVILEGES FOR ROLE $OWNER IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO $APP_USER;
SQL
    if [ -n "$TRUSTED_ADDRESSES" ]; then
        [ -s "$ETC/database-password" ] || (umask 077 && random_secret >"$ETC/database-password")
        [ -s "$ETC/database-owner-password" ] || (umask 077 && random_secret >"$ETC/database-owner-password")
        # By standard input: a password in a command's arguments could be seen by everybody on this machine.
        printf "ALTER ROLE %s PASSWORD '%s';\nALTER ROLE %s PASSWORD '%s';\n" "$APP_USER" "$(cat "$ETC/database-password")" \
            "$OWNER" "$(cat "$ETC/database-owner-password")" | sql --dbname postgres
    fi
    done_step "version $version, $shared MB of shared buffers"
}

wait_for_postgresql() {
    local tries
    for tries in $(seq 100); do
        sql --dbname postgres --command 'SELECT 1' >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    die "PostgreSQL does not answer after $((tries / 5)) s." "See: journalctl -u postgresql@$(postgresql_version)-main"
}

configure_redis() {
    has_role redis || return 0
    step "Redis"
    local bind="127.0.0.1 -::1" port=0 password=""
    if [ -n "$TRUSTED_ADDRESSES" ]; then
        # All addresses, and none beside them: Redis cannot bind 127.0.0.1 and 0.0.0.0 both, and would not start.
        bind="* -::*" port=6379
        [ -s "$ETC/redis-password" ] || (umask 077 && random_secret >"$ETC/redis-password")
        password="requirepass $(cat "$ETC/redis-password")"
    fi
    local changed
    changed=$(begun redis)
    if fill "BIND=$bind" "PORT=$port" "PASSWORD=$password" <"$DEPLOY/redis/parking.conf" |
        write_file /etc/redis/parking.conf 640 redis:redis; then changed=yes; fi
    if ! grep -qx 'include /etc/redis/parking.conf' /etc/redis/redis.conf; then
        printf '\ninclude /etc/redis/parking.conf\n' >>/etc/redis/redis.conf
        changed=yes
    fi
    systemctl enable --quiet redis-server 2>/dev/null || true
    if [ "$changed" = yes ] || ! systemctl is-active --quiet redis-server; then systemctl restart redis-server; fi
    finished redis
    done_step
}
