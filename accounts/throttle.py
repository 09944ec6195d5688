"""How often somebody may try to sign in, on the pages and over the API, counted together on the shared cache.

Nothing here asks whether an account exists, so known and unknown addresses are answered alike. Whoever fails too often is stopped
for the account *from there*; what strangers do elsewhere only makes each further try on the account wait a little, and not at all for
an address from which its owner has signed in before. So nobody locks anybody out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from django.conf import settings
from django.core.cache import cache

from foundation.addresses import network_of
from foundation.api import TooManyRequests

WINDOW_SECONDS = 15 * 60
LONGEST_WAIT_SECONDS = 60
KNOWN_FOR_SECONDS = 30 * 24 * 3600


@dataclass(frozen=True)
class Attempt:
    """One try, counted as failed until it is told to have succeeded."""

    address_key: str
    account_key: str
    pair_key: str

    @classmethod
    def of(cls, *, account: str, address: str) -> Attempt:
        who = hashlib.sha256(account.strip().lower().encode("utf-8", "surrogatepass")).hexdigest()[:32]
        address = network_of(address)
        return cls(f"sign-in.from.{address}", f"sign-in.of.{who}", f"sign-in.of.{who}.from.{address}")

    def succeeded(self) -> None:
        """Take the failure back, forget earlier ones of this account from here, and know the address for a month."""
        if not settings.RATELIMIT_ENABLE:
            return
        _count(self.address_key, -1)
        _count(self.account_key, -1)
        cache.delete(self.pair_key)
        cache.set(f"{self.pair_key}.known", 1, KNOWN_FOR_SECONDS)


def attempt(*, account: str, address: str) -> Attempt:
    """Count one try before anything is looked up or hashed. Raises TooManyRequests.

    account: the e-mail address that was typed, whether or not it is one of ours. A try is counted first, so that parallel ones
    cannot pass together.
    """
    made = Attempt.of(account=account, address=address)
    if not settings.RATELIMIT_ENABLE:
        return made
    most_from_address, most_of_account_from_address, soft_of_account = settings.SIGN_IN_FAILURES
    if _count(made.address_key) > most_from_address or _count(made.pair_key) > most_of_account_from_address:
        raise TooManyRequests(retry_after_seconds=WINDOW_SECONDS)
    too_many = _count(made.account_key) - soft_of_account
    if too_many > 0 and not cache.get(f"{made.pair_key}.known"):
        wait = min(2 ** min(too_many, 10), LONGEST_WAIT_SECONDS)
        # One try of all who wait passes in each interval; add() is atomic.
        if not cache.add(f"{made.account_key}.gate", 1, wait):
            raise TooManyRequests(retry_after_seconds=wait)
    return made


def count_code(user_pk: int) -> None:
    """Count one try of a one-time code, from wherever. Raises TooManyRequests before the code is looked at.

    Only who knows the password gets here, so nobody else locks the owner out. A password alone takes nothing of it back.
    """
    if settings.RATELIMIT_ENABLE and _count(f"sign-in.codes.{user_pk}") > settings.SIGN_IN_FAILURES[1]:
        raise TooManyRequests(retry_after_seconds=WINDOW_SECONDS)


def forget_codes(user_pk: int) -> None:
    """A right code takes the wrong ones back."""
    cache.delete(f"sign-in.codes.{user_pk}")


def _count(key: str, change: int = 1) -> int:
    cache.add(key, 0, WINDOW_SECONDS)
    try:
        return cache.incr(key, change)
    except ValueError:  # its time ran out between the two
        cache.set(key, change, WINDOW_SECONDS)
        return change
