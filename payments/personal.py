"""What payments keep about a person, here, in dj-stripe's mirror and at the providers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import djstripe.models as mirror
from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from bookings import personal as bookings
from bookings.models import Amendment, Cancellation
from foundation.personal import (
    ERASED,
    GONE,
    KEPT_AS_PROOF,
    KEPT_BY_LAW,
    NOT_A_CUSTOMER,
    SHORT_LIVED,
    Person,
    instant,
)
from payments.gateways import gateway_for
from payments.gateways.base import ProviderError
from payments.models import (
    LIVE_STATUSES,
    OPEN,
    Dispute,
    Payment,
    ProviderCustomer,
    Refund,
    RefundSource,
    RefundStatus,
    StoredMethod,
    StoredMethodStatus,
)
from payments.queries import WAITING
from payments.services import methods

logger = logging.getLogger(__name__)

# In copies of Stripe's objects: what is about a person, wherever in the object it stands.
TELLING = {
    "address", "billing_details", "customer_address", "customer_details", "customer_email", "customer_email_address", "customer_name",
    "customer_purchase_ip", "email", "evidence", "fingerprint", "last4", "name", "phone", "receipt_email", "receipt_url", "shipping", "ip",
    "client_ip",
}  # fmt: skip
ASKED_BY_CUSTOMER = (RefundSource.CUSTOMER_CANCELLATION, RefundSource.AMENDMENT)
MIRROR = ("Customer", "PaymentIntent", "Charge", "PaymentMethod", "SetupIntent", "Refund", "Dispute")

FIELDS = {
    "payments.StoredMethod.label": ERASED,
    "payments.StoredMethod.brand": ERASED,
    "payments.StoredMethod.last4": ERASED,
    "payments.StoredMethod.provider_ref": KEPT_AS_PROOF,  # of a method that the provider let go; it names nobody any more
    "payments.ProviderCustomer.provider_ref": ERASED,
    "payments.Payment.method_label": KEPT_BY_LAW,
    "payments.Payment.failure_message": KEPT_AS_PROOF,  # the provider's words
    "payments.Payment.provider_ref": KEPT_BY_LAW,
    "payments.Document.content": KEPT_BY_LAW,  # name, e-mail, plate and stay, as the paper was sent
    "payments.LedgerTransaction.description": KEPT_BY_LAW,
    "payments.LedgerTransaction.booking_reference": KEPT_BY_LAW,
    "payments.Refund.reason": ERASED,  # the customer's own words; those of staff stay
    "payments.Refund.note": KEPT_BY_LAW,
    "payments.StrayRefund.reason": KEPT_BY_LAW,
    "payments.Dispute.answer": KEPT_AS_PROOF,  # what was claimed before the bank
    "payments.Dispute.acceptance": KEPT_AS_PROOF,
    "payments.Dispute.reason": KEPT_AS_PROOF,  # the bank's code
    "payments.CardBreaker.reset_reason": NOT_A_CUSTOMER,  # staff's words about a hash
    "payments.Break.detail": KEPT_AS_PROOF,
    "payments.Break.resolution": KEPT_AS_PROOF,
    "payments.Break.movements": KEPT_AS_PROOF,
    "payments.ReconciliationRun.balances": NOT_A_CUSTOMER,
    "payments.ProviderEvent.last_error": SHORT_LIVED,
    **{f"djstripe.{name}.stripe_data": ERASED for name in MIRROR},
    "djstripe.Customer.email": ERASED,
    "djstripe.Event.data": SHORT_LIVED,
    "djstripe.WebhookEventTrigger.body": ERASED,
    "djstripe.WebhookEventTrigger.headers": SHORT_LIVED,
    "djstripe.WebhookEventTrigger.remote_ip": SHORT_LIVED,  # Stripe's own
}


def _payments_of(person: Person) -> QuerySet[Payment]:
    mine = Q(booking__in=bookings.bookings_of(person).values("pk"))
    if person.user is not None:
        mine |= Q(user=person.user)
    return Payment.objects.filter(mine)


def export(person: Person) -> dict[str, Any]:
    """Return payments, refunds, disputes, numbered documents and the labels of saved payment methods."""
    rows = (
        _payments_of(person)
        .select_related("booking")
        .prefetch_related("refunds", "disputes", "documents")
        .order_by("created_at")
    )
    saved = StoredMethod.objects.filter(user=person.user).order_by("created_at") if person.user else []
    known = ProviderCustomer.objects.filter(user=person.user) if person.user else []
    return {
        "payments": [_payment(row) for row in rows],
        "saved_payment_methods": [
            {
                "provider": one.provider,
                "label": one.label,
                "expires": one.expiry,
                "status": one.status,
                "saved": instant(one.created_at),
                "removed": instant(one.removed_at),
            }
            for one in saved
        ],
        "known_at_providers_as": [{"provider": one.provider, "customer": one.provider_ref} for one in known],
    }


def _payment(row: Payment) -> dict[str, Any]:
    return {
        "booking": row.booking.reference,
        "provider": row.provider,
        "reference": row.provider_ref,
        "status": row.status,
        "amount": str(row.amount),
        "captured": str(row.captured),
        "refunded": str(row.refunded),
        "method": row.method_label,
        "made": instant(row.created_at),
        "taken": instant(row.captured_at),
        "refunds": [
            {
                "amount_minor": one.amount_minor,
                "currency": one.currency,
                "status": one.status,
                "made": instant(one.created_at),
                "finished": instant(one.finished_at),
            }
            for one in row.refunds.all()
        ],
        "disputes": [
            {
                "amount_minor": one.amount_minor,
                "currency": one.currency,
                "status": one.status,
                "reason": one.reason,
                "opened": instant(one.opened_at),
                "closed": instant(one.closed_at),
            }
            for one in row.disputes.all()
        ],
        "documents": [
            {
                "number": one.number,
                "kind": one.kind,
                "issued": instant(one.issued_at),
                "total": str(one.total),
                "vat": str(one.vat),
                "content": one.content,
            }
            for one in row.documents.all()
        ],
    }


def open_matters(person: Person, *, now: datetime) -> list[str]:
    """Say which payments, refunds and disputes are not at their end: whoever erased them could not be paid or heard."""
    mine = _payments_of(person).select_related("booking")
    said = [
        _("A payment of booking %(reference)s is under way.") % {"reference": row.booking.reference}
        for row in mine.filter(status__in=LIVE_STATUSES)
    ]
    keys = mine.values("pk")
    refunds = Refund.objects.filter(payment__in=keys).select_related("payment__booking")
    for refund in refunds.filter(status__in=WAITING):
        said.append(
            _("A refund of booking %(reference)s is on its way.")
            % {"reference": refund.payment.booking.reference}
        )
    taken_up = Exists(Refund.objects.filter(retries=OuterRef("pk")).exclude(status=RefundStatus.CANCELLED))
    for refund in refunds.filter(~taken_up, status=RefundStatus.FAILED, note=""):
        said.append(
            _("A refund of booking %(reference)s has failed and is still owed.")
            % {"reference": refund.payment.booking.reference}
        )
    owed = Q(refund_minor__gt=0, payment_refunds__isnull=True, booking__kept_minor__gt=0)
    unsent = Q(booking__in=bookings.bookings_of(person).values("pk")) & owed
    unsent_rows: list[Cancellation | Amendment] = [
        *Cancellation.objects.filter(unsent).select_related("booking"),
        *Amendment.objects.filter(unsent, status=Amendment.Status.APPLIED).select_related("booking"),
    ]
    for row in unsent_rows:
        said.append(
            _("A refund of booking %(reference)s is on its way.") % {"reference": row.booking.reference}
        )
    disputes = Dispute.objects.filter(payment__in=keys, status__in=OPEN).select_related("payment__booking")
    for dispute in disputes:
        said.append(
            _("The bank has not decided about a payment of booking %(reference)s.")
            % {"reference": dispute.payment.booking.reference}
        )
    return said


def forget_elsewhere(person: Person, *, now: datetime) -> bool:
    """Remove every saved method, then the customer, at each provider. False while one has not confirmed; the next try goes on there."""
    if person.user is None:
        return True
    for method in StoredMethod.objects.filter(user=person.user).exclude(status=StoredMethodStatus.REMOVED):
        if method.status == StoredMethodStatus.ACTIVE:
            methods.remove(person.user, method.pk, now=now)
        elif methods.finish_removal(method.pk).status != StoredMethodStatus.REMOVED:
            return False
    left = StoredMethod.objects.filter(user=person.user).exclude(status=StoredMethodStatus.REMOVED)
    if left.exists():
        return False
    for customer in ProviderCustomer.objects.filter(user=person.user):
        try:
            gateway_for(customer.provider).delete_customer(customer.provider_ref)
        except ProviderError as error:
            logger.warning("%s did not confirm that a customer is deleted: %s", customer.provider, error)
            return False
    return True


def forget(person: Person, *, by: Any, reason: str, now: datetime) -> dict[str, int]:
    """Blank what names the person in saved methods and in the copies of Stripe's objects. Ledger, documents and amounts stay."""
    refs: list[Any] = list(
        _payments_of(person).filter(provider="stripe", provider_ref__isnull=False).values_list("provider_ref", flat=True)
    )  # fmt: skip
    customers, saved = [], []
    if person.user is not None:
        known = ProviderCustomer.objects.filter(user=person.user)
        customers = list(known.filter(provider="stripe").values_list("provider_ref", flat=True))
        mine = StoredMethod.objects.filter(user=person.user)
        saved = list(mine.filter(provider="stripe").values_list("provider_ref", flat=True))
        mine.update(label=_("erased"), brand="", last4="", exp_month=None, exp_year=None)
        known.delete()
    theirs = Refund.objects.filter(
        payment__in=_payments_of(person).values("pk"), source__in=ASKED_BY_CUSTOMER
    )
    theirs.exclude(reason=GONE).update(reason=GONE)  # what the customer wrote when cancelling
    copies = _forget_in_mirror(refs, customers, saved)
    for name in (*refs, *customers, *saved):
        mirror.WebhookEventTrigger.objects.filter(body__contains=name).delete()
    return {"copies": copies}


def _forget_in_mirror(intents: list[str], customers: list[str], saved: list[str]) -> int:
    found: dict[type[models.Model], Any] = {
        mirror.PaymentIntent: Q(id__in=intents),
        mirror.Customer: Q(id__in=customers),
        mirror.PaymentMethod: Q(id__in=saved) | Q(customer_id__in=customers),
        mirror.SetupIntent: Q(customer_id__in=customers),
        mirror.Charge: Q(payment_intent_id__in=intents) | Q(customer_id__in=customers),
        mirror.Refund: Q(charge__payment_intent_id__in=intents),
        mirror.Dispute: Q(payment_intent_id__in=intents) | Q(charge__payment_intent_id__in=intents),
    }
    number = 0
    for model, which in found.items():
        for row in model._default_manager.filter(which):
            model._default_manager.filter(pk=row.pk).update(stripe_data=without_people(row.stripe_data))  # type: ignore[attr-defined]
            number += 1
    mirror.Customer.objects.filter(id__in=customers).update(email="", subscriber=None)
    used = mirror.PaymentIntent.objects.filter(id__in=intents, payment_method__isnull=False)
    methods_used: Iterable[str] = used.values_list("payment_method_id", flat=True)
    for row in mirror.PaymentMethod.objects.filter(id__in=list(methods_used)):
        mirror.PaymentMethod.objects.filter(pk=row.pk).update(stripe_data=without_people(row.stripe_data))
        number += 1
    return number


def without_people(data: Any) -> Any:
    """Return a provider's object with nothing in it about a person, such as {"receipt_email": null, "amount": 5}."""
    if isinstance(data, dict):
        return {
            key: _blank(value) if key in TELLING else without_people(value) for key, value in data.items()
        }
    if isinstance(data, list):
        return [without_people(one) for one in data]
    return data


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _blank(one) for key, one in value.items()}
    return [] if isinstance(value, list) else None
