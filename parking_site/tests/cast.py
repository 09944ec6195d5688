"""Everybody and everything that a door can be tried with: who has what, and one row of each kind that staff see."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from accounts import services as accounts
from accounts.models import Erasure, User
from bookings.models import Booking, PromoCode
from bookings.services.quote import quote_stay
from bookings.tests.world import DAY, hold, make_product
from communications.models import (
    Campaign,
    ConsentEntry,
    EmergencyAlert,
    InboundText,
    Message,
    MessageCount,
    Recipient,
    SmsBreaker,
    SmsSpend,
    Suppression,
)
from foundation import audit, jobs
from foundation.models import Choice
from payments.models import (
    Break,
    CardBreaker,
    Dispute,
    Document,
    Payment,
    Payout,
    ProviderEvent,
    ReconciliationRun,
    Refund,
)
from payments.services.refund import request_refund
from payments.services.settle import settle
from payments.tests.world import checkout, pay, saved_card

PASSWORD = "rather-long-Secret-7"


def staff(name: str, *permissions: str, every_view: bool = False) -> User:
    """A member of staff with exactly these permissions ("app.codename")."""
    user = User.objects.create_user(f"{name}@staff.example", PASSWORD, is_staff=True)
    wanted = [
        Permission.objects.get(content_type__app_label=app, codename=codename)
        for app, codename in (permission.split(".") for permission in permissions)
    ]
    if every_view:
        wanted += Permission.objects.filter(codename__startswith="view_")
    user.user_permissions.set(wanted)
    return user


class Cast:
    """Ada and Ben are customers, each with a paid booking, a held one, a quote and a saved card; two guests have a paid booking and a held
    one each. New may do nothing yet, Vic only looks, Kim also changes bookings, Root may everything."""

    def __init__(self) -> None:
        self.product = make_product(capacity=30)
        self.ada = User.objects.create_user("ada@example.com", PASSWORD, name="Ada")
        self.ben = User.objects.create_user("ben@example.com", PASSWORD, name="Ben")
        self.new = staff("new")
        self.vic = staff("vic", every_view=True)
        self.kim = staff("kim", "bookings.change_booking", every_view=True)
        self.root = User.objects.create_superuser("root@staff.example", PASSWORD)
        for user in User.objects.all():
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        self.paid: dict[str, Payment] = {}
        self.held: dict[str, Booking] = {}
        self.guest_token: dict[str, str] = {}
        for name, user in (("ada", self.ada), ("ben", self.ben), ("guest", None), ("other guest", None)):
            self.paid[name] = self._paid(name, user)
            self.held[name], self.guest_token[f"{name} held"] = self._held(name, user)
        # A PayPal order each, which nobody has agreed to yet.
        self.order: dict[str, str] = {}
        for name, user in (("ada", self.ada), ("guest", None), ("other guest", None)):
            booking, self.guest_token[f"{name} ordered"] = self._held(name, user)
            self.order[name] = checkout(booking, provider="paypal").provider_ref
        self.card = {"ada": saved_card(self.ada), "ben": saved_card(self.ben)}
        now = timezone.now()
        self.quote = {
            name: quote_stay(
                self.product, start_at=now + 5 * DAY, end_at=now + 7 * DAY, now=now, user=getattr(self, name)
            )
            for name in ("ada", "ben")
        }
        self.document = {name: Document.objects.get(payment=payment) for name, payment in self.paid.items()}
        self.refund: Refund = request_refund(
            self.paid["ada"], amount_minor=100, reason="Gesture", requested_by=self.root, source="staff"
        )

    def _held(self, name: str, user: User | None) -> tuple[Booking, str]:
        now = timezone.now()
        email = user.email if user else f"{name.replace(' ', '.')}@example.com"
        placed = hold(self.product, start=now + 9 * DAY, now=now, user=user, email=email)
        return placed.booking, placed.guest_token

    def _paid(self, name: str, user: User | None) -> Payment:
        booking, token = self._held(name, user)
        self.guest_token[name] = token
        session = checkout(booking)
        if pay(session) != 200:
            raise AssertionError("the card was not taken")
        return settle(session.payment.pk)

    def booking(self, name: str, *, held: bool = False) -> Booking:
        return self.held[name] if held else self.paid[name].booking

    def access_token(self, user: User) -> str:
        return accounts.issue_tokens(user).access


def a_row_of_each(cast: Cast) -> dict[str, Any]:
    """One row of every model that has staff pages, by its label in small letters."""
    now, payment = timezone.now(), cast.paid["ada"]
    jobs.defer("communications.send_message", message_id="0")
    audit.record(actor=cast.root, action="test.made", subject="booking:AP-7F3K2Q")
    Group.objects.get_or_create(name="Desk")
    ProviderEvent.objects.create(provider="stripe", event_ref="evt_1", kind="charge.refunded")
    Break.objects.create(
        kind="amount", provider="stripe", provider_ref="pi_x", payment=payment, detail="5.00 there"
    )
    Dispute.objects.create(
        payment=cast.paid["ben"], provider="stripe", provider_ref="dp_1", status="needs_response", amount_minor=100, currency="GBP",
        reason="fraudulent", opened_at=now, due_by=now + DAY,
    )  # fmt: skip
    ReconciliationRun.objects.create(
        provider="stripe", since=now - DAY, until=now, started_at=now, alive_at=now
    )
    Payout.objects.create(
        provider="stripe", provider_ref="po_1", status="paid", amount_minor=100, currency="GBP", made_at=now
    )
    PromoCode.objects.create(code="MAY", percent=10)
    Choice.objects.create(key="rule:REMINDER_HOURS", value=[24], by=cast.root, reason="Test")
    CardBreaker.objects.create(
        scope="account", key="k", payment=payment, declines=9, tripped_at=now, until=now + DAY
    )
    Erasure.objects.create(user=cast.ben, emails=[cast.ben.email], asked_at=now, asked_by_person=True)
    campaign = Campaign.objects.create(name="May")
    Recipient.objects.create(campaign=campaign, channel="email", address="ada@example.com")
    EmergencyAlert.objects.create(
        place="Meadow", audience_text="All", reason="Fire", shown=1, reached=1, once="x", created_by=cast.root
    )
    SmsSpend.objects.create(on=now.date(), share="other", scope="day", segments=1)
    SmsBreaker.objects.create(prefix="+4477009", why="25 in 10", tripped_at=now)
    ConsentEntry.objects.create(
        channel="email", address_key="k" * 32, is_granted=True, source="account", at=now
    )
    Suppression.objects.create(channel="email", address_key="k" * 32, cause="hard_bounce", at=now)
    InboundText.objects.create(sid="SM1", phone="+447700900123", to="+15005550006", received_at=now)
    if not MessageCount.objects.exists():
        MessageCount.objects.create(
            day=now.date(), channel="email", kind="welcome", status="sent", messages=1
        )
    if not Message.objects.exists():
        raise AssertionError("booking and paying have written no message")
    rows = {}
    for model in admin.site._registry:
        label = model._meta.label_lower
        row = model._default_manager.first()
        if row is None:
            raise AssertionError(f"{label} has staff pages: make a row of it in {__name__}.a_row_of_each")
        rows[label] = row
    rows["accounts.user"] = cast.ada
    rows["payments.payment"] = payment
    rows["bookings.booking"] = cast.booking("ada")
    return rows
