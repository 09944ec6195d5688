"""Phone numbers as people type them."""

from __future__ import annotations

import re

import phonenumbers
from django.conf import settings
from django.utils.translation import gettext as _

from foundation.errors import InvalidInput
from foundation.text import is_one_line


def clean_phone(text: str, *, field: str) -> str:
    """Return the number in E.164, read as a national one where it has no country code. Raises InvalidInput naming the field."""
    problem = InvalidInput(
        _("Enter a phone number with its country code, such as +44 7700 900123."), field=field
    )
    if len(text) > 40 or not is_one_line(text):
        raise problem
    try:
        number = phonenumbers.parse(text, settings.PHONENUMBER_DEFAULT_REGION)
    except phonenumbers.NumberParseException:
        raise problem from None
    # By its length alone, because its numbering plan may be newer than our copy of it. "Local only" is too short to be called
    # from anywhere else.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise problem
    plain = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if number.extension or not re.fullmatch(
        r"\+[1-9][0-9]{6,14}", plain
    ):  # E.164; nobody can text an extension
        raise problem
    return plain
