"""Emergency alerts: shown first, confirmed as shown, sent to everybody at once before anything else."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from communications import rendering
from communications.campaigns import audience as seam
from communications.campaigns import dispatch, words
from communications.campaigns.audience import CarOwner
from communications.catalogue import EMAIL, EMERGENCY, KINDS, SMS
from communications.models import (
    ALERT_TRANSITIONS,
    AlertStatus,
    EmergencyAlert,
    MessageStatus,
    OwnWords,
    Recipient,
)
from communications.services import wording
from communications.services.consent import allowed_addresses
from communications.services.wording import Draft
from foundation import audit
from foundation.errors import DomainError
from foundation.transitions import change_status

KIND = KINDS["emergency_alert"]
PERMISSION = "communications.send_emergencyalert"
SALT = "communications.alert_preview"
PREVIEW_LIVES = timedelta(minutes=15)
# What a provider has taken, or may have: such a person is not told again.
TOLD = (MessageStatus.SENT, MessageStatus.DELIVERED)

Texts = dict[tuple[str, str], Draft]


class AlertPreviewOutdated(DomainError):
    code = "alert_preview_outdated"
    message = gettext_lazy("What you saw is too old or not yours. Look again at who would get the alert.")


class NotConfirmed(DomainError):
    code = "not_confirmed"
    message = gettext_lazy("Type the car park's name or the number of cars exactly as shown.")


@dataclass(frozen=True)
class AlertPreview:
    """What confirming would do. `by_channel` counts whom it reaches now and how, `unreachable` whom it does not. `token` makes it come true
    for this person until `expires_at` (UTC)."""

    definition: dict[str, Any]
    texts: Texts
    reason: str
    place: str
    who: str
    owners: list[CarOwner]
    token: str
    expires_at: datetime
    by_channel: list[tuple[str, int]]
    unreachable: int

    @property
    def count(self) -> int:
        return len(self.owners)

    def sample(self, channel: str, language: str = "") -> rendering.Rendered | None:
        """The text as the first of them in the language gets it; with sample values when nobody is there."""
        languages = [lang for where, lang in self.texts if where == channel]
        if not languages:
            return None
        language = language if language in languages else languages[0]
        owner = next((one for one in self.owners if one.language == language), None) or (
            self.owners[0] if self.owners else None
        )
        values = {**KIND.sample, **(values_of(owner) if owner else {})}
        own: Any = self.texts[channel, language]
        return rendering.render(
            own,
            kind=KIND,
            channel=channel,
            language=language,
            variables=values,
        )

    @property
    def sms_segments(self) -> int:
        """The most parts that any of these SMS takes."""
        longest = 0
        for owner in self.owners[:500]:
            draft: Any = self.texts.get((SMS, owner.language)) or self.texts.get(
                (SMS, settings.LANGUAGE_CODE)
            )
            if draft is not None:
                text = rendering.render(
                    draft,
                    kind=KIND,
                    channel=SMS,
                    language=owner.language,
                    variables=values_of(owner),
                ).text
                longest = max(longest, rendering.sms_segments(text))
        shown = self.sample(SMS)
        return longest or (rendering.sms_segments(shown.text) if shown else 0)


def values_of(owner: CarOwner) -> dict[str, str]:
    return {
        "customer_name": owner.name,
        "reference": owner.reference,
        "plate": owner.plate,
        **owner.variables,
    }


def preview(definition: dict[str, Any], *, texts: Texts, reason: str, by: Any, now: datetime) -> AlertPreview:
    """Say who would get the alert. Changes nothing. Raises ValidationError by field (text errors as channel_language_field)."""
    definition = seam.alert_audience().check(definition)
    problems: dict[str, Any] = {}
    for (channel, language), draft in texts.items():
        try:
            wording.check_draft(draft, kind=KIND, channel=channel)
        except ValidationError as error:
            problems.update(
                {f"{channel}_{language}_{name}": text for name, text in error.message_dict.items()}
            )
        if draft.body.strip() == words.beginning(KIND.code, channel, language).body.strip():
            problems[f"{channel}_{language}_body"] = _(
                "Write what has happened and what to do: this is the empty form's text."
            )
    if problems:
        raise ValidationError(problems)
    owners = seam.alert_audience().owners(definition, now=now)
    token = signing.dumps(
        {
            "by": by.pk,
            "definition": definition,
            "texts": [[channel, language, asdict(draft)] for (channel, language), draft in texts.items()],
            "reason": reason,
            "people": [len(owners), _fingerprint(owners)],
            "keys": [owner.reference for owner in owners],
            "once": secrets.token_hex(16),
            "at": now.timestamp(),
        },
        salt=SALT,
        compress=True,
    )
    return _shown(definition, texts, reason, owners, token, now)


def _shown(
    definition: dict[str, Any], texts: Texts, reason: str, owners: list[CarOwner], token: str, at: datetime
) -> AlertPreview:
    reached = {channel: _reached(owners, channel) for channel in (EMAIL, SMS)}
    return AlertPreview(
        definition=definition,
        texts=texts,
        reason=reason,
        place=seam.alert_audience().place(definition),
        who=seam.alert_audience().describe(definition),
        owners=owners,
        token=token,
        expires_at=at + PREVIEW_LIVES,
        by_channel=[(channel, len(references)) for channel, references in reached.items()],
        unreachable=len(owners) - len(set().union(*reached.values())),
    )


def _reached(owners: list[CarOwner], channel: str) -> set[str]:
    """The bookings whose owner can be written to this way now: who answered STOP gets no SMS, not even a warning."""
    addresses = {owner.reference: owner.email if channel == EMAIL else owner.phone for owner in owners}
    verdicts = allowed_addresses(
        purpose=EMERGENCY, channel=channel, addresses=[address for address in addresses.values() if address]
    )
    return {reference for reference, address in addresses.items() if address and verdicts[address].is_allowed}


def _fingerprint(owners: list[CarOwner]) -> str:
    lines = "\n".join(f"{owner.reference} {owner.email} {owner.phone}" for owner in owners)
    return hashlib.sha256(lines.encode()).hexdigest()


def _read(token: str, *, by: Any, now: datetime) -> dict[str, Any]:
    try:
        promise: dict[str, Any] = signing.loads(token, salt=SALT)
    except (signing.BadSignature, ValueError, UnicodeError):
        raise AlertPreviewOutdated from None
    lapsed = not 0 <= now.timestamp() - promise["at"] < PREVIEW_LIVES.total_seconds()
    if lapsed or promise["by"] != by.pk:
        raise AlertPreviewOutdated
    return promise


def shown_by(token: str, *, by: Any, now: datetime) -> AlertPreview:
    """Return what a preview showed, with the people as they are now. Raises AlertPreviewOutdated."""
    promise = _read(token, by=by, now=now)
    owners = seam.alert_audience().owners(promise["definition"], now=now)
    at = datetime.fromtimestamp(promise["at"], tz=UTC)
    return _shown(promise["definition"], _texts(promise), promise["reason"], owners, token, at)


def changed_since(token: str, owners: list[CarOwner], *, by: Any, now: datetime) -> tuple[int, int]:
    """Return how many came and went since the preview."""
    before = set(_read(token, by=by, now=now)["keys"])
    after = {owner.reference for owner in owners}
    return len(after - before), len(before - after)


def _texts(promise: dict[str, Any]) -> Texts:
    return {(channel, language): Draft(**draft) for channel, language, draft in promise["texts"]}


def confirm(token: str, *, typed: str, by: Any, now: datetime) -> EmergencyAlert:
    """Send the alert that the token showed, once: a second press returns the same alert.

    The people are frozen here; who came or went since the preview is noted on the alert. Raises AlertPreviewOutdated, NotConfirmed.
    """
    promise = _read(token, by=by, now=now)
    if (made := EmergencyAlert.objects.filter(once=promise["once"]).first()) is not None:
        return made
    definition = promise["definition"]
    place = seam.alert_audience().place(definition)
    said = " ".join(typed.split()).casefold()
    names = {place.casefold(), place.rpartition(",")[0].casefold(), str(promise["people"][0])}
    if not said or said not in names:
        raise NotConfirmed
    owners = seam.alert_audience().owners(definition, now=now)
    came, went = changed_since(token, owners, by=by, now=now)
    try:
        with transaction.atomic():
            alert = EmergencyAlert.objects.create(
                place=place,
                audience={**definition, "came": came, "went": went},
                audience_text=seam.alert_audience().describe(definition)[:300],
                reason=promise["reason"],
                shown=promise["people"][0],
                reached=len(owners),
                once=promise["once"],
                created_at=now,
                created_by=by,
            )
            OwnWords.objects.bulk_create(
                OwnWords(
                    owner=alert.key,
                    channel=channel,
                    language=language,
                    number=1,
                    created_by=by,
                    **asdict(draft),
                )
                for (channel, language), draft in _texts(promise).items()
            )
            Recipient.objects.bulk_create(_recipients(alert, owners), ignore_conflicts=True, batch_size=500)
            audit.record(
                actor=by,
                action="emergencyalert.sent",
                subject=f"emergencyalert:{alert.pk}",
                reason=alert.reason,
                data={"place": place, "who": alert.audience_text, "cars": len(owners), "shown": alert.shown},
            )
            dispatch.defer_lanes(alert)
    except IntegrityError:
        made = EmergencyAlert.objects.filter(once=promise["once"]).first()
        if made is None:
            raise
        return made
    return alert


def _recipients(alert: EmergencyAlert, owners: list[CarOwner]) -> list[Recipient]:
    rows = []
    for owner in owners:  # one car's SMS and e-mail side by side, so that nobody waits for the other channel
        for channel, address in ((SMS, owner.phone), (EMAIL, owner.email)):
            rows.append(
                Recipient(
                    alert=alert,
                    channel=channel,
                    address=address,
                    name=owner.name[:120],
                    language=owner.language,
                    timezone=owner.timezone,
                    reference=owner.reference,
                    variables=values_of(owner),
                    state=Recipient.State.WAITING if address else Recipient.State.SKIPPED,
                    reason="" if address else "no_address",
                )
            )
    return rows


def not_reached(alert: EmergencyAlert) -> list[str]:
    """Return the bookings whose people no provider has taken a message for, on either channel, once all were tried."""
    told: dict[str, bool] = {}
    rows = alert.recipients.values_list("reference", "message__status", "state")
    for reference, status, state in rows:
        open_still = state in (Recipient.State.WAITING, Recipient.State.TAKEN)
        told[reference] = told.get(reference, False) or status in TOLD or open_still
    return sorted(reference for reference, is_told in told.items() if not is_told)


def resend(alert: EmergencyAlert, *, reason: str, by: Any, now: datetime) -> int:
    """Try again those who were not reached and are still meant; return how many cars. None left, or one under way: 0.

    Whose booking was cancelled since, or who has left, is not written to.
    """
    with transaction.atomic():
        row = EmergencyAlert.objects.select_for_update(of=("self",)).get(pk=alert.pk)
        if row.status != AlertStatus.FINISHED:
            return 0
        definition = {
            name: row.audience[name] for name in ("car_park", "who", "from", "to") if name in row.audience
        }
        still = {owner.reference for owner in seam.alert_audience().owners(definition, now=now)}
        again = [reference for reference in not_reached(row) if reference in still]
        if not again:
            return 0
        change_status(row, AlertStatus.SENDING, ALERT_TRANSITIONS)
        row.rounds += 1
        row.save(update_fields=["status", "rounds"])
        row.recipients.filter(reference__in=again).exclude(address="").update(
            state=Recipient.State.WAITING, reason="", message=None, taken_at=None, due_at=None
        )
        audit.record(
            actor=by,
            action="emergencyalert.sent_again",
            subject=f"emergencyalert:{row.pk}",
            reason=reason,
            data={"cars": len(again), "round": row.rounds},
        )
        dispatch.defer_lanes(row)
    return len(again)


@dataclass(frozen=True)
class Progress:
    """How far an alert is, per channel: {state: messages}."""

    channels: list[tuple[str, Counter[str], int]]
    cars: int
    told: int
    open: int

    @property
    def percent(self) -> int:
        total = sum(total for _channel, _counts, total in self.channels)
        return 100 if not total else round(100 * (total - self.open) / total)


def progress(alert: EmergencyAlert) -> Progress:
    """Count what became of each message, from the messages."""
    counts: dict[str, Counter[str]] = {SMS: Counter(), EMAIL: Counter()}
    told: dict[str, bool] = {}
    open_ones = 0
    for channel, state, status, reference in alert.recipients.values_list(
        "channel", "state", "message__status", "reference"
    ):
        now_is = status_of(state, status)
        counts[channel][now_is] += 1
        open_ones += now_is in ("queued", "sending")
        told[reference] = told.get(reference, False) or status in TOLD
    return Progress(
        channels=[(channel, found, sum(found.values())) for channel, found in counts.items()],
        cars=len(told),
        told=sum(told.values()),
        open=open_ones,
    )


def status_of(state: str, message_status: str | None) -> str:
    """Say where one recipient stands in one word: what the message says, once there is one."""
    if state == Recipient.State.SKIPPED:
        return "skipped"
    if message_status is None or message_status == MessageStatus.QUEUED:
        return "queued"
    return message_status
