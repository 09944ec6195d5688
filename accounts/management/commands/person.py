"""Hand over or forget a whole person."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.utils import timezone

from accounts import persons
from accounts.models import User
from foundation.errors import DomainError


class Command(BaseCommand):
    help = "Write everything that is kept about a person (an account, or a guest by e-mail) as JSON, or erase it with --erase --reason WHY."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email", help="the person's e-mail address; make sure that it is who asks")
        parser.add_argument("--erase", action="store_true")
        parser.add_argument("--reason", default="", help="why; kept in the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        email, now = options["email"].strip().lower(), timezone.now()
        try:
            validate_email(email)
        except ValidationError as error:
            raise CommandError(f"“{email[:80]}” is not an e-mail address.") from error
        user = User.objects.filter(email__iexact=email).first()
        person = persons.person_of(user) if user else persons.guest(email)
        found = persons.export(person, now=now)
        if user is None and not any(kept for name, kept in found.items() if name not in ("about", "person")):
            raise CommandError(f"Nothing is kept about {email}. Is it the address that the person used here?")
        try:
            if options["erase"]:
                row = persons.begin(person, by=None, reason=options["reason"], now=now)
                row = persons.carry_on(row.pk, now=now)
                if row.status == row.Status.DONE:
                    self.stdout.write("Erased. What was: " + json.dumps(row.steps))
                else:
                    self.stdout.write("Begun; a provider has not confirmed. The worker goes on by itself.")
                return
        except DomainError as error:
            raise CommandError(str(error.message)) from error
        persons.note_export(person, by=None, now=now)
        self.stdout.write(json.dumps(found, ensure_ascii=False, indent=2))
