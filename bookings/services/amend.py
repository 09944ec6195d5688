"""Amending: a booking's stay or details change, shown first and then done exactly as shown.

Only the change of the stay is priced, at the prices of the moment; what was paid keeps its price. What costs more is held and made
when it is paid; anything else is made at once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core import signing
from django.db import connection, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bookings.models import AMENDMENT_TRANSITIONS, Amendment, Booking, BookingEvent
from bookings.services.cancel import most_given_back, percent_at
from bookings.services.confirm import lock_booking
from bookings.services.errors import CarParkFull, ChangeOutdated, NotAmendable, NotOnSale
from bookings.services.hold import expire_overdue_in_the_way
from bookings.services.lapse import expire_amendment, held_amendment, withdraw_amendment
from bookings.services.messages import queue_amendment_to_pay, queue_booking_amended
from bookings.services.quote import PricedStay, price_of
from bookings.services.space import (
    extra_time,
    extra_time_is_free,
    lock_gates,
    move_to,
    spaces_without,
    take_extra_time,
)
from bookings.services.stay import Driver, check_stay, clean_driver, clean_flight, clean_plate
from foundation import audit, rules
from foundation.errors import DomainError, InvalidInput, NotAllowed
from foundation.jobs import defer
from foundation.money import LARGEST_MINOR, Money, payable, percent_of
from foundation.transitions import change_status

Status = Booking.Status
PREVIEW_LIFETIME = timedelta(minutes=10)
SALT = "bookings.amendment_preview"
DETAILS = ("plate", "driver_name", "driver_phone", "outbound_flight", "return_flight")

__all__ = [
    "AmendmentLapsed",
    "Change",
    "amend",
    "apply_amendment",
    "could_apply",
    "expire_amendment",
    "held_amendment",
    "preview_amendment",
    "shown_by",
    "withdraw",
]


class AmendmentLapsed(DomainError):
    code = "amendment_lapsed"
    message = gettext_lazy("This change can no longer be made. The booking stands as it was.")


class ExtraTimeFull(CarParkFull):
    message = gettext_lazy(
        "The car park is full at the new times. Your booking stands as it is; choose other times."
    )


@dataclass(frozen=True)
class Change:
    """What should become different; None leaves it as it is. Instants are aware."""

    start_at: datetime | None = None
    end_at: datetime | None = None
    plate: str | None = None
    driver_name: str | None = None
    driver_phone: str | None = None
    outbound_flight: str | None = None
    return_flight: str | None = None


@dataclass(frozen=True)
class AmendmentPreview:
    """What a change would do, and the token that makes it come true until `expires_at` (UTC).

    The amounts of `lines` add up to `new_total` less the old one. `difference` is what the new stay costs more (negative: less) and
    `refund` what of a reduction goes back. `details` are {field: [before, after]}.
    """

    start_at: datetime
    end_at: datetime
    lines: list[dict[str, Any]]
    difference: Money
    refund: Money
    new_total: Money
    details: dict[str, list[str]]
    moves_stay: bool
    token: str
    expires_at: datetime

    @property
    def amount_due(self) -> Money:
        return Money(max(self.difference.amount_minor, 0), self.difference.currency)


@dataclass(frozen=True)
class _Priced:
    lines: list[dict[str, Any]]
    difference_minor: int
    refund_minor: int
    refund_percent: int


def may_change(booking: Booking, *, at: datetime) -> bool:
    """Say whether anything of the booking can be changed at this moment."""
    if booking.status == Status.CONFIRMED:
        return booking.end_at > at
    return booking.status == Status.ARRIVED


def drop_off_is_past(booking: Booking, *, at: datetime) -> bool:
    """Say whether only the return can be moved any more."""
    return booking.status == Status.ARRIVED or booking.start_at <= at


def preview_amendment(booking: Booking, change: Change, *, now: datetime) -> AmendmentPreview:
    """Say what the change would do to times, price and details. Changes nothing.

    Raises NotAmendable, InvalidInput (the field names the part that must change), NotOnSale, CarParkFull.
    """
    _refuse_unless_amendable(booking, at=now)
    start_at, end_at = change.start_at or booking.start_at, change.end_at or booking.end_at
    details = _changed_details(booking, change)
    moves_stay = (start_at, end_at) != (booking.start_at, booking.end_at)
    if not moves_stay and not details:
        raise InvalidInput(_("Nothing would change. Choose other times or details."))
    priced = _Priced([], 0, 0, 100)
    if moves_stay:
        _check_stay(booking, start_at=start_at, end_at=end_at, now=now)
        if not extra_time_is_free(booking, (start_at, end_at)):
            raise ExtraTimeFull
        priced = _price_change(booking, start_at=start_at, end_at=end_at, now=now)
    shown = {
        "booking": booking.pk,
        "state": _state(booking),
        "at": now.timestamp(),
        "start": start_at.isoformat(),
        "end": end_at.isoformat(),
        "details": {name: after for name, (_before, after) in details.items()},
        "priced": asdict(priced),
    }
    preview = _as_shown(booking, shown, token=signing.dumps(shown, salt=SALT, compress=True))
    if preview.new_total.amount_minor > LARGEST_MINOR:
        raise InvalidInput(
            _("This stay costs more than can be paid in one go. Choose a shorter one."), field="return"
        )
    return preview


def shown_by(preview_token: str, *, booking: Booking, now: datetime) -> AmendmentPreview:
    """Return what a preview showed, while it is good for this booking as it is. Raises ChangeOutdated, NotAmendable."""
    return _as_shown(booking, _read_token(preview_token, booking=booking, now=now), token=preview_token)


def _as_shown(booking: Booking, shown: dict[str, Any], *, token: str) -> AmendmentPreview:
    start_at, end_at = datetime.fromisoformat(shown["start"]), datetime.fromisoformat(shown["end"])
    priced = _Priced(**shown["priced"])
    return AmendmentPreview(
        start_at=start_at,
        end_at=end_at,
        lines=priced.lines,
        difference=Money(priced.difference_minor, booking.currency),
        refund=Money(priced.refund_minor, booking.currency),
        new_total=Money(
            booking.total_minor + sum(line["amount_minor"] for line in priced.lines), booking.currency
        ),
        details={name: [str(getattr(booking, name)), after] for name, after in shown["details"].items()},
        moves_stay=(start_at, end_at) != (booking.start_at, booking.end_at),
        token=token,
        expires_at=datetime.fromtimestamp(shown["at"], tz=UTC) + PREVIEW_LIFETIME,
    )


def amend(
    booking: Booking,
    *,
    preview_token: str,
    now: datetime,
    requested_by: Any = None,
    reason: str = "",
    by_staff: bool = False,
) -> Amendment | None:
    """Change the booking exactly as the preview showed; return the amendment, None when only details changed.

    Details change at once. Other times that cost more are held, the extra time kept, until `hold_expires_at`, and made by
    apply_amendment once paid; an earlier change that waits for payment is withdrawn. Other times that cost no more are made at once, and
    what goes back is handed to payments. by_staff: audited with the reason, held for longer, and the customer is asked to pay.
    Locks the booking, then the day gates of both stays. Raises ChangeOutdated, NotAmendable, CarParkFull, and NotAllowed for staff who come
    through a customer's door.
    """
    if not by_staff and getattr(requested_by, "is_staff", False) and requested_by.pk != booking.user_id:
        raise NotAllowed(
            gettext_lazy("Staff change bookings in the admin, where the reason is asked for and kept.")
        )
    arguments: dict[str, Any] = {
        "preview_token": preview_token,
        "now": now,
        "by": requested_by if getattr(requested_by, "pk", None) else None,
        "reason": reason.replace("\x00", "").strip()[:1000],
        "by_staff": by_staff,
    }
    try:
        amendment = _amend(booking.pk, **arguments)
    except CarParkFull as full:
        shown = _read_token(preview_token, booking=booking, now=now)
        start_at, end_at = datetime.fromisoformat(shown["start"]), datetime.fromisoformat(shown["end"])
        if not expire_overdue_in_the_way(booking.pool_id, start_at=start_at, end_at=end_at, now=now):
            raise ExtraTimeFull from full
        try:
            amendment = _amend(booking.pk, **arguments)
        except CarParkFull:
            raise ExtraTimeFull from None
    booking.refresh_from_db()
    return amendment


def _amend(
    booking_id: int, *, preview_token: str, now: datetime, by: Any, reason: str, by_staff: bool
) -> Amendment | None:
    with transaction.atomic():
        booking = lock_booking(booking_id)
        shown = _read_token(preview_token, booking=booking, now=now)
        _refuse_unless_amendable(booking, at=now)
        if by_staff:
            audit.record(
                actor=by,
                action="booking.change",
                subject=f"booking:{booking.reference}",
                reason=reason,
                data={
                    "drop_off": shown["start"],
                    "return": shown["end"],
                    "difference": str(Money(shown["priced"]["difference_minor"], booking.currency)),
                },
            )
        start_at, end_at = datetime.fromisoformat(shown["start"]), datetime.fromisoformat(shown["end"])
        moves_stay = (start_at, end_at) != (booking.start_at, booking.end_at)
        if shown["details"]:
            _change_details(booking, shown["details"], now=now, by=by, is_told=not moves_stay)
        if not moves_stay:
            return None
        priced = _Priced(**shown["priced"])
        earlier = held_amendment(booking)
        kept_for_earlier = [(earlier.new_start_at, earlier.new_end_at)] if earlier else []
        lock_gates(booking, (start_at, end_at), *kept_for_earlier)
        withdraw_amendment(booking, now=now, by=by)
        costs_more = priced.difference_minor > 0
        amendment = Amendment.objects.create(
            booking=booking,
            status=Amendment.Status.HELD if costs_more else Amendment.Status.APPLIED,
            old_start_at=booking.start_at,
            old_end_at=booking.end_at,
            new_start_at=start_at,
            new_end_at=end_at,
            lines=priced.lines,
            old_total_minor=booking.total_minor,
            new_total_minor=booking.total_minor + sum(line["amount_minor"] for line in priced.lines),
            difference_minor=priced.difference_minor,
            refund_minor=priced.refund_minor,
            refund_percent=priced.refund_percent,
            currency=booking.currency,
            hold_expires_at=_held_until(booking, start_at, end_at, now=now, by_staff=by_staff)
            if costs_more
            else None,
            requested_by=by,
            reason=reason,
            created_at=now,
            applied_at=None if costs_more else now,
        )
        if costs_more:
            BookingEvent.objects.create(
                booking=booking,
                kind=BookingEvent.Kind.AMENDMENT_HELD,
                at=now,
                actor=by,
                data=_told(amendment, booking),
            )
            if by_staff:
                queue_amendment_to_pay(booking, amendment)
            take_extra_time(amendment, booking)
        else:
            _make(amendment, booking, now=now, by=by)
    return amendment


def withdraw(booking: Booking, *, now: datetime, requested_by: Any = None) -> bool:
    """Take back the change that waits for payment; say whether there was one. Locks the booking.

    A payment of it that was faster is given back in full.
    """
    with transaction.atomic():
        return withdraw_amendment(lock_booking(booking.pk), now=now, by=requested_by)


def apply_amendment(amendment: Amendment, booking: Booking, *, now: datetime) -> None:
    """Make a change that was paid, in the caller's transaction, which has locked the booking. The messages are queued.

    One whose time had run out is made all the same while the booking is as it was and the extra time is free. Raises AmendmentLapsed
    otherwise; the caller's transaction stays usable.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("apply_amendment() belongs into the transaction that locked the booking")
    amendment.refresh_from_db()
    if amendment.status == Amendment.Status.APPLIED:
        return
    if not _is_applicable(amendment, booking, now=now):
        raise AmendmentLapsed
    before = (booking.start_at, booking.end_at, booking.total_minor, booking.lines)
    status = amendment.status
    try:
        with transaction.atomic():
            change_status(amendment, Amendment.Status.APPLIED, AMENDMENT_TRANSITIONS)
            amendment.applied_at = now
            amendment.save(update_fields=["status", "applied_at"])
            _make(amendment, booking, now=now, by=amendment.requested_by)
    except CarParkFull:
        booking.start_at, booking.end_at, booking.total_minor, booking.lines = before
        amendment.status, amendment.applied_at = status, None
        raise AmendmentLapsed from None


def could_apply(amendment: Amendment, booking: Booking, *, now: datetime) -> bool:
    """Say whether apply_amendment() would make the change of a locked booking now. Nothing is kept; nothing is promised.

    May lock the day gates of both stays until the caller's transaction ends.
    """
    amendment.refresh_from_db()
    if not _is_applicable(amendment, booking, now=now):
        return False
    if amendment.status == Amendment.Status.HELD:
        return True
    try:
        with transaction.atomic():
            move_to(booking, (amendment.new_start_at, amendment.new_end_at), now=now)
            transaction.set_rollback(True)  # the trigger has answered; the space stays where it was
    except CarParkFull:
        return False
    return True


def _make(amendment: Amendment, booking: Booking, *, now: datetime, by: Any) -> None:
    """Give the booking its new times, total, lines and space. The gates come last: whoever waits for them waits for the commit alone."""
    told = _told(amendment, booking)
    new = (amendment.new_start_at, amendment.new_end_at)
    old_space = Booking(
        pk=booking.pk, pool_id=booking.pool_id, start_at=booking.start_at, end_at=booking.end_at
    )
    cap = amendment.refund_percent
    kept = [
        line if cap == 100 else {**line, "refund_percent": min(cap, line.get("refund_percent", 100))}
        for line in booking.lines
    ]
    booking.start_at, booking.end_at = new
    booking.total_minor, booking.lines = amendment.new_total_minor, kept + amendment.lines
    booking.save(update_fields=["start_at", "end_at", "total_minor", "lines"])
    event = BookingEvent.objects.create(
        booking=booking, kind=BookingEvent.Kind.AMENDED, at=now, actor=by, data=told
    )
    queue_booking_amended(booking, event, amendment=amendment)
    if amendment.refund_minor:
        defer("payments.refund_amendment", amendment_id=amendment.pk)
    move_to(old_space, new, now=now)


def _change_details(
    booking: Booking, details: dict[str, str], *, now: datetime, by: Any, is_told: bool
) -> None:
    changed = {name: [str(getattr(booking, name)), after] for name, after in details.items()}
    for name, after in details.items():
        setattr(booking, name, after)
    booking.save(update_fields=list(details))
    event = BookingEvent.objects.create(
        booking=booking, kind=BookingEvent.Kind.DETAILS_CHANGED, at=now, actor=by, data=changed
    )
    if is_told:  # a change of the times tells the details as well
        queue_booking_amended(booking, event, amendment=None)


def _changed_details(booking: Booking, change: Change) -> dict[str, list[str]]:
    """Return {field: [before, after]} with the values as they are stored. Raises InvalidInput."""
    given: dict[str, str] = {}
    if change.plate is not None:
        given["plate"] = clean_plate(change.plate)
    if change.driver_name is not None or change.driver_phone is not None:
        driver = clean_driver(
            Driver(
                name=booking.driver_name if change.driver_name is None else change.driver_name,
                email=booking.driver_email,
                phone=str(booking.driver_phone) if change.driver_phone is None else change.driver_phone,
            )
        )
        given |= {"driver_name": driver.name, "driver_phone": driver.phone}
    for name, public in (("outbound_flight", "flights.outbound"), ("return_flight", "flights.return")):
        text = getattr(change, name)
        if text is not None:
            given[name] = clean_flight(text, field=public)
    flights = {name: given.get(name, getattr(booking, name)) for name in ("outbound_flight", "return_flight")}
    if booking.product.needs_flight_number and not any(flights.values()):
        raise InvalidInput(
            _("Enter your flight number: the driver meets you by it."), field="flights.outbound"
        )
    return {
        name: [str(getattr(booking, name)), after]
        for name, after in given.items()
        if str(getattr(booking, name)) != after
    }


def _refuse_unless_amendable(booking: Booking, *, at: datetime) -> None:
    if booking.status == Status.HELD:
        raise NotAmendable(_("This booking is not paid yet. Let the space go and search again."))
    if booking.status == Status.CANCELLED:
        raise NotAmendable(_("This booking is cancelled, so it cannot be changed. Search for a new one."))
    if booking.status == Status.EXPIRED:
        raise NotAmendable(_("The space of this booking was let go. Search for a new one."))
    if not may_change(booking, at=at):
        raise NotAmendable(_("The stay is over, so this booking can no longer be changed."))


def _check_stay(booking: Booking, *, start_at: datetime, end_at: datetime, now: datetime) -> None:
    if start_at != booking.start_at and drop_off_is_past(booking, at=now):
        raise InvalidInput(_("The drop-off is past, so only the return can be changed."), field="dropOff")
    if end_at <= now:
        raise InvalidInput(_("The return is in the past. Choose a later time."), field="return")
    if start_at != booking.start_at:
        check_stay(start_at=start_at, end_at=end_at, now=now)
    else:  # the drop-off was sold; only what follows from the return is asked
        if end_at <= start_at:
            raise InvalidInput(
                _("The return must be after the drop-off. Choose a later return."), field="return"
            )
        if end_at - start_at > timedelta(days=rules.value("LONGEST_STAY_DAYS")) and end_at > booking.end_at:
            raise InvalidInput(
                _("The longest stay is %(days)d days. Choose an earlier return.")
                % {"days": rules.value("LONGEST_STAY_DAYS")},
                field="return",
            )
    product = booking.product
    on_sale = product.is_active and product.tariff.is_active and product.car_park.is_open
    if extra_time((booking.start_at, booking.end_at), (start_at, end_at)) and not (
        on_sale and product.car_park.airport.is_active
    ):
        raise NotOnSale(_("This car park sells no more time now, so the stay can only be made shorter."))


def _price_change(booking: Booking, *, start_at: datetime, end_at: datetime, now: datetime) -> _Priced:
    """Price the new stay against the old one, both at today's prices and as if this car were not there."""
    product = booking.product
    old_stay, new_stay = (booking.start_at, booking.end_at), (start_at, end_at)
    old, new = (
        price_of(product, start_at=start, end_at=end, now=now, spaces=_spaces_for_price(booking, start, end))
        for start, end in (old_stay, new_stay)
    )
    lines = _difference_lines(booking, old, new)
    difference = new.total.amount_minor - old.total.amount_minor
    percent = percent_at(booking, at=now)
    # Who moves the drop-off away gains no notice by it: a later cancellation gives back of what is paid no more than one now.
    refund_percent = percent if start_at > booking.start_at else 100
    if difference >= 0:
        return _Priced(lines, difference, 0, refund_percent)
    caps = [line.get("refund_percent", 100) for line in booking.lines]
    ceiling = min([refund_percent, *(cap for cap in caps if cap)])
    refundable = booking.total_minor - sum(
        line["amount_minor"] for line, cap in zip(booking.lines, caps, strict=True) if not cap
    )
    whole = old.total.amount_minor
    most = (2 * refundable * -difference + whole) // (2 * whole)  # in proportion, rounded half up
    most = payable(most, booking.currency)
    if -difference > most:  # today's prices are above those that were paid
        lines.append(
            {
                "label": _("No more than you paid for this time"),
                "rule": "limit",
                "amount_minor": -difference - most,
            }
        )
        difference = -most
    if ceiling < 100:
        lines = [{**line, "refund_percent": ceiling} for line in lines]
    percent = min(percent, ceiling)
    refund = min(payable(percent_of(-difference, percent), booking.currency), -difference)
    if -difference != refund:
        lines.append(
            {
                "label": _("Not refunded at this notice (%(percent)d %%)") % {"percent": 100 - percent},
                "rule": "notice",
                "amount_minor": -difference - refund,
                "refund_percent": 0,
            }
        )
    most = most_given_back(booking, at=now)
    if refund > most:  # its fee, or what a bank gave: shortening to an hour must not get round them
        lines.append(
            {
                "label": _("No more than cancelling gives back"),
                "rule": "cancelling",
                "amount_minor": refund - most,
                "refund_percent": 0,
            }
        )
        refund = most
    if refund > booking.kept_minor:
        lines.append(
            {
                "label": _("Already given back"),
                "rule": "refunded",
                "amount_minor": refund - booking.kept_minor,
                "refund_percent": 0,
            }
        )
        refund = booking.kept_minor
    return _Priced(lines, difference, refund, refund_percent)


def _difference_lines(booking: Booking, old: PricedStay, new: PricedStay) -> list[dict[str, Any]]:
    """Say rule by rule what the new stay costs more or less; the amounts add up to the difference."""
    before = {line["rule"]: line for line in old.lines}
    after = {line["rule"]: line for line in new.lines}
    lines = []
    for rule in dict.fromkeys([*after, *before]):
        amount = after.get(rule, {"amount_minor": 0})["amount_minor"]
        amount -= before.get(rule, {"amount_minor": 0})["amount_minor"]
        if not amount:
            continue
        if rule == "days":
            count = abs(new.days - old.days)
            words = {"days": count, "price": booking.product.tariff.daily.format()}
            label = (
                ngettext("%(days)d more day at %(price)s", "%(days)d more days at %(price)s", count)
                if new.days > old.days
                else ngettext("%(days)d day less at %(price)s", "%(days)d days less at %(price)s", count)
            ) % words
        elif rule in after:
            label, earlier = after[rule]["label"], before.get(rule, after[rule])["label"]
            if label != earlier:  # another rule of the same kind
                label = _("%(rule)s instead of %(earlier)s") % {"rule": label, "earlier": earlier}
        else:
            label = _("No longer: %(rule)s") % {"rule": before[rule]["label"]}
        lines.append({"label": label, "rule": rule, "amount_minor": amount})
    return lines


def _spaces_for_price(booking: Booking, start_at: datetime, end_at: datetime) -> int | None:
    """Return the spaces left as if this booking were not there; None where no price depends on them."""
    if not any(rule.kind == "occupancy" for rule in booking.product.tariff.rules.all()):
        return None
    return spaces_without(booking, start_at=start_at, end_at=end_at)


def _held_until(
    booking: Booking, start_at: datetime, end_at: datetime, *, now: datetime, by_staff: bool
) -> datetime:
    """Say until when the change waits: never past the moment from which it could not be made."""
    lifetime = (
        timedelta(hours=rules.value("STAFF_CHANGE_HOLD_HOURS"))
        if by_staff
        else timedelta(minutes=rules.value("HOLD_LIFETIME_MINUTES"))
    )
    limit = min(booking.start_at, start_at) if start_at != booking.start_at else end_at
    return min(now + lifetime, limit)


def _is_applicable(amendment: Amendment, booking: Booking, *, now: datetime) -> bool:
    if amendment.status not in (Amendment.Status.HELD, Amendment.Status.EXPIRED):
        return False
    stands = booking.status == Status.CONFIRMED or (
        booking.status == Status.ARRIVED and not amendment.moves_drop_off
    )
    unchanged = (booking.start_at, booking.end_at, booking.total_minor) == (
        amendment.old_start_at,
        amendment.old_end_at,
        amendment.old_total_minor,
    )
    other = held_amendment(booking)
    return (
        stands
        and unchanged
        and (other is None or other.pk == amendment.pk)
        and amendment.new_end_at > now
        and (amendment.new_start_at > now or not amendment.moves_drop_off)
    )


def _state(booking: Booking) -> list[Any]:
    """What a preview rests on: when any of it is different, the preview is outdated."""
    return [
        booking.status,
        booking.start_at.isoformat(),
        booking.end_at.isoformat(),
        booking.total_minor,
        booking.kept_minor,
        *(str(getattr(booking, name)) for name in DETAILS),
    ]


def _read_token(token: str, *, booking: Booking, now: datetime) -> dict[str, Any]:
    try:
        shown = signing.loads(token, salt=SALT)
        shown_at = datetime.fromtimestamp(shown["at"], tz=UTC)
    except (signing.BadSignature, KeyError, TypeError, ValueError, UnicodeError):
        raise ChangeOutdated from None
    if shown["booking"] != booking.pk:
        raise ChangeOutdated
    _refuse_unless_amendable(booking, at=now)
    if shown["state"] != _state(booking) or not shown_at <= now < shown_at + PREVIEW_LIFETIME:
        raise ChangeOutdated
    return shown


def _told(amendment: Amendment, booking: Booking) -> dict[str, Any]:
    """What the timeline keeps of a change: local times before and after, and the money."""
    zone = booking.zone
    told: dict[str, Any] = {}
    for name, before, after in (
        ("drop_off", amendment.old_start_at, amendment.new_start_at),
        ("return", amendment.old_end_at, amendment.new_end_at),
    ):
        if before != after:
            told[name] = [f"{at.astimezone(zone):%Y-%m-%d %H:%M}" for at in (before, after)]
    told["difference"] = str(amendment.difference)
    if amendment.refund_minor:
        told["refund"] = str(amendment.refund)
    return told
