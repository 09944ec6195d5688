"""Who may be written to. Until there is a ledger of consent nobody has given one: promotions are refused to everybody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from communications.catalogue import PROMOTIONAL


@dataclass(frozen=True)
class Verdict:
    """Whether a message may go to an address, and the code of the reason why not."""

    is_allowed: bool
    reason: str = ""


def allowed_addresses(*, purpose: str, channel: str, addresses: Iterable[str]) -> dict[str, Verdict]:
    """Return the verdict on each address."""
    verdict = Verdict(False, "no_consent") if purpose == PROMOTIONAL else Verdict(True)
    return dict.fromkeys(addresses, verdict)
