"""Breaks: questions about money that a person must answer. Asked once, and not again once they are answered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from foundation.money import Money
from payments.gateways.statement import Movement
from payments.models import Break, BreakKind, RefundStatus

logger = logging.getLogger(__name__)


def open_break(
    kind: str,
    *,
    provider: str,
    provider_ref: str,
    detail: str,
    payment: Any = None,
    object_ref: str = "",
    taken_minor: int = 0,
    currency: str = "",
) -> bool:
    """Ask the question once while it is open; a repeat changes nothing. Returns whether it was asked now.

    What a person answered is not asked again: for a charge that is not in our books not at all, unless it was sent back and is there
    again; for the rest while the facts in `detail` are the same. `object_ref`, `taken_minor` and `currency` name such a charge.
    """
    same = Break.objects.filter(kind=kind, provider=provider, provider_ref=provider_ref)
    is_open = same.filter(resolved_at__isnull=True)
    if is_open.exists():
        if object_ref:  # a webhook asked first and did not know the charge
            is_open.filter(object_ref="").update(
                object_ref=object_ref, taken_minor=taken_minor, currency=currency, detail=detail
            )
        return False
    answered = same.filter(resolved_by__isnull=False).exclude(stray_refunds__status=RefundStatus.SUCCEEDED)
    if kind not in (BreakKind.MISSING_LOCAL, BreakKind.DUPLICATE):
        answered = answered.filter(detail=detail)
    if answered.exists():
        return False
    Break.objects.bulk_create(
        [
            Break(
                kind=kind,
                provider=provider,
                provider_ref=provider_ref,
                detail=detail,
                payment=payment,
                object_ref=object_ref,
                taken_minor=taken_minor,
                currency=currency,
            )
        ],
        ignore_conflicts=True,
    )
    logger.error("break %s at %s %s: %s", kind, provider, provider_ref, detail)
    return True


def close_by_itself(found: Break, *, note: str, now: datetime) -> bool:
    """Close a break whose cause is gone, under nobody's name. Returns False when it was closed before. Locks the row."""
    with transaction.atomic():
        row = Break.objects.select_for_update().get(pk=found.pk)
        if row.resolved_at is not None:
            return False
        row.resolved_at, row.resolution = now, note
        row.save(update_fields=["resolved_at", "resolution"])
    logger.warning("break %s at %s %s closed itself: %s", row.kind, row.provider, row.provider_ref, note)
    return True


def keep_unbooked(provider: str, movements: Mapping[str, Iterable[Movement]]) -> int:
    """Write what moved at the provider and is not in our books on the break about it. Returns how many breaks were opened for that.

    `movements` by what a break about them is about. Money that no break tells of gets one: nothing goes unexplained.
    """
    opened = 0
    for ref, found in movements.items():
        moved = list(found)
        home = _home(provider, ref)
        if home is None:
            opened += open_break(
                BreakKind.MISSING_LOCAL,
                provider=provider,
                provider_ref=ref,
                detail="Money moved at the provider and our books do not know why: "
                + ", ".join(
                    f"{Money(one.net_minor, one.currency).to_major()} {one.currency} ({one.kind})"
                    for one in moved
                ),
                currency=moved[0].currency,
            )
            home = _home(provider, ref)
        if home is None:
            continue
        with transaction.atomic():
            row = Break.objects.select_for_update().get(pk=home.pk)
            currency = row.currency or moved[0].currency
            written = Break.objects.filter(provider=provider, provider_ref=ref).values_list(
                "movements", flat=True
            )
            known = {
                known for movements in written for known in movements
            }  # once, though the question was asked twice
            fresh = {
                one.ref: one.net_minor for one in moved if one.currency == currency and one.ref not in known
            }
            if fresh:
                row.currency = currency
                _write(row, {**row.movements, **fresh})
    return opened


def forget_booked(provider: str, booked: set[str]) -> None:
    """Take off the breaks what our books hold by now."""
    if not booked:
        return
    for key in Break.objects.filter(provider=provider, movements__has_any_keys=booked).values_list(
        "pk", flat=True
    ):
        with transaction.atomic():
            row = Break.objects.select_for_update().get(pk=key)
            _write(row, {ref: net for ref, net in row.movements.items() if ref not in booked})


def _home(provider: str, ref: str) -> Break | None:
    """The break that tells of this object: the open one, else the newest."""
    known = Break.objects.filter(provider=provider, provider_ref=ref)
    return known.order_by(F("resolved_at").desc(nulls_first=True), "-pk").first()


def _write(row: Break, movements: dict[str, int]) -> None:
    row.movements, row.unbooked_minor = movements, sum(movements.values())
    row.save(update_fields=["movements", "unbooked_minor", "currency"])
