"""Take the second factor from somebody who lost it, when no other administrator is there to do it on the website."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.second_factor import reset
from foundation.errors import DomainError


class Command(BaseCommand):
    help = "Remove a person's second factor and recovery codes and end all their sign-ins. Audited; the person gets an e-mail."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("email")
        parser.add_argument("--reason", required=True, help="kept in the audit log")

    def handle(self, *args: Any, email: str, reason: str, **options: Any) -> None:
        user = User.objects.filter(email__iexact=email.strip()).first()
        if user is None:
            raise CommandError(f"Nobody here has the address {email}.")
        try:
            taken = reset(user, by=None, reason=reason)
        except DomainError as error:
            raise CommandError(str(error.message)) from error
        self.stdout.write(
            f"{user.email}: {taken} removed, all sign-ins ended. At the next log-in the password alone is asked; "
            "staff then set up a new second factor."
        )
