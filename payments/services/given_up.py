"""A refund that was given up before it was sent may leave something that the booking's policy owes all the same."""

from __future__ import annotations

from django.db.models import Sum

from bookings.models import Cancellation
from foundation import jobs
from payments.models import Payment, Refund, RefundSource, RefundStatus
from payments.queries import lost_since

DUE_ANYWAY = (RefundSource.CUSTOMER_CANCELLATION, RefundSource.AMENDMENT, RefundSource.LATE_PAYMENT)


def owe_the_rest(refund: Refund, payment: Payment) -> Refund | None:
    """Ask anew for what is due without the refund that was just cancelled, as far as the payment has it left; None when nothing is.

    A cancellation counts a refund of staff's that still waits as given back; if that one is rejected later, the customer is owed it.
    The booking and the payment must be locked, and the payment's sums fresh.
    """
    if refund.source in DUE_ANYWAY:
        due = refund.amount_minor - lost_since(Payment.objects.filter(pk=payment.pk), refund.created_at)
    else:
        due = _counted_as_given(refund, payment)
    due = min(due, payment.refundable.amount_minor)
    if due <= 0:
        return None
    rest = Refund.objects.create(
        payment=payment,
        amount_minor=due,
        currency=refund.currency,
        reason=refund.reason if refund.source in DUE_ANYWAY else "cancellation",
        source=RefundSource.RETRY,
        requested_by=refund.requested_by if refund.source in DUE_ANYWAY else None,
        retries=refund,
    )
    jobs.defer("payments.send_refund", refund_id=str(rest.pk))
    return rest


def _counted_as_given(refund: Refund, payment: Payment) -> int:
    """What a later cancellation kept from the customer because this refund seemed to be on its way."""
    cancellation = Cancellation.objects.filter(
        booking_id=payment.booking_id, created_at__gte=refund.created_at
    ).first()
    if cancellation is None:
        return 0
    kept: int = -sum(line["amount_minor"] for line in cancellation.lines if line["rule"] == "refunded")
    handed: int = (
        Refund.objects.filter(
            payment__booking_id=payment.booking_id,
            source=RefundSource.RETRY,
            retries__status=RefundStatus.CANCELLED,
        )
        .exclude(retries__source__in=DUE_ANYWAY)
        .exclude(status__in=[RefundStatus.FAILED, RefundStatus.CANCELLED])
        .aggregate(total=Sum("amount_minor", default=0))["total"]
    )
    return min(refund.amount_minor, kept - handed)
