"""A person's data: handed over as one document, or forgotten everywhere while the books stay true.

Each floor answers for what it keeps (foundation.personal); this decides who is meant, whether it may be, and in which order.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core import signing
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from accounts.models import Erasure, User
from accounts.personal import close
from communications.services.consent import key_of
from communications.services.outbox import queue_message
from foundation import audit
from foundation.errors import DomainError, InvalidInput, NotFound
from foundation.jobs import defer
from foundation.personal import Person, instant, keepers

logger = logging.getLogger(__name__)

Status = Erasure.Status
OPEN = (Status.ASKED, Status.RUNNING)
STALLED_AFTER = timedelta(minutes=1)
LINK_SALT = "accounts.guest_data"
LINK_SECONDS = 3600


class StillOpen(DomainError):
    """`matters` are sentences, each saying what has to be over first."""

    code = "still_open"

    def __init__(self, matters: list[str]) -> None:
        self.matters = matters
        super().__init__(
            _("This cannot be erased yet. %(matters)s") % {"matters": " ".join(matters)}, matters=matters
        )


def person_of(user: User) -> Person:
    """Return who an account stands for: its addresses that were confirmed, and the phones that no other customer uses."""
    confirmed = EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    unconfirmed = EmailAddress.objects.filter(user=user, verified=False).values_list("email", flat=True)
    emails = {address.lower() for address in confirmed}
    if user.email.lower() not in {
        address.lower() for address in unconfirmed
    }:  # staff vouch for who has no row
        emails.add(user.email.lower())
    return _with_phones(Person(user, tuple(sorted(emails))), {str(user.phone)} if user.phone else set())


def guest(email: str) -> Person:
    """Return who booked without an account with this address, which must be proven to be theirs."""
    return _with_phones(Person(None, (email.strip().lower(),)), set())


def _with_phones(person: Person, phones: set[str]) -> Person:
    for keeper in keepers().values():
        if hasattr(keeper, "phones_of"):
            phones |= keeper.phones_of(person)
            phones -= keeper.shared_phones(phones, person)  # type: ignore[attr-defined]  # beside phones_of
    others = User.objects.filter(phone__in=phones)
    if person.user is not None:
        others = others.exclude(pk=person.user.pk)
    phones -= {str(phone) for phone in others.values_list("phone", flat=True)}
    return Person(person.user, person.emails, tuple(sorted(phones)))


def export(person: Person, *, now: datetime) -> dict[str, Any]:
    """Return everything that is kept about a person, floor by floor, as plain values for JSON."""
    found: dict[str, Any] = {
        "about": {
            "service": settings.SITE_NAME,
            "made": instant(now),
            "note": str(
                _(
                    "Everything that we keep about you. Amounts are in minor units where a field says so; instants are in UTC."
                )
            ),
        }
    }
    for keeper in reversed(keepers().values()):
        found |= keeper.export(person)
    return found


def note_export(person: Person, *, by: Any, now: datetime) -> None:
    """Write into the audit log that somebody took a person's data."""
    audit.record(actor=by, action="person_exported", subject=_subject(person))


def open_matters(person: Person, *, now: datetime) -> list[str]:
    """Return why a person cannot be forgotten yet; nothing when they can."""
    return list(
        dict.fromkeys(said for keeper in keepers().values() for said in keeper.open_matters(person, now=now))
    )


def open_erasure(person: Person) -> Erasure | None:
    """Return the wish that is asked for or under way."""
    rows = Erasure.objects.filter(status__in=OPEN)
    if person.user is not None:
        return rows.filter(user=person.user).first()
    return rows.filter(user=None, emails__contains=list(person.emails)).first()


def ask(person: Person, *, now: datetime) -> Erasure:
    """Note that the person wants to be forgotten; staff carry it out. Asking again returns the same wish. Raises StillOpen."""
    matters = open_matters(person, now=now)
    if matters:
        raise StillOpen(matters)
    with transaction.atomic():
        _lock(person)
        known = open_erasure(person)
        if known is not None:
            return known
        made = Erasure.objects.create(
            user=person.user, emails=list(person.emails), asked_at=now, asked_by_person=True
        )
        audit.record(actor=person.user, action="erasure_asked", subject=_subject(person))
    return made


def withdraw(person: Person, *, now: datetime) -> None:
    """Take the wish back while nobody has begun. Raises NotFound."""
    with transaction.atomic():
        _lock(person)
        known = open_erasure(person)
        if known is None or known.status != Status.ASKED:
            raise NotFound(_("There is nothing to take back."))
        known.status, known.emails, known.finished_at = Status.WITHDRAWN, [], now
        known.save(update_fields=["status", "emails", "finished_at"])
        audit.record(actor=person.user, action="erasure_withdrawn", subject=_subject(person))


def begin(person: Person, *, by: Any, reason: str, now: datetime) -> Erasure:
    """Close the account at once and have everything forgotten by the worker. A second call returns the same erasure.

    Raises InvalidInput without a reason, and StillOpen, with nothing done, while something of the person's is not at its end.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        _lock(person)
        known = open_erasure(person)
        if known is not None and known.status == Status.RUNNING:
            return known
        matters = open_matters(person, now=now)
        if matters:
            raise StillOpen(matters)
        row = known or Erasure(user=person.user, asked_at=now)
        row.status, row.began_at = Status.RUNNING, now
        row.emails, row.phones = list(person.emails), list(person.phones)
        row.reason, row.carried_out_by = reason.strip()[:500], by if getattr(by, "pk", None) else None
        row.save()
        if person.user is not None:
            close(person.user)
        audit.record(actor=by, action="erasure_begun", subject=_subject(person), reason=row.reason)
        defer("accounts.erase", queueing_lock=f"erase:{row.pk}", erasure_id=str(row.pk))
    return row


def carry_on(erasure_id: Any, *, now: datetime) -> Erasure:
    """Do what is left of an erasure: floor by floor, first at the providers with no transaction open, then here in one commit a floor.

    Stops without an error where a provider does not confirm; the clock calls again. Each step may be repeated.
    """
    row = Erasure.objects.select_related("user", "carried_out_by").get(pk=erasure_id)
    if row.status != Status.RUNNING:
        return row
    person = Person(row.user, tuple(row.emails), tuple(row.phones))
    for name, keeper in keepers().items():
        if name in row.steps:
            continue
        if not keeper.forget_elsewhere(person, now=now):
            logger.warning("erasure %s waits for a provider (%s)", row.pk, name)
            return row
        with transaction.atomic():
            row = (
                Erasure.objects.select_for_update(of=("self",))
                .select_related("carried_out_by")
                .get(pk=row.pk)
            )
            if name not in row.steps:  # else another worker was faster
                done = keeper.forget(person, by=row.carried_out_by, reason=row.reason, now=now)
                row.steps = {**row.steps, name: done}
                row.save(update_fields=["steps"])
    with transaction.atomic():
        row = Erasure.objects.select_for_update(of=("self",)).get(pk=row.pk)
        if row.status == Status.RUNNING:
            audit.record(
                actor=row.carried_out_by, action="erasure_done", subject=_subject(person), reason=row.reason,
                data={name: count for step in row.steps.values() for name, count in step.items()},
            )  # fmt: skip
            row.status, row.finished_at, row.emails, row.phones = Status.DONE, now, [], []
            row.save(update_fields=["status", "finished_at", "emails", "phones"])
    return row


def take_up(*, now: datetime) -> int:
    """Queue erasures that a killed worker or a silent provider left half way; return how many."""
    left = Erasure.objects.filter(status=Status.RUNNING, began_at__lte=now - STALLED_AFTER)
    for row in left:
        defer("accounts.erase", queueing_lock=f"erase:{row.pk}", erasure_id=str(row.pk))
    return len(left)


def send_link(email: str, *, url: Any, language: str, now: datetime) -> None:
    """Send a letter with a link that proves the address, if somebody booked with it; strangers get none, and nobody sees the difference.

    `url` makes the link's address from its token. The same address gets one letter in a quarter of an hour.
    """
    person = guest(email)
    key = next((found for keeper in _guest_books() if (found := keeper.key_of_guest(person))), None)
    if key is None:
        return
    token = signing.dumps([key, audit_key(person)], salt=LINK_SALT)
    quarter = int(now.timestamp() // 900)
    with transaction.atomic():
        queue_message(
            kind="your_data",
            channel="email",
            to=person.emails[0],
            language=language,
            variables={"data_url": url(token)},
            dedupe_key=f"your_data:{audit_key(person)}:{quarter}",
        )


def proven_address(token: str) -> str:
    """Return the address that a link of send_link() proves: the one that the letter went to, by its hash, whatever the booking says now.

    Raises NotFound for an old, altered or foreign one.
    """
    try:
        key, proven = signing.loads(token[:2000], salt=LINK_SALT, max_age=LINK_SECONDS)
    except (signing.BadSignature, TypeError, ValueError):
        key, proven = None, ""
    address = next(
        (found for keeper in _guest_books() if key and (found := keeper.address_of_guest(key))), ""
    )
    if not address or key_of("email", address)[:16] != proven:
        raise NotFound(_("This link is too old or not complete. Ask for a new one."))
    return address


def _guest_books() -> list[Any]:
    return [keeper for keeper in keepers().values() if hasattr(keeper, "key_of_guest")]


def audit_key(person: Person) -> str:
    """Name a person without an account by a hash, as the audit log does."""
    return key_of("email", person.emails[0])[:16]


def _subject(person: Person) -> str:
    return f"user:{person.user.pk}" if person.user is not None else f"person:{audit_key(person)}"


def _lock(person: Person) -> None:
    if person.user is not None:
        User.objects.select_for_update(no_key=True).get(pk=person.user.pk)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"person:{audit_key(person)}"]
        )
