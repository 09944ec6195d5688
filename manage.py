#!/usr/bin/env python
"""Django's command line for the airport-parking platform."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "parking_site.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from parking_site.checks import refuse_unsafe_start

    try:
        if sys.argv[1:2] not in (["check"], ["help"]):  # `check` itself reports what is wrong
            refuse_unsafe_start()
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as problem:  # what a person has to change, in one line
        if "--traceback" in sys.argv:
            raise
        sys.exit(str(problem))


if __name__ == "__main__":
    main()
