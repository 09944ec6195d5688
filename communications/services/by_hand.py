"""What staff's programs send by hand: e-mail from a template, SMS in their own words. Both within what templates and budgets allow."""

from __future__ import annotations

import uuid
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from communications import rendering
from communications.catalogue import EMAIL, EVERYWHERE, KINDS, SMS, Kind
from communications.models import Message
from communications.services import budget, consent
from communications.services.outbox import check_address, queue_message
from communications.services.wording import version_for
from foundation import audit
from foundation.errors import DomainError, InvalidInput, NotFound

LONGEST_TEXT = 480
LONGEST_VALUE = 500
# Names by which the documentation of an earlier system called our variables; its examples still run.
OLDER_NAMES = {"user_name": "customer_name"}


class NotToBeSent(DomainError):
    code = "not_to_be_sent"
    message = _("Messages with one-time links are sent by the site itself, when they are asked for.")


class NoConsent(DomainError):
    code = "no_consent"
    message = _("They do not want this.")


def send_email(
    *, to: str, template_key: str, variables: dict[str, str], language: str, by: Any, now: datetime
) -> Message:
    """Queue an e-mail of a kind to an address, with the kind's own variables. Audited.

    Raises NotFound for a kind that does not exist, NotToBeSent, NoConsent, InvalidInput (the field names the variable).
    """
    kind = KINDS.get(template_key)
    if kind is None:
        near = get_close_matches(template_key, KINDS, n=1)
        raise NotFound(
            _("There is no template “%(name)s”. Did you mean “%(near)s”?")
            % {"name": template_key[:40], "near": near[0]}
            if near
            else _("There is no template “%(name)s”.") % {"name": template_key[:40]}
        )
    if kind.secrets:
        raise NotToBeSent
    check_address(EMAIL, to)
    values = _checked(
        kind, {OLDER_NAMES.get(name, name): value for name, value in variables.items()}, language
    )
    verdict = consent.may_receive(purpose=kind.purpose, channel=EMAIL, address=to)
    if not verdict.is_allowed:
        raise NoConsent(verdict.words, reason=verdict.reason)
    with transaction.atomic():
        message = queue_message(
            kind=template_key,
            channel=EMAIL,
            to=to,
            to_name=values.get("customer_name", ""),
            language=language,
            variables=values,
            dedupe_key=f"by-hand:{uuid.uuid4()}",
            reference=values.get("reference", "")[:20],
        )
        assert message is not None  # check_address refuses an empty one
        audit.record(
            actor=by,
            action="email_sent_by_api",
            subject=f"message:{message.pk}",
            data={"template": template_key},
        )
    return message


def send_sms(*, to: str, text: str, by: Any, now: datetime) -> Message:
    """Queue an SMS in staff's own words. Audited; within the budgets for what is not a booking.

    Raises InvalidInput, BudgetExceeded, NoConsent (the number answered STOP).
    """
    text = text.strip()
    if not text or len(text) > LONGEST_TEXT:
        raise InvalidInput(
            _("Write a text of 1 to %(most)d characters.") % {"most": LONGEST_TEXT}, field="message"
        )
    check_address(SMS, to)
    budget.refuse_number(to, share=budget.SmsShare.OTHER)
    verdict = consent.may_receive(purpose=KINDS[budget.BY_STAFF].purpose, channel=SMS, address=to)
    if not verdict.is_allowed:
        raise NoConsent(verdict.words, reason=verdict.reason)
    with transaction.atomic():
        message = queue_message(
            kind=budget.BY_STAFF,
            channel=SMS,
            to=to,
            variables={"text": text},
            dedupe_key=f"by-hand:{uuid.uuid4()}",
        )
        assert message is not None
        audit.record(actor=by, action="sms_sent_by_api", subject=f"message:{message.pk}")
    return message


def _checked(kind: Kind, variables: dict[str, str], language: str) -> dict[str, str]:
    """Return the variables, each known to the kind and harmless, none of the words' own missing. Raises InvalidInput."""
    site = {variable.name for variable in EVERYWHERE}
    for name, value in variables.items():
        field = f"variables.{name}"
        if name not in kind.by_name or name in site:
            near = get_close_matches(name, set(kind.by_name) - site, n=1, cutoff=0.4)
            hint = _("Did you mean “%(near)s”?") % {"near": near[0]} if near else ""
            raise InvalidInput(
                _("This template does not know “%(name)s”. %(hint)s") % {"name": name[:40], "hint": hint},
                field=field,
            )
        if len(value) > LONGEST_VALUE:
            raise InvalidInput(_("At most %(most)d characters.") % {"most": LONGEST_VALUE}, field=field)
        if not value.isprintable():
            raise InvalidInput(_("Write it in one line, without control characters."), field=field)
        if kind.by_name[name].is_url and not value.startswith(f"{settings.SITE_URL}/"):
            raise InvalidInput(
                _("Links lead to this site only: begin with %(site)s/.") % {"site": settings.SITE_URL},
                field=field,
            )
    version = version_for(kind.code, EMAIL, language)
    used = {
        match.group(1).strip()
        for text in (version.subject, version.heading, version.body)
        for match in rendering.PLACEHOLDER.finditer(text)
    } | {version.button_variable}
    values = {
        variable.name: f"{settings.SITE_URL}/" for variable in kind.variables if variable.is_url
    } | variables
    missing = sorted(used - set(values) - site - {""})
    if missing:
        raise InvalidInput(
            _("The template needs these as well: %(names)s.") % {"names": ", ".join(missing)},
            field="variables",
        )
    return values
