"""What a log line may not say: secrets, card numbers, and who somebody is. One pass over each line, of bounded cost."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

GONE = "[redacted]"
# Ours, whatever they look like: an id from outside was looked at before it was taken.
PLAIN = {"timestamp", "level", "request_id", "job_id", "user_id"}
# Of one value this much is read and written: its beginning, and its end, where a traceback says what happened.
HEAD, TAIL = 12_000, 4_000
DEEPEST, MOST_ITEMS = 4, 50
SHORTEST_SECRET = 6
LONGEST_KNOWN = 120

_SECRET_SETTING = re.compile(r"(?:^|_)(?:KEY|SECRET|TOKEN|PASSWORD|UUID)$")
_NO_SECRET = re.compile(r"PUBLI|VERIFICATION|_META_KEY$")
_SECRET_FIELD = re.compile(
    r"pass(?:word|wd|phrase)|secret|token|api_?key|authorization|cookie|signature", re.IGNORECASE
)

# Each starts at a fixed word or is bounded, so that no text makes it slow.
_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), put)
    for pattern, put in (
        # PostgreSQL's DETAIL quotes whole rows.
        (r"(\bDETAIL:\s{1,4})[^\n]*", rf"\1{GONE}"),
        (r"(failing row contains )\([^\n]*", rf"\1{GONE}"),
        # name:password@host
        (r"(://)[^/\s:@'\"]{0,100}:[^/\s@'\"]{1,300}@", rf"\1{GONE}@"),
        # Headers, in any notation; their value ends with the line or the quote.
        (
            r"(\b(?:proxy-)?authorization|\b(?:set-)?cookie|stripe-signature|x-guest-token|x-twilio-signature"
            r"|x-twilio-email-event-webhook-signature|paypal-transmission-sig)"
            r"(['\"]{0,1}\s{0,3}[:=,]\s{0,3}b?['\"]{0,1})[^'\"\r\n]+",
            rf"\1\2{GONE}",
        ),
        (r"\b(bearer|basic)\s+[\w.~+/=-]{6,}", rf"\1 {GONE}"),
        # One-time links, and the webhook address that only Stripe knows.
        (
            r"(/(?:b/[^/\s]{1,20}|unsubscribe|preferences|your-data|password/reset/key|confirm-email|stripe/webhook)/)(?!<)[^\s/?\"']+",
            rf"\1{GONE}",
        ),
        # name=value, "name": "value"
        (
            r"((?:password|passwd|passphrase|secret|token|api_?key|signature)[\"']{0,1}\s{0,3}[:=]\s{0,3}[\"']{0,1})[^\s\"',;&)}\]]+",
            rf"\1{GONE}",
        ),
        # Secrets by their shape: JWT, Stripe's keys and client secrets, SendGrid's keys, our guest links.
        (r"\beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?", GONE),
        (r"\b(?:sk|rk)_(?:live|test)_\w+|\bwhsec_\w+|\bSG\.[\w-]+\.[\w-]+", GONE),
        (r"_secret_\w+", f"_secret_{GONE}"),
        (r"(?-i:\b[a-z2-7]{26}\b)", GONE),
        (r"[\w.+'-]{1,64}(?:@|%40)[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}", "[e-mail]"),
        (r"(?:\+|%2B)\d(?:[ ().-]{0,2}\d){7,15}(?!\d)", "[phone]"),
        (r"(?<![\w.-])0\d(?:[ ()-]{0,2}\d){7,13}(?![\w.-])", "[phone]"),
    )
)
_CARD = re.compile(r"(?<!\w)\d(?:[ -]?\d){12,18}(?!\w)")


class Redactor:
    """A processor of log events: takes out what may not be written. The last before the line is rendered."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in _written(secret)}
        longest_first = sorted(forms, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        # Lines repeat their routes, names and words.
        self._known = functools.lru_cache(maxsize=2048)(self._cleaned)

    def __call__(self, logger: Any, method: str, event: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value if name in PLAIN else self.value(name, value, depth=0)
            for name, value in event.items()
        }

    def value(self, name: str, value: Any, *, depth: int) -> Any:
        """Return the value as it may be written; of what is nested or long only the beginning."""
        if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and value < 10**12):
            return value
        if name and _SECRET_FIELD.search(name):
            return GONE
        if isinstance(value, Mapping) and depth < DEEPEST:
            return {
                self.text(str(key)): self.value(str(key), one, depth=depth + 1)
                for key, one in list(value.items())[:MOST_ITEMS]
            }
        if isinstance(value, (list, tuple, set, frozenset)) and depth < DEEPEST:
            return [self.value("", one, depth=depth + 1) for one in list(value)[:MOST_ITEMS]]
        return self.text(str(value))

    def text(self, text: str) -> str:
        """Return the text without secrets, cards, addresses and phone numbers."""
        if len(text) > HEAD + TAIL:
            text = f"{text[:HEAD]} [...] {text[-TAIL:]}"
        return self._known(text) if len(text) <= LONGEST_KNOWN else self._cleaned(text)

    def _cleaned(self, text: str) -> str:
        if self._secrets is not None:
            text = self._secrets.sub(GONE, text)
        for pattern, put in _RULES:
            text = pattern.sub(put, text)
        return _CARD.sub(_without_card, text)


def secrets_of_settings() -> set[str]:
    """Return the values of every setting that is named like a secret, and the passwords of database, cache and webhooks."""
    if not settings.configured:
        return set()
    found: set[str] = set()
    for name in dir(settings):
        if _SECRET_SETTING.search(name) and not _NO_SECRET.search(name):
            try:
                value = getattr(settings, name)
            except ImproperlyConfigured:  # how Django says that SECRET_KEY is empty
                continue
            if isinstance(value, str):
                found.add(value)
    found.update(str(one.get("PASSWORD") or "") for one in settings.DATABASES.values())
    found.add(urlsplit(getattr(settings, "REDIS_URL", "")).password or "")
    found.add(getattr(settings, "POSTMARK_WEBHOOK_SECRET", "").partition(":")[2])
    return {one for one in found if one}


def _written(secret: str) -> set[str]:
    """A secret as it may stand in a line: plain, in an address, or escaped."""
    return {secret, quote(secret, safe=""), quote(secret), secret.replace("\\", "\\\\").replace('"', '\\"')}


def _without_card(found: re.Match[str]) -> str:
    digits = [int(letter) for letter in found[0] if letter.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return "[card]" if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else found[0]
