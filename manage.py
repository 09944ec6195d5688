#!/usr/bin/env python
"""Django's command line for the airport-parking platform."""

import os
import sys

# These serve for long, in several threads. Any other command takes a plain connection, which fails at once and says why.
POOLED = ("procrastinate", "quickstart", "runserver", "doctor")


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "parking_site.settings")
    if not set(sys.argv[1:2]) & set(POOLED):
        os.environ["DATABASE_POOL_MAX"] = "0"
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    from parking_site.checks import refuse_unsafe_start, refuse_without_secret_key

    try:
        if sys.argv[1:2] not in (["check"], ["help"], ["doctor"]):  # which report themselves what is wrong
            refuse_unsafe_start()
        refuse_without_secret_key()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:  # what a person has to change, in one line
        if "--traceback" in sys.argv:
            raise
        sys.exit(str(problem))
    except OperationalError as problem:
        if "--traceback" in sys.argv or getattr(problem.__cause__, "sqlstate", None) is not None:
            raise  # a server answered: this is about a statement
        sys.exit(no_database())


def no_database() -> str:
    """Say where no database answers, and what to do. The address is without the password."""
    from django.db import connection

    known = connection.settings_dict
    folder = known["OPTIONS"].get("host", "")
    where = (
        f"{known['HOST'] or folder or 'the local socket'}{':' if known['PORT'] else ''}{known['PORT'] or ''}"
    )
    return f"No database {known['NAME']!r} answers at {where}: start `make demo`, or set DATABASE_URL."


if __name__ == "__main__":
    main()
