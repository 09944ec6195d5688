"""The words: templates and their versions."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from difflib import SequenceMatcher
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from communications import rendering, words
from communications.catalogue import EMAIL, KINDS, Kind
from communications.models import MessageTemplate, OwnWords, TemplateVersion
from foundation import audit
from foundation.errors import DomainError, InvalidInput


def version_for(kind: str, channel: str, language: str) -> TemplateVersion:
    """Return the words in use: in the language, else its base language, else English."""
    for candidate in dict.fromkeys((language, language.split("-")[0], "en")):
        version = (
            TemplateVersion.objects.filter(
                template__kind=kind, template__channel=channel, template__language=candidate
            )
            .order_by("-number")
            .first()
        )
        if version is not None:
            return version
    raise LookupError(f"There is no template for {kind} by {channel}.")


def install_default_templates() -> int:
    """Write the house's words for every kind and language that has none and return how many; what staff wrote is left alone."""
    written = 0
    for language, templates in words.languages().items():
        for (kind, channel), first in templates.items():
            with transaction.atomic():
                template, _is_new = MessageTemplate.objects.get_or_create(
                    kind=kind, channel=channel, language=language
                )
                MessageTemplate.objects.select_for_update().get(pk=template.pk)
                if not template.versions.exists():
                    TemplateVersion.objects.create(template=template, number=1, **vars(first))
                    written += 1
    return written


@dataclass(frozen=True)
class Draft:
    """Words that are not saved yet."""

    body: str
    subject: str = ""
    heading: str = ""
    button_label: str = ""
    button_variable: str = ""

    @classmethod
    def of(cls, version: TemplateVersion | OwnWords) -> Draft:
        """Return a version's words."""
        return cls(**{each.name: getattr(version, each.name) for each in fields(cls)})


def check_draft(draft: Draft, *, kind: Kind, channel: str) -> None:
    """Raise ValidationError, by field, for words that cannot be sent."""
    errors: dict[str, Any] = {}
    for name in ("subject", "heading", "body", "button_label"):
        text = getattr(draft, name)
        try:
            if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
                raise ValidationError(_("The text holds a character that cannot be sent."))
            if name != "body" and ("\n" in text or "\r" in text):
                raise ValidationError(_("This must be one line."))
            if name == "button_label" and "{{" in text:
                raise ValidationError(_("A button's text has no placeholders."))
            rendering.check_placeholders(text, kind)
        except ValidationError as error:
            errors[name] = error
    if not draft.body.strip():
        errors["body"] = ValidationError(_("Write the text of the message."))
    if channel == EMAIL:
        if not draft.subject.strip():
            errors["subject"] = ValidationError(_("An e-mail needs a subject."))
        variable = kind.by_name.get(draft.button_variable)
        if draft.button_label and (variable is None or not variable.is_url):
            errors["button_variable"] = ValidationError(_("Choose the page that the button opens."))
    if errors:
        raise ValidationError(errors)


class SavedMeanwhile(DomainError):
    """Somebody else saved a newer version than the draft began from."""

    code = "saved_meanwhile"

    def __init__(self, newest: TemplateVersion | OwnWords) -> None:
        self.newest = newest
        super().__init__(
            _(
                "%(who)s saved version %(number)d while you were writing. Your words are kept below: compare them with it in the versions, "
                "then save again."
            )
            % {"who": newest.created_by or _("Somebody"), "number": newest.number}
        )


def save_version(
    template: MessageTemplate, draft: Draft, *, by: Any, based_on: int | None = None
) -> TemplateVersion:
    """Make the draft the template's newest version. Unchanged words make no version.

    Raises ValidationError by field, and SavedMeanwhile where the newest version is not the one that the draft is `based_on`. Of any
    number who save at once, one is first.
    """
    check_draft(draft, kind=KINDS[template.kind], channel=template.channel)
    with transaction.atomic():
        template = MessageTemplate.objects.select_for_update().get(pk=template.pk)
        current = template.current
        if current is not None and draft == Draft.of(current):
            return current
        if current is not None and based_on is not None and current.number != based_on:
            raise SavedMeanwhile(current)
        version = TemplateVersion.objects.create(
            template=template, number=(current.number if current else 0) + 1, created_by=by, **vars(draft)
        )
        audit.record(
            actor=by,
            action="template_edited",
            subject=f"template:{template.pk}",
            data={"version": version.number},
        )
    return version


def preview(
    template: MessageTemplate, *, variables: dict[str, Any] | None = None, draft: Draft | None = None
) -> rendering.Rendered:
    """Return the message as a customer would get it, with sample values unless others are given."""
    kind = KINDS[template.kind]
    if draft is not None:
        check_draft(draft, kind=kind, channel=template.channel)
        version = TemplateVersion(template=template, number=0, **vars(draft))
    else:
        version = version_for(template.kind, template.channel, template.language)
    return rendering.render(
        version,
        kind=kind,
        channel=template.channel,
        language=template.language,
        variables={**kind.sample, **(variables or {})},
    )


# --- Versions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A stretch of text that is in both versions ("same"), only in the earlier ("gone") or only in the later ("new")."""

    state: str
    text: str


@dataclass(frozen=True)
class Change:
    """What differs in one part of the words."""

    part: Any
    pieces: list[Piece]


PARTS: dict[str, Any] = {
    "subject": _("Subject"),
    "heading": _("Heading"),
    "body": _("Text"),
    "button_label": _("Button"),
    "button_variable": _("Button opens"),
}


def compare(before: TemplateVersion, after: TemplateVersion) -> list[Change]:
    """Return, part by part, word by word, what became of the earlier version; parts that are the same are left out."""
    changes = []
    for name, part in PARTS.items():
        old, new = _words(getattr(before, name)), _words(getattr(after, name))
        if old == new:
            continue
        pieces: list[Piece] = []
        for tag, old_from, old_to, new_from, new_to in SequenceMatcher(
            None, old, new, autojunk=False
        ).get_opcodes():
            if tag == "equal":
                pieces.append(Piece("same", "".join(old[old_from:old_to])))
                continue
            if old_to > old_from:
                pieces.append(Piece("gone", "".join(old[old_from:old_to])))
            if new_to > new_from:
                pieces.append(Piece("new", "".join(new[new_from:new_to])))
        changes.append(Change(part, pieces))
    return changes


def _words(text: str) -> list[str]:
    return re.findall(r"\{\{[^{}]*\}\}|\s+|[^\s{]+|.", text)


def render_version(version: TemplateVersion) -> rendering.Rendered:
    """Return any version of a template as a customer would get it, with sample values."""
    template = version.template
    kind = KINDS[template.kind]
    return rendering.render(
        version, kind=kind, channel=template.channel, language=template.language, variables=kind.sample
    )


def roll_back(
    template: MessageTemplate, old: TemplateVersion, *, by: Any, reason: str, seen: str
) -> TemplateVersion:
    """Make an earlier version's words the newest again, as a version of their own. Audited with the reason.

    `seen` is the number of the version that was in use when it was shown. Raises Outdated when that has changed, ValidationError when
    the old words name what is not known any more, InvalidInput without a reason.
    """
    if not reason.strip():
        raise InvalidInput(_("Say why."), field="reason")
    with transaction.atomic():
        template = MessageTemplate.objects.select_for_update().get(pk=template.pk)
        newest = template.current
        if newest is None or str(newest.number) != seen:
            raise Outdated
        version = save_version(template, Draft(**{name: getattr(old, name) for name in PARTS}), by=by)
        if version.pk != newest.pk:
            audit.record(
                actor=by,
                action="template_rolled_back",
                subject=f"template:{template.pk}",
                reason=reason.strip()[:500],
                data={"to the words of": old.number, "version": version.number},
            )
    return version


class Outdated(DomainError):
    code = "outdated"
    message = _("Somebody saved another version meanwhile. Look at it first.")
