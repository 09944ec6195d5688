"""Hand over or forget a whole person."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError
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
        user = User.objects.filter(email__iexact=email).first()
        person = persons.person_of(user) if user else persons.guest(email)
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
        self.stdout.write(json.dumps(persons.export(person, now=now), ensure_ascii=False, indent=2))
