"""The evidence pack: one PDF that tells a bank what was bought, under which terms, how it was paid and used, and what the customer was told."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext as _

from bookings import queries as stays
from bookings.models import Booking
from bookings.services.messages import local_date, local_time
from communications.models import Message
from foundation.money import Money
from payments.models import Dispute


def product_of(booking: Booking) -> str:
    """Say in a sentence what was sold."""
    return _(
        "Airport parking at %(car_park)s, %(airport)s, from %(start)s to %(end)s (local time), car %(plate)s."
    ) % {
        "car_park": booking.product.car_park.name,
        "airport": booking.airport.name,
        "start": f"{booking.local_start:%Y-%m-%d %H:%M}",
        "end": f"{booking.local_end:%Y-%m-%d %H:%M}",
        "plate": booking.plate,
    }


def render(dispute: Dispute) -> bytes:
    """Return the pack as it stands now, in the language of the staff who answer (English). The same facts give the same bytes."""
    from payments.paper.sheet import Sheet  # the library takes a second to import: only for whoever prints

    payment = dispute.payment
    booking = payment.booking
    operator = booking.product.car_park.operator
    receipt = payment.documents.filter(kind="receipt").first()
    language = settings.LANGUAGE_CODE

    def when(at: datetime | None) -> str:
        if at is None:
            return ""
        local = at.astimezone(booking.zone)
        return f"{local_date(local, language)}, {local_time(local, language)}"

    with translation.override(language):
        sheet = Sheet(
            title=f"{_('Evidence')} {dispute.provider_ref}",
            subject=product_of(booking),
            language=language,
            dated=dispute.opened_at,
            foot=_("%(seller)s · all times are local times of the airport (%(zone)s)")
            % {"seller": operator.legal_name or operator.name, "zone": booking.airport.timezone},
        )
        sheet.boarding_pass(_stay(booking), title=_("Evidence"), number=booking.reference, language=language)
        sheet.columns(
            [
                (
                    _("Dispute"),
                    [dispute.provider_ref, dispute.reason_words, when(dispute.opened_at)],
                ),
                (
                    _("Cardholder's booking"),
                    [booking.driver_name, booking.driver_email, str(booking.driver_phone)],
                ),
                (_("Amount"), [str(dispute.amount), payment.method_label, payment.provider_ref or ""]),
            ]
        )
        if dispute.answer:
            sheet.heading(_("Our answer"))
            sheet.paragraph(dispute.answer)
        sheet.heading(_("What was bought"))
        sheet.paragraph(product_of(booking))
        sheet.rows(
            [_("Price, as shown before paying"), _("Amount")],
            [
                (line["label"], Money(line["amount_minor"], booking.currency).format(language))
                for line in booking.lines
            ],
            widths=(138, 40),
        )
        sheet.total(_("Price"), booking.total.format(language))
        sheet.heading(_("Terms accepted at booking"))
        sheet.paragraph(str(booking.policy.get("summary", "")))
        for tier in booking.policy.get("tiers", []):
            sheet.paragraph(
                _("Cancelled %(hours)d hours or more before drop-off: %(percent)d %% back.")
                % {"hours": tier["notice_hours"], "percent": tier["refund_percent"]}
            )
        if booking.policy.get("fee_minor"):
            fee = Money(booking.policy["fee_minor"], booking.currency).format(language)
            sheet.paragraph(_("A cancellation fee of %(fee)s is kept of what comes back.") % {"fee": fee})
        sheet.paragraph(_("Cancelled later, or not used: nothing comes back."))
        sheet.heading(_("What happened"))
        sheet.rows([_("When"), _("What")], _happened(booking, payment, when), widths=(58, 120), right=0)
        sheet.heading(_("What the customer was told"))
        sheet.rows(
            [_("Message"), _("To"), _("State"), _("Sent"), _("Delivered")],
            [
                (
                    f"{message.get_kind_display()} ({message.get_channel_display()})",
                    message.to,
                    message.get_status_display(),
                    when(message.sent_at),
                    when(message.delivered_at),
                )
                for message in Message.objects.filter(reference=booking.reference).order_by(
                    "queued_at", "channel"
                )
            ],
            widths=(44, 44, 20, 35, 35),
            right=0,
            size=8,
        )
        if receipt:
            sheet.set_y(sheet.get_y() + 3)
            sheet.paragraph(_("The receipt %(number)s is attached separately.") % {"number": receipt.number})
    return sheet.finish()


def _stay(booking: Booking) -> dict[str, Any]:
    car_park = booking.product.car_park
    return {
        "reference": booking.reference,
        "plate": booking.plate,
        "driver": booking.driver_name,
        "car_park": car_park.name,
        "airport_name": car_park.airport.name,
        "airport_iata": car_park.airport.iata,
        "timezone": car_park.airport.timezone,
        "start_at": booking.start_at.isoformat(),
        "end_at": booking.end_at.isoformat(),
    }


def _happened(booking: Booking, payment: Any, when: Any) -> list[tuple[str, str]]:
    """The booking's own timeline with the money in it, oldest first."""
    moments = [(event.at, str(event.get_kind_display())) for event in stays.timeline(booking)]
    if payment.captured_at:
        paid = _("Paid %(amount)s with %(method)s") % {
            "amount": payment.captured,
            "method": payment.method_label or payment.provider,
        }
        moments.append((payment.captured_at, paid))
    for refund in payment.refunds.filter(status="succeeded"):
        moments.append((refund.finished_at, _("Refunded %(amount)s") % {"amount": refund.amount}))
    return [(when(at), what) for at, what in sorted(moments, key=lambda moment: moment[0])]
