"""Receipts and credit notes: the only writer. Each is issued in the commit of the ledger entry that it is about."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, Sum
from django.utils import translation
from django.utils.translation import gettext as _

from bookings.models import Booking
from bookings.services.confirm import lock_booking
from foundation.money import tax_within
from payments.models import (
    SERIES,
    Document,
    DocumentCounter,
    DocumentKind,
    Payment,
    PaymentStatus,
    Refund,
    RefundSource,
    RefundStatus,
)

BATCH = 1000


def issue_receipt(payment: Payment, *, now: datetime) -> Document:
    """Issue the receipt of a captured payment, once: a repeat returns the first. The payment row must be locked and the capture booked.

    The VAT in it follows from the operator's rate of this moment, which the receipt keeps.
    """
    issued = Document.objects.filter(payment=payment, kind=DocumentKind.RECEIPT).first()
    if issued is not None:
        return issued
    booking = payment.booking
    percent = booking.product.car_park.operator.vat_percent
    vat_minor = 0 if percent is None else tax_within(payment.captured_minor, percent)
    with translation.override(booking.contact_language):
        lines = _price_lines(payment)
    return _issue(
        DocumentKind.RECEIPT, payment, refund=None, total_minor=payment.captured_minor, vat_minor=vat_minor, percent=percent,
        lines=lines, about={}, now=now,
    )  # fmt: skip


def issue_credit_note(refund: Refund, payment: Payment, *, now: datetime) -> Document:
    """Issue the credit note of a refund that has succeeded, once. The payment row must be locked and the refund booked.

    Its VAT is what brings the VAT of all credit notes of the payment to the share of what was credited, so that refunds in parts
    give back exactly the receipt's VAT.
    """
    issued = Document.objects.filter(refund=refund, kind=DocumentKind.CREDIT_NOTE).first()
    if issued is not None:
        return issued
    receipt = issue_receipt(payment, now=now)
    percent = _percent(receipt)
    credited, credited_vat = _credited(payment)
    share = 0 if percent is None else tax_within(credited + refund.amount_minor, percent)
    vat_minor = min(
        max(share - credited_vat, 0), refund.amount_minor
    )  # a cancelled note may leave a unit of rounding behind
    with translation.override(receipt.content["language"]):
        lines = _refund_lines(refund)
    return _issue(
        DocumentKind.CREDIT_NOTE, payment, refund=refund, total_minor=refund.amount_minor, vat_minor=vat_minor,
        percent=percent, lines=lines, about=_named(receipt), now=now,
    )  # fmt: skip


def cancel_credit_note(refund: Refund, payment: Payment, *, now: datetime) -> Document:
    """Issue the document that cancels a refund's credit note in full, because the bank returned the money. Once.

    A credit note that has a number and was sent out is neither deleted nor altered; with this one the books say again what is true:
    the amount was not given back, and its VAT is owed. When the money is sent anew, that is another refund with its own credit note.
    """
    issued = Document.objects.filter(refund=refund, kind=DocumentKind.CREDIT_NOTE_CANCELLATION).first()
    if issued is not None:
        return issued
    note = issue_credit_note(refund, payment, now=now)
    with translation.override(note.content["language"]):
        label = _("Refund returned by the bank")
    return _issue(
        DocumentKind.CREDIT_NOTE_CANCELLATION, payment, refund=refund, total_minor=note.total_minor, vat_minor=note.vat_minor,
        percent=_percent(note), lines=[{"label": label, "amount_minor": note.total_minor}], about=_named(note), now=now,
    )  # fmt: skip


def issue_missing(*, now: datetime) -> int:
    """Issue what is missing (money taken by a release that knew no documents), oldest first; return how many payments were looked at."""
    of_kind = Document.objects.filter(payment=OuterRef("payment"), kind=DocumentKind.CREDIT_NOTE)
    bare = Payment.objects.filter(status=PaymentStatus.CAPTURED).exclude(documents__kind=DocumentKind.RECEIPT)
    uncredited = Refund.objects.filter(status=RefundStatus.SUCCEEDED).exclude(
        Exists(of_kind.filter(refund=OuterRef("pk")))
    )
    keys = list(bare.order_by("captured_at").values_list("pk", flat=True)[:BATCH])
    keys += list(uncredited.order_by("finished_at").values_list("payment_id", flat=True)[:BATCH])
    for key in dict.fromkeys(keys):
        with transaction.atomic():
            booking = lock_booking(Payment.objects.values_list("booking_id", flat=True).get(pk=key))
            payment = Payment.objects.select_for_update().get(pk=key)
            payment.booking = booking
            issue_receipt(payment, now=now)
            for refund in payment.refunds.filter(status=RefundStatus.SUCCEEDED).order_by("finished_at"):
                issue_credit_note(refund, payment, now=now)
    return len(set(keys))


def _issue(
    kind: DocumentKind,
    payment: Payment,
    *,
    refund: Refund | None,
    total_minor: int,
    vat_minor: int,
    percent: Decimal | None,
    lines: list[dict[str, Any]],
    about: dict[str, Any],
    now: datetime,
) -> Document:
    if not connection.in_atomic_block:
        raise RuntimeError("A document belongs into the transaction of the ledger entry that it is about")
    booking = payment.booking
    operator = booking.product.car_park.operator
    year = now.astimezone(booking.zone).year
    serial = _next_serial(
        operator.pk, kind, year
    )  # last of all locks: it is shared by everybody who pays this operator
    return Document.objects.create(
        kind=kind,
        operator=operator,
        year=year,
        serial=serial,
        number=f"{SERIES[kind]}-{year}-{serial:06d}",
        issued_at=now,
        payment=payment,
        refund=refund,
        total_minor=total_minor,
        vat_minor=vat_minor,
        currency=payment.currency,
        content=_frozen(booking, payment)
        | {
            "lines": lines,
            "vat": []
            if percent is None
            else [
                {
                    "percent": f"{percent.normalize():f}",
                    "net_minor": total_minor - vat_minor,
                    "vat_minor": vat_minor,
                }
            ],
            "about": about,
        },
    )


def _next_serial(operator_id: int, kind: str, year: int) -> int:
    counter, _made = DocumentCounter.objects.get_or_create(operator_id=operator_id, kind=kind, year=year)
    DocumentCounter.objects.filter(pk=counter.pk).update(
        last=F("last") + 1
    )  # waits for whoever holds the row
    return DocumentCounter.objects.values_list("last", flat=True).get(pk=counter.pk)


def _frozen(booking: Booking, payment: Payment) -> dict[str, Any]:
    car_park = booking.product.car_park
    operator, airport = car_park.operator, car_park.airport
    return {
        "language": booking.contact_language,
        "seller": {
            "name": operator.legal_name or operator.name,
            "address": operator.address,
            "email": operator.email,
            "phone": operator.phone.as_international if operator.phone else "",
            "vat_number": operator.vat_number,
        },
        "customer": {"name": booking.driver_name, "email": booking.driver_email},
        "stay": {
            "reference": booking.reference,
            "plate": booking.plate,
            "driver": booking.driver_name,
            "product": booking.product.name,
            "car_park": car_park.name,
            "address": car_park.address,
            "airport_name": airport.name,
            "airport_iata": airport.iata,
            "timezone": airport.timezone,
            "start_at": booking.start_at.isoformat(),
            "end_at": booking.end_at.isoformat(),
        },
        "payment": {
            "provider": payment.provider,
            "provider_ref": payment.provider_ref or "",
            "method_label": payment.method_label,
            "captured_at": payment.captured_at.isoformat() if payment.captured_at else "",
        },
    }


def _price_lines(payment: Payment) -> list[dict[str, Any]]:
    """The lines of what was paid for, the booking or its change, where they add up to what was paid; else one line."""
    booking, amendment = payment.booking, payment.amendment
    lines = _plain(booking.lines if amendment is None else amendment.lines)
    if sum(line["amount_minor"] for line in lines) == payment.captured_minor:
        return lines
    label = _("Parking, booking %(reference)s") if amendment is None else _("Change of booking %(reference)s")
    return [{"label": label % {"reference": booking.reference}, "amount_minor": payment.captured_minor}]


def _refund_lines(refund: Refund) -> list[dict[str, Any]]:
    """How the refund came about: the lines of its cancellation or change where they add up to it. What staff wrote stays out."""
    lines = _plain(refund.cancellation.lines) if refund.cancellation else []
    if refund.amendment:  # its lines say what the booking costs less
        lines = _plain([{**line, "amount_minor": -line["amount_minor"]} for line in refund.amendment.lines])
    if lines and sum(line["amount_minor"] for line in lines) == refund.amount_minor:
        return lines
    labels = {
        RefundSource.CUSTOMER_CANCELLATION.value: _("Refund for the cancelled booking"),
        RefundSource.AMENDMENT.value: _("Refund for the changed booking"),
        RefundSource.LATE_PAYMENT.value: _("Refund: the payment came when it could no longer be used"),
    }
    return [{"label": labels.get(refund.source, _("Refund")), "amount_minor": refund.amount_minor}]


def _plain(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"label": line["label"], "amount_minor": line["amount_minor"]} for line in lines]


def _percent(document: Document) -> Decimal | None:
    return Decimal(document.content["vat"][0]["percent"]) if document.content["vat"] else None


def _named(document: Document) -> dict[str, Any]:
    return {"number": document.number, "issued_at": document.issued_at.isoformat()}


def _credited(payment: Payment) -> tuple[int, int]:
    """What the payment's credit notes have given back so far, and the VAT in it, without those that were cancelled."""
    sums = Document.objects.filter(payment=payment).aggregate(
        given=_sum("total_minor", DocumentKind.CREDIT_NOTE),
        given_vat=_sum("vat_minor", DocumentKind.CREDIT_NOTE),
        undone=_sum("total_minor", DocumentKind.CREDIT_NOTE_CANCELLATION),
        undone_vat=_sum("vat_minor", DocumentKind.CREDIT_NOTE_CANCELLATION),
    )
    return sums["given"] - sums["undone"], sums["given_vat"] - sums["undone_vat"]


def _sum(field: str, kind: DocumentKind) -> Sum:
    return Sum(field, filter=Q(kind=kind), default=0)
