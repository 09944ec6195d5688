#!/bin/bash
# Put the platform on a Debian server and keep it there. `deploy.sh help` says how.
set -Eeuo pipefail
shopt -s inherit_errexit
# A hardened server's root has another umask, by which the site could not read its own environment; and what tools say is read here, so in one language.
umask 022
export LC_ALL=C.UTF-8

DEPLOY=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
SOURCE=$(dirname "$DEPLOY")
for library in "$DEPLOY"/lib/*.sh; do
    # shellcheck source=/dev/null
    . "$library"
done

usage() {
    cat <<TEXT
usage: deploy.sh COMMAND

  install            make this machine a server: packages, users, database, cache, firewall, certificate, backups, and the first
                     release. Safe to repeat: it changes only what differs.
  release [FOLDER]   put this version (or the checkout in FOLDER) live without a failed request. It is built, checked, migrated, started
                     beside the old one, asked, switched to, and watched; if anything is wrong the old one stays, or returns.
  rollback           return to the release before, in seconds. The database keeps its schema.
  --check            say what this machine lacks; changes nothing
  doctor             ask every account and dependency how it is, a line each
  status             what runs, since when, which release, how healthy
  logs [UNIT]        follow the logs (web, worker, nginx, all); options of journalctl may follow
  restart            restart web and workers one after the other, without a failed request
  nginx-test         test nginx's configuration
  backup [full]      make a backup now
  restore-test       restore the newest backup beside the database and audit its books
  restore [TIME]     replace the database by the backup, as of the last change or of TIME (asks first)
  manage ARGUMENTS   run manage.py of the live release as the site's user

Settings of the machine: /etc/parking/deploy.conf. Settings of the site: /etc/parking/parking.env.
TEXT
}

main() {
    local command=${1:-help}
    [ $# -eq 0 ] || shift
    case $command in
        help | -h | --help) usage; return 0 ;;
        install | release | rollback | status | logs | restart | nginx-test | doctor | backup | restore-test | restore | manage) ;;
        check | --check) command=check ;;
        *) usage >&2; die "There is no command \"$command\"." "Choose one of the above." ;;
    esac
    need_root "$command"
    read_configuration
    case $command in
        install) locked; install_server ;;
        release) hand_over "$@"; locked; release "${1:-$SOURCE}" ;;
        rollback) locked; rollback ;;
        check) preflight || exit 1 ;;
        status) show_status || exit 1 ;;
        logs) show_logs "$@" ;;
        restart) locked; restart_all ;;
        nginx-test) nginx -t ;;
        doctor) manage doctor "$@" || exit 1 ;;
        backup) back_up "${1:-incr}" ;;
        restore-test) test_restore ;;
        restore) locked; restore_database "${1:-}" ;;
        manage) manage "$@" || exit $? ;;
    esac
}

# The whole file is read before anything runs: a release may replace it meanwhile.
main "$@"; exit $?
