"""How many SMS may go where: budgets per number, prefix, country and day, and a breaker against those who earn by being texted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import phonenumbers
from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext_lazy as _

from communications.catalogue import EMERGENCY, KINDS, PROMOTIONAL
from communications.models import Message, SmsBreaker, SmsScope, SmsShare, SmsSpend
from foundation import audit
from foundation.errors import DomainError, InvalidInput

PREFIX_LENGTH = 7  # "+" and six digits: a country and, in most, its operator
BLOCK_DIGITS = 4  # who earns by being texted rents blocks: numbers that differ in their last digits
PREMIUM = (
    phonenumbers.PhoneNumberType.PREMIUM_RATE,
    phonenumbers.PhoneNumberType.SHARED_COST,
    phonenumbers.PhoneNumberType.UAN,
)
BY_STAFF = "staff_message"
NEVER = ("sms_premium", "sms_country")  # waiting does not help
ENDS_WITH_DAY = ("sms_budget_number", "sms_budget_prefix", "sms_budget_country", "sms_budget_day")


class BudgetExceeded(DomainError):
    """`code` names the limit: sms_budget_number, _prefix, _country, _day, sms_breaker, sms_country, sms_premium."""

    code = "sms_budget"
    message = _("No more SMS may go there today.")

    def __init__(self, code: str, message: Any) -> None:
        super().__init__(message)
        self.code = code


SAID = {
    SmsScope.NUMBER: _("This number has had as many SMS today as one number may get."),
    SmsScope.PREFIX: _("As many SMS as may go to numbers that begin like this one went there today."),
    SmsScope.COUNTRY: _("As many SMS as may go to this country went there today."),
    SmsScope.DAY: _("As many SMS as may be sent in a day were sent today."),
}


def share_of_message(message: Message) -> str:
    """Return the purse that a message is paid from; a test goes to whom staff named, as any message by hand."""
    return SmsShare.OTHER if message.is_test else share_of(message.kind)


def share_of(kind: str) -> str:
    """Return the purse that a kind of message is paid from."""
    purpose = KINDS[kind].purpose
    if purpose == EMERGENCY:
        return SmsShare.EMERGENCY
    if purpose == PROMOTIONAL:
        return SmsShare.OFFERS
    return SmsShare.OTHER if kind == BY_STAFF else SmsShare.BOOKINGS


def country_of(phone: str) -> str:
    """Return the country that a number belongs to (ISO code); for one that none has, that of its dialling code; "" for neither."""
    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return ""
    found = phonenumbers.region_code_for_number(number)
    if not found:
        found = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return found if found and found not in ("ZZ", "001") else ""


def _is_premium(phone: str) -> bool:
    """Whether a call or SMS to the number earns its owner money. One with a digit too many or too few reaches the same owner: networks
    drop what they do not need."""
    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return False
    kind = phonenumbers.number_type(number)
    if kind == phonenumbers.PhoneNumberType.PERSONAL_NUMBER:
        return number.country_code != 1  # elsewhere, as Britain's 070, they cost what a premium number does
    if kind != phonenumbers.PhoneNumberType.UNKNOWN:
        return kind in PREMIUM
    near = [phone[:-cut] for cut in range(1, 5)] + [phone + "0" * more for more in range(1, 4)]
    for candidate in near:
        try:
            if phonenumbers.number_type(phonenumbers.parse(candidate)) in PREMIUM:
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def refuse_number(phone: str, *, share: str) -> None:
    """Raise BudgetExceeded for numbers that are never texted: premium ones, countries not on the list, a tripped prefix."""
    if _is_premium(phone):
        raise BudgetExceeded("sms_premium", _("This is a premium number, which is never texted."))
    if share not in (SmsShare.OTHER, SmsShare.OFFERS):
        return
    if country_of(phone) not in settings.SMS_COUNTRIES:
        raise BudgetExceeded("sms_country", _("SMS to this country are not allowed here (SMS_COUNTRIES)."))
    # Strangers can make staff text whom they like; who gets offers has proved to be the number's owner.
    if share == SmsShare.OTHER and SmsBreaker.objects.filter(prefix=block_of(phone), reset_at=None).exists():
        raise BudgetExceeded(
            "sms_breaker", _("SMS to numbers that begin like this one are stopped until staff have looked.")
        )


def refuse_spent(phone: str, *, share: str, segments: int, now: datetime) -> None:
    """Say at the door what spend() would say now: raise BudgetExceeded when the purse cannot pay. Counts nothing."""
    limits = settings.SMS_LIMITS.get(share)
    if not limits:
        return
    used = {
        (row.scope, row.key): row.segments
        for row in SmsSpend.objects.filter(
            on=now.astimezone(UTC).date(), share=share, key__in=[key for _scope, key in _places(phone)]
        )
    }
    for (scope, key), limit in zip(_places(phone), limits, strict=True):
        if used.get((scope, key), 0) + segments > limit:
            raise BudgetExceeded(f"sms_budget_{scope}", SAID[scope])


def _places(phone: str) -> list[tuple[SmsScope, str]]:
    """Return what an SMS is counted under, in the order of SMS_LIMITS, in which the rows are locked."""
    return [
        (SmsScope.NUMBER, phone),
        (SmsScope.PREFIX, phone[:PREFIX_LENGTH]),
        (SmsScope.COUNTRY, country_of(phone)),
        (SmsScope.DAY, ""),
    ]


def spend(message: Message, *, segments: int, now: datetime) -> None:
    """Count a message's segments against its purse, once per message, before it leaves.

    Raises BudgetExceeded, with nothing counted. Exact however many workers count at once: each counter is one row, taken in one order.
    """
    if message.segments is not None:
        return
    share = share_of_message(message)
    refuse_number(message.to, share=share)
    price = estimate(segments)
    with transaction.atomic():
        _count(message.to, share=share, segments=segments, now=now)
        message.segments = segments
        message.price, message.price_currency, message.is_price_estimated = *price, True
        Message.objects.filter(pk=message.pk).update(
            segments=segments, price=price[0], price_currency=price[1], is_price_estimated=True
        )
        if share == SmsShare.OTHER:
            _trip(message.to, now=now)


def renewed_at(now: datetime) -> datetime:
    """Return when the budgets of this day end and those of the next begin, which is midnight UTC."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def block_of(phone: str) -> str:
    """Return the beginning that a number shares with the 9,999 around it."""
    return phone[:-BLOCK_DIGITS]


def breaker_limit() -> tuple[int, timedelta]:
    """Read SMS_BREAKER ("25/10": so many numbers of a block in so many minutes; "0/10" never). Raises ValueError."""
    numbers, _slash, minutes = settings.SMS_BREAKER.partition("/")
    if int(numbers) < 0 or int(minutes) < 1:
        raise ValueError(settings.SMS_BREAKER)
    return int(numbers), timedelta(minutes=int(minutes))


def _count(phone: str, *, share: str, segments: int, now: datetime) -> None:
    on = now.astimezone(UTC).date()
    limits = settings.SMS_LIMITS.get(share)
    with connection.cursor() as cursor:
        for place, (scope, key) in enumerate(_places(phone)):
            limit = limits[place] if limits else 2_000_000_000
            cursor.execute(
                """
                INSERT INTO communications_smsspend AS spent ("on", share, scope, key, segments, last_at)
                    SELECT %(on)s, %(share)s, %(scope)s, %(key)s, %(segments)s, %(now)s WHERE %(segments)s <= %(limit)s
                    ON CONFLICT ("on", share, scope, key) DO UPDATE
                    SET segments = spent.segments + EXCLUDED.segments, last_at = EXCLUDED.last_at
                    WHERE spent.segments + EXCLUDED.segments <= %(limit)s
                """,
                {
                    "on": on, "share": share, "scope": scope, "key": key, "segments": segments, "limit": limit, "now": now,
                },
            )  # fmt: skip
            if cursor.rowcount != 1:
                raise BudgetExceeded(f"sms_budget_{scope}", SAID[scope])


def _trip(phone: str, *, now: datetime) -> None:
    """Cut the block off when too many of its numbers were texted in a short time. The counter of its prefix is locked by now, so that of
    many workers each sees the numbers of those before it."""
    most, window = breaker_limit()
    if not most:
        return
    block, since = block_of(phone), now - window
    resets = SmsBreaker.objects.filter(prefix=block, reset_at__gt=since).order_by("-reset_at")
    since = resets.values_list("reset_at", flat=True).first() or since
    numbers = (
        SmsSpend.objects.filter(
            share=SmsShare.OTHER, scope=SmsScope.NUMBER, key__startswith=block, last_at__gt=since
        )
        .values("key")
        .distinct()
        .count()
    )
    if numbers >= most:
        why = f"{numbers} different numbers in {int(window.total_seconds()) // 60} minutes"
        SmsBreaker.objects.get_or_create(
            prefix=block, reset_at=None, defaults={"tripped_at": now, "why": why}
        )


def reset_breaker(breaker_id: Any, *, by: Any, reason: str, now: datetime) -> SmsBreaker:
    """Let SMS go to the block again; numbers texted before count no more. Raises InvalidInput without a reason."""
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        breaker = SmsBreaker.objects.select_for_update().get(pk=breaker_id)
        if breaker.reset_at is None:
            breaker.reset_at, breaker.reset_by, breaker.reset_reason = now, by, reason.strip()[:500]
            breaker.save(update_fields=["reset_at", "reset_by", "reset_reason"])
            audit.record(
                actor=by, action="sms_breaker_reset", subject=f"prefix:{breaker.prefix}", reason=reason
            )
    return breaker


def estimate(segments: int) -> tuple[Decimal, str]:
    """Return what so many segments cost by SMS_PRICE_ESTIMATE, and in which currency. Raises ValueError for a setting that is none."""
    currency, _colon, price = settings.SMS_PRICE_ESTIMATE.partition(":")
    try:
        return Decimal(price) * segments, currency
    except InvalidOperation as error:
        raise ValueError(settings.SMS_PRICE_ESTIMATE) from error
