"""One booking's whole story for staff: what happened, when, by whom, across bookings, payments, messages and the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext as _

from bookings.models import Booking
from communications.models import InboundText, Message
from communications.stories import Step, about_booking, heard_from
from foundation.admin import subject_of
from foundation.models import AuditEntry
from foundation.money import Money
from payments.causes import cause_of
from payments.models import Break, Dispute, Document, Payment, Refund, RefundSource, RefundStatus

GOOD = {"captured", "succeeded", "delivered", "confirmed", "completed"}
BAD = {"failed", "bounced", "cancelled", "expired", "no_show", "unknown", "maybe_sent"}
NEWEST_AUDIT_ENTRIES = 200


@dataclass(frozen=True)
class Moment:
    """One line of the story. `at` is aware UTC; `source` is booking, money, message or staff."""

    at: datetime
    source: str
    what: str
    state: str = ""
    state_name: str = ""
    detail: str = ""
    who: str = ""
    link: str = ""
    steps: tuple[Step, ...] = ()

    @property
    def mood(self) -> str:
        return "good" if self.state in GOOD else "bad" if self.state in BAD else "wait" if self.state else ""


def story_of(booking: Booking, *, request: HttpRequest) -> list[Moment]:
    """Return everything that happened to the booking, oldest first, without what this person may not view."""
    moments = _booking_moments(booking)
    payments = list(Payment.objects.filter(booking=booking).select_related("user"))
    if _may_view(request, Payment):
        moments += _payment_moments(payments)
        moments += _refund_moments(payments)
        moments += _document_moments(payments)
        moments += _dispute_moments(payments)
        moments += _break_moments(payments)
    if _may_view(request, Message):
        moments += _message_moments(booking)
    if _may_view(request, InboundText):
        moments += _heard_moments(booking)
    if _may_view(request, AuditEntry):
        moments += _audit_moments(booking, payments)
    return sorted(moments, key=lambda moment: moment.at)


def _booking_moments(booking: Booking) -> list[Moment]:
    customer = _("Customer")
    moments = [
        Moment(
            at=booking.quote.created_at,
            source="booking",
            what=_("Price quoted"),
            detail=str(Money(booking.quote.total_minor, booking.quote.currency)),
            who=customer,
        )
    ]
    for event in booking.events.select_related("actor"):
        moments.append(
            Moment(
                at=event.at,
                source="booking",
                what=event.get_kind_display(),
                detail=_details(event.data),
                who=event.actor.email if event.actor else "",
            )
        )
    cancellation = getattr(booking, "cancellation", None)
    if cancellation is not None:
        due = Money(cancellation.refund_minor, cancellation.currency)
        moments.append(
            Moment(
                at=cancellation.created_at,
                source="booking",
                what=_("Cancellation recorded"),
                detail=" · ".join(
                    filter(None, [_("%(amount)s comes back") % {"amount": due}, cancellation.reason])
                ),
                who=cancellation.requested_by.email if cancellation.requested_by else customer,
            )
        )
    return moments


def _payment_moments(payments: list[Payment]) -> list[Moment]:
    moments = []
    for payment in payments:
        shared: dict[str, Any] = {"source": "money", "link": _page(payment)}
        amount = str(Money(payment.amount_minor, payment.currency))
        method = " · ".join(filter(None, [payment.provider, payment.method_label, payment.provider_ref]))
        who = payment.user.email if payment.user else _("Customer")
        moments.append(
            Moment(
                at=payment.created_at,
                what=_("Payment of a change started") if payment.amendment_id else _("Payment started"),
                detail=f"{amount} · {method}",
                who=who,
                **shared,
            )
        )
        if payment.captured_at:
            taken = str(Money(payment.captured_minor, payment.currency))
            moments.append(
                Moment(
                    at=payment.captured_at,
                    what=_("Payment taken"),
                    state="captured",
                    state_name=_("Captured"),
                    detail=taken,
                    **shared,
                )
            )
        if payment.status not in ("created", "submitted", "captured"):
            moments.append(
                Moment(
                    at=payment.last_checked_at or payment.submitted_at or payment.created_at,
                    what=_("Payment at the provider"),
                    state=payment.status,
                    state_name=payment.get_status_display(),
                    detail=" · ".join(filter(None, [payment.failure_code, payment.failure_message])),
                    **shared,
                )
            )
    return moments


def _refund_moments(payments: list[Payment]) -> list[Moment]:
    moments = []
    for refund in Refund.objects.filter(payment__in=payments).select_related("requested_by", "approved_by"):
        shared: dict[str, Any] = {"source": "money", "link": _page(refund)}
        amount = str(Money(refund.amount_minor, refund.currency))
        moments.append(
            Moment(
                at=refund.created_at,
                what=_("Refund requested"),
                detail=" · ".join(filter(None, [amount, refund.get_source_display(), refund.reason])),
                who=refund.requested_by.email if refund.requested_by else "",
                **shared,
            )
        )
        if refund.approved_by and refund.approved_at:
            moments.append(
                Moment(
                    at=refund.approved_at,
                    what=_("Refund approved"),
                    detail=amount,
                    who=refund.approved_by.email,
                    **shared,
                )
            )
        if refund.submitted_at and refund.source != RefundSource.ELSEWHERE:
            moments.append(
                Moment(
                    at=refund.submitted_at,
                    what=_("Refund sent to the provider"),
                    detail=refund.provider_ref or "",
                    **shared,
                )
            )
        if refund.finished_at:
            moments.append(
                Moment(
                    at=refund.finished_at,
                    what=_("Refund finished"),
                    state=refund.status,
                    state_name=refund.get_status_display(),
                    detail=" · ".join(filter(None, [amount, _why(refund)])),
                    **shared,
                )
            )
    return moments


def _why(refund: Refund) -> str:
    """Why a refund failed or was cancelled; "" for any other."""
    return str(cause_of(refund.failure_code).staff) if refund.status == RefundStatus.FAILED else refund.note


def _dispute_moments(payments: list[Payment]) -> list[Moment]:
    moments = []
    for dispute in Dispute.objects.filter(payment__in=payments).select_related("answered_by"):
        shared: dict[str, Any] = {"source": "money", "link": _page(dispute)}
        opened = f"{dispute.amount} · {dispute.reason_words}"
        moments.append(
            Moment(
                at=dispute.opened_at,
                what=_("Dispute opened"),
                state="failed" if dispute.is_open else "",
                state_name=dispute.get_status_display() if dispute.is_open else "",
                detail=opened,
                **shared,
            )
        )
        if dispute.answered_at:
            who = dispute.answered_by.email if dispute.answered_by else ""
            moments.append(
                Moment(
                    at=dispute.answered_at,
                    what=_("Dispute answered"),
                    detail=dispute.answer[:200],
                    who=who,
                    **shared,
                )
            )
        if dispute.closed_at:
            what = _("Dispute closed: %(state)s") % {"state": dispute.get_status_display()}
            moments.append(Moment(at=dispute.closed_at, what=what, **shared))
    return moments


def _document_moments(payments: list[Payment]) -> list[Moment]:
    return [
        Moment(
            at=document.issued_at,
            source="money",
            what=_("Issued: %(kind)s") % {"kind": document.get_kind_display()},
            detail=f"{document.number} · {document.total}",
            link=_page(document),
        )
        for document in Document.objects.filter(payment__in=payments)
    ]


def _break_moments(payments: list[Payment]) -> list[Moment]:
    moments = []
    for found in Break.objects.filter(payment__in=payments).select_related("resolved_by"):
        link = _page(found)
        moments.append(
            Moment(
                at=found.opened_at,
                source="money",
                what=_("Break found: %(kind)s") % {"kind": found.get_kind_display()},
                state="failed" if found.resolved_at is None else "",
                state_name=_("Open") if found.resolved_at is None else "",
                detail=_details(found.detail),
                link=link,
            )
        )
        if found.resolved_at:
            who = found.resolved_by.email if found.resolved_by else ""
            moments.append(
                Moment(
                    at=found.resolved_at,
                    source="money",
                    what=_("Break resolved"),
                    detail=found.resolution,
                    who=who,
                    link=link,
                )
            )
    return moments


def _message_moments(booking: Booking) -> list[Moment]:
    """One line for each message; what happened to it is folded into the line."""
    return [
        Moment(
            at=told.message.queued_at,
            source="message",
            what=f"{told.message.get_kind_display()} · {told.message.get_channel_display()}",
            state=told.message.status,
            state_name=told.message.get_status_display(),
            detail=" · ".join(filter(None, [told.message.to, told.message.error_text])),
            link=_page(told.message),
            steps=tuple(told.steps),
        )
        for told in about_booking(booking.reference)
    ]


def _heard_moments(booking: Booking) -> list[Moment]:
    """What the driver texted us since the booking was made."""
    return [
        Moment(
            at=text.received_at,
            source="message",
            what=_("SMS from the driver"),
            state="received",
            state_name=_("received"),
            detail=" · ".join(
                filter(None, [text.phone, text.body, text.reply and _("answered: %s") % text.reply])
            ),
            link=_page(text),
        )
        for text in heard_from(str(booking.driver_phone), since=booking.created_at)
    ]


def _audit_moments(booking: Booking, payments: list[Payment]) -> list[Moment]:
    subjects = [subject_of(booking), f"booking:{booking.pk}"]
    subjects += [f"payment:{payment.pk}" for payment in payments]
    subjects += [
        f"refund:{pk}" for pk in Refund.objects.filter(payment__in=payments).values_list("pk", flat=True)
    ]
    entries = AuditEntry.objects.filter(Q(subject__in=subjects)).select_related("actor").order_by("-at")
    return [
        Moment(
            at=entry.at,
            source="staff",
            what=entry.action.replace(".", ": ").replace("_", " "),
            detail=" · ".join(filter(None, [entry.reason, _details(entry.data.get("values", entry.data))])),
            who=entry.actor.email if entry.actor else _("System"),
            link=_page(entry),
        )
        for entry in entries[:NEWEST_AUDIT_ENTRIES]
    ]


def _details(data: Any) -> str:
    """Write a small JSON object as a person would: "plate: AB12 → CD34"."""
    if isinstance(data, str):
        return data[:500]
    if not isinstance(data, dict):
        return ""
    parts = []
    for key, value in data.items():
        if isinstance(value, list) and len(value) == 2:
            before, after = (_("nothing") if side in (None, "") else side for side in value)
            value = f"{before} → {after}"
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != "":
            parts.append(f"{key.replace('_', ' ')}: {value}")
    return ", ".join(parts)[:500]


def _may_view(request: HttpRequest, model: Any) -> bool:
    return request.user.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")


def _page(row: Any) -> str:
    if not admin.site.is_registered(type(row)):
        return ""
    try:
        return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    except NoReverseMatch:
        return ""
