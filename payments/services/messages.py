"""What customers are told about money. Queued in the caller's transaction; told once per fact."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from bookings.services.access import manage_url
from bookings.services.messages import calendar_entry, local_date, local_time, place_and_times, zone_name
from communications.catalogue import KINDS
from communications.models import Message
from communications.services.outbox import queue_message, was_queued
from foundation.money import Money
from payments.causes import cause_of
from payments.models import Refund, RefundStatus

BY_TEXT_TOO = {
    "payment_confirmation",
    "cancellation",
    "refund_issued",
    "late_payment_refunded",
    "second_payment_refunded",
    "amendment_not_made",
}


UNANSWERED = (RefundStatus.REQUESTED, RefundStatus.SUBMITTED, RefundStatus.UNKNOWN)


def tell(kind: str, booking: Any, *, about: str, document: str = "", **variables: str) -> list[Message]:
    """Queue the message of `kind` to the driver; `about` names the fact (a payment's or refund's id), `document` what the e-mail brings
    along if it is issued by then ("receipt:<payment's id>", "credit_note:<refund's id>")."""
    common = place_and_times(booking)
    channels = [("email", booking.driver_email)]
    if kind in BY_TEXT_TOO and booking.driver_phone:
        channels.append(("sms", str(booking.driver_phone)))
    queued = []
    for channel, to in channels:
        message = queue_message(
            kind=kind,
            channel=channel,
            to=to,
            to_name=booking.driver_name,
            language=booking.contact_language,
            variables={
                name: value for name, value in (common | variables).items() if name in KINDS[kind].by_name
            },
            dedupe_key=":".join(part for part in (booking.reference, kind, about, channel) if part),
            reference=booking.reference,
            calendar=calendar_entry(booking) if kind == "cancellation" else None,
            user=booking.user,
            attachment=f"document:{document}" if document and channel == "email" else "",
            other_address=str(booking.driver_phone) if channel == "email" else booking.driver_email,
        )
        if message is not None:
            queued.append(message)
    return queued


def tell_paid(payment: Any, *, once: str = "") -> list[Message]:
    """Queue the word that a payment was received; with another `once` it is sent again."""
    with translation.override(payment.booking.contact_language):
        return tell(
            "payment_confirmation",
            payment.booking,
            about=":".join(filter(None, (str(payment.pk), once))),
            document=f"receipt:{payment.pk}",
            **paid_variables(payment),
        )


def paid_variables(payment: Any) -> dict[str, str]:
    """Return what is told of a captured payment, in the language that is active and the booking's."""
    booking = payment.booking
    at, language = payment.captured_at.astimezone(booking.zone), booking.contact_language
    return {
        "amount": payment.captured.format(language),
        "provider_name": payment.get_provider_display(),
        "paid_at_local": f"{local_date(at, language)}, {local_time(at, language)} ({zone_name(booking.zone, language)})",
        "method_label": payment.method_label or _("card"),
    }


def tell_customer_needed(payment: Any) -> None:
    """Ask the customer, once per payment, to confirm at the payment page what the bank would not give without."""
    booking = payment.booking
    with translation.override(booking.contact_language):
        tell(
            "payment_needs_customer",
            booking,
            about=str(payment.pk),
            amount=payment.amount.format(booking.contact_language),
            method_label=payment.stored_method.label if payment.stored_method else _("card"),
            pay_url=_pay_url(booking),
        )


def _pay_url(booking: Any) -> str:
    """Return the way to the payment page that works from an inbox: through signing in, or through the guest's own link."""
    if booking.user_id is None:
        return manage_url(booking)
    page = reverse("payments:pay", args=[booking.reference])
    return f"{settings.SITE_URL}{reverse('account_login')}?{urlencode({'next': page})}"


def _search_again_url(booking: Any) -> str:
    """Return the search that finds other spaces for the booking's stay."""
    query = {
        "airport": booking.airport.iata,
        "drop_off": f"{booking.local_start:%Y-%m-%dT%H:%M}",
        "return": f"{booking.local_end:%Y-%m-%dT%H:%M}",
    }
    return f"{settings.SITE_URL}{reverse('bookings:search')}?{urlencode(query)}"


def tell_paid_too_late(payment: Any, refund: Any) -> None:
    booking = payment.booking
    tell(
        "late_payment_refunded",
        booking,
        about=str(refund.pk),
        amount=refund.amount.format(booking.contact_language),
        car_park_name=booking.product.car_park.name,
        search_url=_search_again_url(booking),
    )


def tell_change_paid_too_late(payment: Any, refund: Any) -> None:
    """Tell that a change was paid when it could no longer be made, so that all of that payment goes back."""
    booking = payment.booking
    amount = refund.amount.format(booking.contact_language)
    with translation.override(booking.contact_language):
        what = _(
            "Your payment of %(amount)s came when the change could no longer be made. We are giving back all of it; you need to do "
            "nothing for that."
        ) % {"amount": amount}
    tell("amendment_not_made", booking, about=str(payment.pk), amount=amount, what_happened_text=what)


def tell_paid_twice(payment: Any, refund: Any) -> None:
    tell(
        "second_payment_refunded",
        payment.booking,
        about=str(refund.pk),
        amount=refund.amount.format(payment.booking.contact_language),
        provider_name=payment.get_provider_display(),
    )


def tell_payment_failed(payment: Any) -> None:
    """Tell that a payment which was waiting for its bank came to nothing."""
    booking = payment.booking
    if payment.amendment_id:
        amount = payment.amount.format(booking.contact_language)
        with translation.override(booking.contact_language):
            what = _(
                "Your payment of %(amount)s was still being checked, and came to nothing. Nothing was taken."
            ) % {"amount": amount}
        tell("amendment_not_made", booking, about=str(payment.pk), amount=amount, what_happened_text=what)
        return
    tell(
        "payment_failed",
        booking,
        about=str(payment.pk),
        amount=payment.amount.format(booking.contact_language),
        provider_name=payment.get_provider_display(),
        search_url=_search_again_url(booking),
    )


def tell_refund(refund: Any, *, amount_minor: int | None = None, is_done: bool | None = None) -> None:
    """Tell of a refund in its true state: accepted by the provider, paid another way or, with its cancellation, failed at once.

    One in parts is told once: `amount_minor` is the sum of all, `is_done` whether all have succeeded, and the fact is what they are for.
    """
    booking = refund.payment.booking
    amount_minor = refund.amount_minor if amount_minor is None else amount_minor
    is_done = refund.status == "succeeded" if is_done is None else is_done
    with translation.override(booking.contact_language):
        amount = Money(amount_minor, refund.currency).format(booking.contact_language)
        if refund.source == "elsewhere":
            state = _("We paid it to you another way than by card.")
        elif is_done:
            state = _("Your bank usually shows it within 5 to 10 days.")
        elif refund.status == "failed":
            cause = cause_of(refund.failure_code).customer
            state = _("It did not arrive. %(cause)s We see to it and write to you.") % {"cause": cause}
        else:
            state = _("It is on its way; we watch it until your bank has it.")
        note = f"credit_note:{refund.pk}"
        for purpose in ("cancellation_id", "amendment_id"):
            if getattr(refund, purpose):
                note = f"credit_notes:{purpose}:{getattr(refund, purpose)}"
        if refund.cancellation_id is None or _is_told_of_cancellation(booking):
            tell(
                "refund_issued",
                booking,
                about=f"amendment:{refund.amendment_id}" if refund.amendment_id else str(refund.pk),
                document=note,
                amount=amount,
                refund_status_text=state,
            )
            return
        tell(
            "cancellation",
            booking,
            about="",
            document=note,
            refund_amount=amount,
            refund_status_text=state,
        )


def tell_parts(refund: Any) -> None:
    """Tell of a cancellation's or a change's refund once, with its whole sum, when the provider has answered for the last part.

    A part that failed beside others that did not is told on its own.
    """
    purpose = "cancellation_id" if refund.cancellation_id else "amendment_id"
    parts = list(Refund.objects.filter(**{purpose: getattr(refund, purpose)}).order_by("-created_at"))
    if any(part.status in UNANSWERED for part in parts):
        return
    failed = [part for part in parts if part.status == RefundStatus.FAILED]
    accepted = [part for part in parts if part.status in (RefundStatus.PENDING, RefundStatus.SUCCEEDED)]
    told = accepted or failed
    if not told:
        return
    tell_refund(
        refund if refund in told else told[0],
        amount_minor=sum(part.amount_minor for part in told),
        is_done=bool(accepted) and all(part.status == RefundStatus.SUCCEEDED for part in accepted),
    )
    for part in failed if accepted else []:
        tell_refund_failed(part)


def tell_refund_waits(cancellation: Any) -> None:
    """Tell that the booking is cancelled while a bank holds its payment: what is due comes after the bank's decision."""
    booking = cancellation.booking
    with translation.override(booking.contact_language):
        tell(
            "cancellation",
            booking,
            about="",
            refund_amount=cancellation.refund.format(booking.contact_language),
            refund_status_text=_(
                "Your bank holds this payment and decides about it, so nothing goes back before. You hear from us when it has decided."
            ),
        )


def _is_told_of_cancellation(booking: Any) -> bool:
    return was_queued(f"{booking.reference}:cancellation:email")


def tell_refund_failed(refund: Any) -> None:
    booking = refund.payment.booking
    with translation.override(booking.contact_language):
        tell(
            "refund_failed",
            booking,
            about=str(refund.pk),
            amount=refund.amount.format(booking.contact_language),
            cause=str(cause_of(refund.failure_code).customer),
            support_email=settings.SUPPORT_EMAIL,
        )
