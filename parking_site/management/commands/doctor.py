"""Say how everything is connected, one line each."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from parking_site import doctor


class Command(BaseCommand):
    help = "Ask every account and dependency how it is; exit 1 if anything fails. Writes nothing, sends nothing, prints no secret."
    requires_system_checks = []

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--only", default="", help="parts, with commas: " + ",".join(doctor.parts()))
        parser.add_argument("--json", action="store_true", help="a list of objects instead of lines")

    def handle(self, *args: Any, **options: Any) -> None:
        only = [name.strip() for name in options["only"].split(",") if name.strip()]
        unknown = [name for name in only if name not in doctor.parts()]
        if unknown:
            raise CommandError(
                f"There is no part {', '.join(unknown)}. There are: {', '.join(doctor.parts())}."
            )
        findings = doctor.examine(only)
        if options["json"]:
            self.stdout.write(json.dumps([dataclasses.asdict(one) for one in findings], indent=2))
        else:
            for one in findings:
                advice = f"  -> {one.advice}" if one.advice else ""
                self.stdout.write(f"{one.level:4} {one.part + ' ' + one.what:24} {one.found}{advice}")
            counts = {
                level: sum(one.level == level for one in findings)
                for level in (doctor.OK, doctor.WARN, doctor.FAIL)
            }
            self.stdout.write(", ".join(f"{number} {level}" for level, number in counts.items()))
        if any(one.level == doctor.FAIL for one in findings):
            sys.exit(1)
