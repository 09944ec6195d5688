"""Named places where the process kills itself with SIGKILL, once for each file that arms them. Product code knows nothing of it.

Installed in web and worker processes by their entries here. `<control>/<point>.<n>` arms a point; whoever renames the file dies.
"""

from __future__ import annotations

import importlib
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

BEFORE, AFTER = "before", "after"
# point -> (when, what is wrapped); the names are those of the three steps: intent, call, record.
POINTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "before-intent": (BEFORE, ("payments.services.checkout:_intend",)),
    "after-intent": (AFTER, ("payments.services.checkout:_intend",)),
    "after-create": (
        AFTER,
        (
            "payments.gateways.stripe:StripeGateway.create_payment",
            "payments.gateways.paypal:PayPalGateway.create_payment",
        ),
    ),
    "before-capture": (BEFORE, ("payments.gateways.paypal:PayPalGateway.capture_payment",)),
    "after-capture": (AFTER, ("payments.gateways.paypal:PayPalGateway.capture_payment",)),
    "after-charge": (AFTER, ("payments.gateways.stripe:StripeGateway.charge_method",)),
    "before-record": (BEFORE, ("payments.services.settle:record",)),
    "in-settle": (AFTER, ("payments.services.settle:_honour",)),
    "after-record": (AFTER, ("payments.services.settle:record",)),
    "before-refund": (
        BEFORE,
        ("payments.gateways.stripe:StripeGateway.refund", "payments.gateways.paypal:PayPalGateway.refund"),
    ),
    "after-refund": (
        AFTER,
        ("payments.gateways.stripe:StripeGateway.refund", "payments.gateways.paypal:PayPalGateway.refund"),
    ),
    "in-refund-record": (AFTER, ("payments.services.refund:_apply",)),
    "in-cancellation": (BEFORE, ("payments.services.refund:refund_cancellation",)),
    "in-change": (AFTER, ("bookings.services.amend:_make",)),
    "in-change-refund": (BEFORE, ("payments.services.refund:refund_amendment",)),
    "in-inbox": (AFTER, ("payments.services.inbox:_look",)),
    "after-note": (AFTER, ("payments.webhooks.stripe:note", "payments.webhooks.paypal:note")),
    "after-message": (
        AFTER,
        (
            "communications.senders.email:EmailSender.send",
            "communications.senders.sms:SmsSender.send",
        ),
    ),
}

# Within a transaction, where two who should wait for each other could overtake: some linger here for a moment.
PAUSES = (
    "bookings.models:Occupancy.objects.create",
    "bookings.services.hold:_refuse_too_many_holds",
    "bookings.services.amend:held_amendment",
    "bookings.services.cancel:_refuse_unless_cancellable",
    "payments.services.checkout:_live_payment",
    "payments.services.refund:preview_refund",
    "payments.services.settle:_difference",
    "payments.services.settle:_honour",
)
LONGEST_PAUSE_SECONDS = 0.03


_BEFORE: list[tuple[Any, str, Any]] = []


def replace(target: str, make: Callable[[Any], Any]) -> None:
    """Put make(what was there) where "module:Class.name" is; a name that is not there fails loudly."""
    module_name, _colon, path = target.partition(":")
    owner: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    real = getattr(owner, name)
    _BEFORE.append((owner, name, vars(owner).get(name, real)))
    setattr(owner, name, make(real))


def restore() -> None:
    """Put everything back that replace() took the place of in this process."""
    while _BEFORE:
        owner, name, real = _BEFORE.pop()
        setattr(owner, name, real)


def install(control: Path) -> None:
    """Wrap every point. Call after django.setup() and before any request or job."""
    for target in PAUSES:
        replace(target, _lingering)
    for point, (when, targets) in POINTS.items():
        for target in targets:
            replace(target, partial(_watched, control=control, point=point, when=when))


def _lingering(real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)
    def lingering(*args: Any, **kwargs: Any) -> Any:
        answer = real(*args, **kwargs)
        time.sleep(random.choice((0.0, random.uniform(0.0, LONGEST_PAUSE_SECONDS))))  # noqa: S311 - play
        return answer

    return lingering


def _watched(real: Callable[..., Any], *, control: Path, point: str, when: str) -> Callable[..., Any]:
    @wraps(real)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if when == BEFORE:
            _die_if_armed(control, point)
        answer = real(*args, **kwargs)
        if when == AFTER:
            _die_if_armed(control, point)
        return answer

    return watched


def _die_if_armed(control: Path, point: str) -> None:
    for armed in control.glob(f"{point}.*"):
        try:
            armed.rename(control / "fired" / f"{armed.name}.{os.getpid()}")
        except FileNotFoundError:  # another process was faster
            continue
        os.kill(os.getpid(), signal.SIGKILL)
