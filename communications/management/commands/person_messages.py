"""Hand over or forget a person's messages."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from communications.services import person
from foundation.errors import InvalidInput


class Command(BaseCommand):
    help = "Export (JSON lines or CSV, to standard output) or erase all messages to and from a person."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--email", default="", help="the person's e-mail address")
        parser.add_argument("--phone", default="", help="the person's phone number, E.164")
        parser.add_argument("--format", choices=["json", "csv"], default="json")
        parser.add_argument("--erase", action="store_true", help="forget them instead; needs --reason")
        parser.add_argument("--reason", default="", help="why they are erased; kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        who = {"email": options["email"], "phone": options["phone"]}
        try:
            if options["erase"]:
                count = person.erase(**who, by=None, reason=options["reason"], now=timezone.now())
                self.stdout.write(f"{count} messages say nothing of this person any more.")
                return
            rows = person.export(**who)
            for line in person.as_json(rows) if options["format"] == "json" else person.as_csv(rows):
                self.stdout.write(line, ending="")
        except InvalidInput as error:
            raise CommandError(str(error.message)) from error
