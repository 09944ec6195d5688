"""Payments and refunds as one list, newest first, in cursor pages."""

from __future__ import annotations

import base64
import binascii
import uuid
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from foundation.api import instant
from foundation.errors import InvalidInput
from payments import queries
from payments.models import Payment, Refund

Row = Payment | Refund


def visible_payments(user: Any) -> QuerySet[Payment]:
    """All payments for staff who may view them; else those of the user's own bookings."""
    rows = Payment.objects.select_related("booking").prefetch_related("disputes")
    return rows if _sees_all(user) else rows.filter(Q(booking__user=user) | Q(user=user))


def visible_refunds(user: Any) -> QuerySet[Refund]:
    """All refunds for staff who may view payments; else those of the user's own bookings."""
    rows = Refund.objects.select_related("payment__booking").prefetch_related("payment__disputes")
    return rows if _sees_all(user) else rows.filter(Q(payment__booking__user=user) | Q(payment__user=user))


def _sees_all(user: Any) -> bool:
    return user.is_staff and user.has_perm("payments.view_payment")


def page_of(user: Any, asked: dict[str, Any]) -> tuple[list[Row], str | None, str | None]:
    """Return (rows, next cursor, previous cursor) for a validated TransactionsQuery. Raises InvalidInput."""
    size = asked["pageSize"]
    backwards, position = _read_cursor(asked["cursor"]) if "cursor" in asked else (False, None)
    rows: list[Row] = []
    if asked.get("kind") != "refund":
        rows += _slice(visible_payments(user), asked, "booking__reference", position, backwards=backwards)
    if asked.get("kind") != "payment":
        rows += _slice(
            visible_refunds(user), asked, "payment__booking__reference", position, backwards=backwards
        )
    rows.sort(key=_position, reverse=not backwards)
    more = len(rows) > size
    rows = rows[:size]
    if backwards:
        rows.reverse()
    if not rows:
        return [], None, None
    has_next, has_previous = (True, more) if backwards else (more, position is not None)
    return (
        rows,
        _cursor("n", rows[-1]) if has_next else None,
        _cursor("p", rows[0]) if has_previous else None,
    )


def body(row: Row) -> dict[str, Any]:
    """Write one transaction as the API does."""
    payment = row if isinstance(row, Payment) else row.payment
    return {
        "id": str(row.pk),
        "kind": "payment" if isinstance(row, Payment) else "refund",
        "provider": payment.provider,
        "amount": row.amount.to_major(),
        "currency": row.currency,
        "status": row.status,
        "createdAt": instant(row.created_at),
        "bookingId": payment.booking.reference,
        "detail": queries.dispute_words(row) if isinstance(row, Payment) else queries.refund_words(row),
    }


def _slice(
    rows: QuerySet[Any],
    asked: dict[str, Any],
    reference: str,
    position: tuple[datetime, uuid.UUID] | None,
    *,
    backwards: bool,
) -> list[Any]:
    if "bookingId" in asked:
        rows = rows.filter(**{reference: asked["bookingId"]})
    if "from" in asked:
        rows = rows.filter(created_at__gte=_start(asked["from"]))
    if "to" in asked:
        rows = rows.filter(created_at__lt=_end(asked["to"]))
    if position is not None:
        at, pk = position
        side = "gt" if backwards else "lt"
        rows = rows.filter(Q(**{f"created_at__{side}": at}) | Q(created_at=at, **{f"pk__{side}": pk}))
    order = ("created_at", "pk") if backwards else ("-created_at", "-pk")
    return list(rows.order_by(*order)[: asked["pageSize"] + 1])


def _start(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time.min, tzinfo=UTC)


def _end(value: date) -> datetime:
    try:
        return value if isinstance(value, datetime) else _start(value) + timedelta(days=1)
    except OverflowError:
        raise InvalidInput(_("Choose an earlier day."), field="to") from None


def _position(row: Row) -> tuple[datetime, uuid.UUID]:
    return row.created_at, row.pk


def _cursor(direction: str, row: Row) -> str:
    text = f"{direction}|{row.created_at.isoformat()}|{row.pk}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> tuple[bool, tuple[datetime, uuid.UUID]]:
    try:
        padded = text + "=" * (-len(text) % 4)
        direction, at, pk = base64.urlsafe_b64decode(padded.encode("ascii")).decode("ascii").split("|")
        moment = datetime.fromisoformat(at)
        if direction not in {"n", "p"} or moment.tzinfo is None:
            raise ValueError(direction)
        return direction == "p", (moment.astimezone(UTC), uuid.UUID(pk))
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidInput(
            _("This cursor is not one of ours. Start from the first page."), field="cursor"
        ) from None
