"""What a language's file is made of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """One message. `button_variable` names the address that an e-mail's button opens."""

    body: str
    subject: str = ""
    heading: str = ""
    button_label: str = ""
    button_variable: str = ""
