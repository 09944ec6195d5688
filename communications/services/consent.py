"""Who may be written to: consent by person and channel, its proof, and addresses to which nothing is sent."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from communications.catalogue import EMAIL, EMERGENCY, PROMOTIONAL, SMS
from communications.models import (
    ConsentEntry,
    ConsentSource,
    ConsentState,
    Message,
    MessageStatus,
    Suppression,
    SuppressionCause,
)
from foundation import audit
from foundation.errors import InvalidInput

NO_CONSENT, OPTED_OUT = "no_consent", "opted_out"
REASONS: dict[str, Any] = {
    NO_CONSENT: _("They never agreed to get offers this way."),
    OPTED_OUT: _("They do not want offers this way any more."),
    f"suppressed_{SuppressionCause.HARD_BOUNCE}": _(
        "The address does not exist, said the provider of an earlier message."
    ),
    f"suppressed_{SuppressionCause.SPAM_REPORT}": _("They reported an earlier message as spam."),
    f"suppressed_{SuppressionCause.STOPPED}": _("They answered STOP, so no SMS of ours goes there."),
    f"suppressed_{SuppressionCause.STAFF}": _("Staff entered that nothing is to be sent there."),
}
# A spam report is a no to offers, and no reason to keep a paid booking's confirmation from anybody.
_ONLY_OFFERS = frozenset({SuppressionCause.SPAM_REPORT.value})


@dataclass(frozen=True)
class Verdict:
    """Whether a message may go to an address now; `reason` is one of REASONS, empty when it may."""

    is_allowed: bool
    reason: str = ""

    @property
    def words(self) -> str:
        return str(REASONS.get(self.reason, ""))


ALLOWED = Verdict(True)


def normalised(channel: str, address: str) -> str:
    """Return the address in the one form that is compared: e-mail in lower case, phones as they are (E.164)."""
    address = str(address).strip()
    return address.lower() if channel == EMAIL else address


def key_of(channel: str, address: str) -> str:
    """Return the keyed hash under which an address is known even after it was erased."""
    text = f"{channel}:{normalised(channel, address)}".encode()
    return hmac.new(settings.ADDRESS_KEY.encode(), text, hashlib.sha256).hexdigest()


def may_receive(*, purpose: str, channel: str, address: str) -> Verdict:
    """Say whether a message of this purpose may go to the address now."""
    return allowed_addresses(purpose=purpose, channel=channel, addresses=[address])[address]


def allowed_addresses(*, purpose: str, channel: str, addresses: Iterable[str]) -> dict[str, Verdict]:
    """Say it for thousands at a time, in two queries. Keys of the answer are the addresses as they were given."""
    keys = {address: key_of(channel, address) for address in addresses}
    wanted = list(set(keys.values()))
    causes: dict[str, set[str]] = {}
    for key, cause in Suppression.objects.filter(
        channel=channel, address_key__in=wanted, lifted_at=None
    ).values_list("address_key", "cause"):
        causes.setdefault(key, set()).add(cause)
    states: dict[str, bool] = {}
    if purpose == PROMOTIONAL:
        states = dict(
            ConsentState.objects.filter(channel=channel, address_key__in=wanted).values_list(
                "address_key", "is_granted"
            )
        )
    return {
        address: _verdict(purpose, causes.get(key, set()), states.get(key)) for address, key in keys.items()
    }


def _verdict(purpose: str, causes: set[str], granted: bool | None) -> Verdict:
    if purpose == EMERGENCY:  # only what cannot arrive anyway holds it back
        causes = causes - {SuppressionCause.STAFF.value}
    binding = causes if purpose == PROMOTIONAL else causes - _ONLY_OFFERS
    if binding:
        return Verdict(False, f"suppressed_{min(binding)}")
    if purpose == PROMOTIONAL and not granted:
        return Verdict(False, OPTED_OUT if granted is False else NO_CONSENT)
    return ALLOWED


def wants_offers(*, channel: str, address: str) -> bool:
    """Say whether the last word on this channel was yes."""
    state = ConsentState.objects.filter(channel=channel, address_key=key_of(channel, address)).first()
    return state is not None and state.is_granted


def record_consent(
    *,
    channel: str,
    address: str,
    is_granted: bool,
    source: str,
    now: datetime,
    wording: str = "",
    language: str = "",
    ip_address: str | None = None,
    user: Any = None,
    note: str = "",
) -> ConsentEntry | None:
    """Write a yes or no into the ledger, with what was shown; None when it is what stands already.

    The same word again is no new fact. Raises InvalidInput without an address.
    """
    address = normalised(channel, address)
    if not address:
        raise InvalidInput(_("There is no address to note this for."))
    return _enter(
        channel=channel,
        key=key_of(channel, address),
        address=address,
        is_granted=is_granted,
        source=source,
        now=now,
        wording=wording[:500],
        language=language[:8],
        ip_address=_ip(ip_address),
        user=user if getattr(user, "pk", None) else None,
        note=note[:500],
    )


def _ip(text: str | None) -> str | None:
    try:
        return str(ipaddress.ip_address(text or ""))
    except ValueError:
        return None


def _enter(*, channel: str, key: str, now: datetime, is_granted: bool, **facts: Any) -> ConsentEntry | None:
    with transaction.atomic():
        stands = (
            ConsentState.objects.select_for_update().filter(channel=channel, address_key=key).first()
        )  # of two at once, the ledger's trigger keeps the one that commits last
        if stands is not None and stands.is_granted == is_granted:
            return None
        return ConsentEntry.objects.create(
            channel=channel, address_key=key, is_granted=is_granted, at=now, **facts
        )


def is_reached_by(user: Any, *, channel: str, address: str) -> bool:
    """Say whether a message to this account's owner was delivered to the address: whoever types a number has not shown that it is theirs."""
    return Message.objects.filter(
        user=user, channel=channel, to=address, status=MessageStatus.DELIVERED
    ).exists()


def has_refused(*, channel: str, address: str) -> bool:
    """Say whether the last word of this address was no."""
    return ConsentState.objects.filter(
        channel=channel, address_key=key_of(channel, address), is_granted=False
    ).exists()


def withdraw(
    *,
    channel: str,
    address_key: str,
    source: str,
    now: datetime,
    wording: str = "",
    language: str = "",
    note: str = "",
) -> ConsentEntry | None:
    """Write down a no from somebody whom we know only by the hash in their link; None when it stands already.

    `language` is that in which it was asked, else that of the last message to them. No IP address: a no needs no proof against the person.
    """
    known = ConsentEntry.objects.filter(channel=channel, address_key=address_key).exclude(address="").first()
    if not language and known is not None:
        last = Message.objects.filter(channel=channel, to=known.address).order_by("-queued_at").first()
        language = last.language if last is not None else known.language
    return _enter(
        channel=channel,
        key=address_key,
        now=now,
        is_granted=False,
        address=known.address if known else "",
        source=source,
        wording=wording[:500],
        language=language[:8],
        note=note[:500],
    )


def version_of(wording: str) -> str:
    """Return the mark by which one and the same wording is known in the ledger: it changes with every letter."""
    return hashlib.sha256(wording.encode()).hexdigest()[:8]


# --- Addresses to which nothing is sent ------------------------------------------------------------------------------


def suppress(
    *,
    channel: str,
    address: str,
    cause: str,
    now: datetime,
    detail: str = "",
    message: Message | None = None,
) -> Suppression | None:
    """Send nothing to this address from now on; None when it is so already. A spam report is a no to offers as well."""
    address = normalised(channel, address)
    if not address:
        return None
    found, is_new = Suppression.objects.get_or_create(
        channel=channel,
        address_key=key_of(channel, address),
        cause=cause,
        lifted_at=None,
        defaults={"address": address, "detail": detail[:500], "message": message, "at": now},
    )
    if cause == SuppressionCause.SPAM_REPORT:
        record_consent(
            channel=channel, address=address, is_granted=False, source=ConsentSource.PROVIDER, now=now
        )
    return found if is_new else None


def lift(suppression_id: Any, *, by: Any, reason: str, now: datetime) -> Suppression:
    """Let messages go to the address again, under the name of who says so. Raises InvalidInput without a reason."""
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        found = Suppression.objects.select_for_update().get(pk=suppression_id)
        if found.lifted_at is None:
            found.lifted_at, found.lifted_by, found.lift_reason = now, by, reason.strip()[:500]
            found.save(update_fields=["lifted_at", "lifted_by", "lift_reason"])
            audit.record(
                actor=by,
                action="suppression_lifted",
                subject=f"suppression:{found.pk}",
                reason=found.lift_reason,
            )
    return found


def stop_texts(phone: str, *, now: datetime, wording: str, language: str) -> None:
    """Take STOP: no offers, and nothing else either, until START: the provider refuses every SMS after its own word, and we keep to the others."""
    record_consent(
        channel=SMS, address=phone, is_granted=False, source=ConsentSource.SMS, now=now, wording=wording, language=language
    )  # fmt: skip
    suppress(channel=SMS, address=phone, cause=SuppressionCause.STOPPED, now=now, detail=wording)


def start_texts(phone: str, *, now: datetime, wording: str, language: str) -> None:
    """Take START: SMS go through again. Offers come again if STOP ended them; who never agreed to any has not agreed by this."""
    Suppression.objects.filter(
        channel=SMS, address_key=key_of(SMS, phone), cause=SuppressionCause.STOPPED, lifted_at=None
    ).update(lifted_at=now, lift_reason=wording[:500])
    last_two = ConsentEntry.objects.filter(channel=SMS, address_key=key_of(SMS, phone)).order_by(
        "-at", "-pk"
    )[:2]
    said = [(entry.is_granted, entry.source) for entry in last_two]
    if len(said) < 2 or said[0] != (False, ConsentSource.SMS) or not said[1][0]:
        return
    record_consent(
        channel=SMS, address=phone, is_granted=True, source=ConsentSource.SMS, now=now, wording=wording, language=language
    )  # fmt: skip
