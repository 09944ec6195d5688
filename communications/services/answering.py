"""Understanding what people text back, and answering in their language."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import translation
from django.utils.translation import gettext as _

from communications.catalogue import SMS
from communications.models import InboundText, Keyword, Message, Suppression, SuppressionCause
from communications.services import consent

# Words that Twilio knows as well: after its STOP only its START lets SMS through again.
PROVIDERS_START = frozenset(["start", "yes", "unstop"])
PROVIDERS_STOP = frozenset(["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"])
STOP_WORDS = frozenset(
    [
        "stop",
        "stopall",
        "stopp",
        "unsubscribe",
        "cancel",
        "end",
        "quit",
        "abmelden",
        "abbestellen",
        "ende",
        "revoke",
        "optout",
        "arret",
        "arrêt",
        "стоп",
    ]
)
# What people say around a STOP. "Bus stop?" is none.
AROUND_STOP = frozenset(
    [
        "please",
        "pls",
        "bitte",
        "thanks",
        "thank",
        "you",
        "danke",
        "now",
        "jetzt",
        "all",
        "alle",
        "everything",
        "alles",
        "me",
        "my",
        "mich",
        "the",
        "these",
        "this",
        "those",
        "them",
        "it",
        "i",
        "we",
        "want",
        "to",
        "would",
        "like",
        "getting",
        "receiving",
        "sending",
        "texting",
        "text",
        "texts",
        "sms",
        "message",
        "messages",
        "nachricht",
        "nachrichten",
        "offers",
        "angebote",
    ]
)
CLEAR_STOP = frozenset(["stop", "stopp", "stopall", "unsubscribe", "abmelden", "abbestellen", "optout"])
START_WORDS = frozenset(["start", "yes", "unstop", "anmelden", "ja"])
HELP_WORDS = frozenset(["help", "info", "hilfe"])


def keyword_of(body: str) -> str:
    """Return what the text means: one word of the lists, whatever its case, spaces and punctuation, or a plain sentence around STOP."""
    word = _word(body)
    for keyword, words in (
        (Keyword.STOP, STOP_WORDS),
        (Keyword.START, START_WORDS),
        (Keyword.HELP, HELP_WORDS),
    ):
        if word in words:
            return keyword
    said = {_word(each) for each in body.split()} - {""}
    if said & CLEAR_STOP and said <= CLEAR_STOP | AROUND_STOP:
        return Keyword.STOP
    return Keyword.OTHER


def _word(body: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", body)).casefold()


def take_text(*, sid: str, phone: str, to: str, body: str, now: datetime, is_answered: bool = False) -> str:
    """Keep a received SMS and act on its keyword, once per sid; return the answer, empty for none and where the provider gave its own.

    STOP ends offers and, at the provider, every other SMS as well; START brings both back.
    """
    body, phone = _storable(body)[:1600], _storable(phone)[:32]
    if not sid or not phone:
        return ""
    keyword = keyword_of(body)
    language = language_of(phone)
    with transaction.atomic():
        text, is_new = InboundText.objects.get_or_create(
            sid=_storable(sid)[:64],
            defaults={
                "phone": phone,
                "to": _storable(to)[:32],
                "body": body,
                "keyword": keyword,
                "received_at": now,
                "handled_at": now if keyword else None,
            },
        )
        if not is_new:
            return text.reply
        if keyword == Keyword.STOP:
            consent.stop_texts(phone, now=now, wording=body, language=language)
        elif (
            keyword == Keyword.START and _is_stopped_at_provider(phone) and _word(body) not in PROVIDERS_START
        ):
            keyword = Keyword.HELP  # only the provider's own word ends what its own word began
        elif keyword == Keyword.START:
            consent.start_texts(phone, now=now, wording=body, language=language)
        text.reply = "" if is_answered else _reply(keyword, language)
        text.save(update_fields=["reply"])
    return text.reply


def _is_stopped_at_provider(phone: str) -> bool:
    stopped = Suppression.objects.filter(
        channel=SMS, address_key=consent.key_of(SMS, phone), cause=SuppressionCause.STOPPED, lifted_at=None
    ).first()
    return stopped is not None and _word(stopped.detail) in PROVIDERS_STOP


def language_of(phone: str) -> str:
    """Return the language in which we wrote to this number last; the site's own for a number that we do not know."""
    last = Message.objects.filter(channel=SMS, to=phone).order_by("-queued_at").first()
    return last.language if last else settings.LANGUAGE_CODE


def _reply(keyword: str, language: str) -> str:
    told = {"site": settings.SITE_NAME, "email": settings.SUPPORT_EMAIL, "phone": settings.SUPPORT_PHONE}
    with translation.override(language):
        if keyword == Keyword.STOP:
            return (
                _(
                    "%(site)s: you get no more SMS from us. Booking messages come by e-mail. Answer START to get SMS again."
                )
                % told
            )
        if keyword == Keyword.START:
            return _("%(site)s: SMS are on again. Answer STOP to end them, HELP for help.") % told
        if keyword == Keyword.HELP:
            return (
                _(
                    "%(site)s: help at %(email)s or %(phone)s. Answer STOP to end SMS, START to get them again."
                )
                % told
            )
    return ""


def _storable(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def mark_handled(texts: Any, *, by: Any, now: datetime) -> int:
    """Note that staff have read these texts; return how many were unread."""
    return InboundText.objects.filter(pk__in=list(texts), handled_at=None).update(
        handled_at=now, handled_by=by
    )
