"""Situations for training: each is set up by one click and undone by another. `training.json` says what they are.

A situation is made of what the sandbox can do anyway (faults, ways in which webhooks travel, the buyer whom PayPal's page
suggests) and of acts on the latest payment; there is no code of its own for any.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox import desk
from sandbox.core import Sandbox
from sandbox.webhooks import DEFAULT_MODE

RUNNING = "training"
SUGGESTED_BUYER = "suggested_paypal_buyer"
SITUATIONS: dict[str, dict[str, Any]] = {
    situation["key"]: situation
    for situation in json.loads(Path(__file__).with_name("training.json").read_text("utf-8"))
}
ACTS: dict[str, Callable[[Sandbox], desk.Done | None]] = {
    "dispute the latest payment": desk.dispute_latest,
    "return the latest refund": desk.return_latest_refund,
    "refund half of the latest payment": desk.refund_half_of_latest,
}


class TrainingError(ValueError):
    """A situation that cannot be set up or undone; the message says why."""


class NothingToActOnError(TrainingError):
    """The situation needs a payment or refund that is not there yet; the message says what to do first."""


def _known(key: str) -> dict[str, Any]:
    if key not in SITUATIONS:
        raise TrainingError(f"There is no situation {key[:80]}; GET /training.json lists them.")
    return SITUATIONS[key]


def running(box: Sandbox) -> dict[str, Any]:
    """What was set up and not undone, by key."""
    found: dict[str, Any] = box.state.setting(RUNNING, {})
    return {key: what for key, what in found.items() if key in SITUATIONS}


def listed(box: Sandbox) -> list[dict[str, Any]]:
    """Every situation, with `running` when it is set up and `left`: how many calls its faults will still meet."""
    now_running = running(box)
    left = {fault["id"]: fault["left"] for fault in box.faults.all()}
    return [
        {
            **situation,
            "running": now_running.get(key),
            "left": sum(left.get(number, 0) for number in now_running.get(key, {}).get("faults", [])),
        }
        for key, situation in SITUATIONS.items()
    ]


def start(box: Sandbox, key: str) -> dict[str, Any]:
    """Set a situation up; one that runs already begins anew. Raises TrainingError."""
    situation = _known(key)
    sets = situation["sets"]
    modes = sets.get("webhooks", [])
    with box.state.transaction():
        touched = {mode["provider"] for mode in modes}
        for other, what in running(box).items():
            if other == key or touched & set(what["providers"]):
                undo(box, other)
        done = None
        if "act" in sets:
            done = ACTS[sets["act"]](box)
            if done is None:
                raise NothingToActOnError(situation["needs"])
        faults = [box.faults.add(fault) for fault in sets.get("faults", [])]
        for mode in modes:
            box.webhooks.set_mode({**DEFAULT_MODE, **mode})
        if "buyer" in sets:
            box.state.set_setting(SUGGESTED_BUYER, sets["buyer"])
        what = {
            "since": time.time(), "faults": faults, "providers": sorted(touched), "did": done and done.text,
            "path": done and done.path,
        }  # fmt: skip
        box.state.set_setting(RUNNING, {**running(box), key: what})
    return what


def undo(box: Sandbox, key: str) -> None:
    """Take back what a situation set up: its faults, webhook modes (what was held goes out) and buyer. Money that moved stays moved."""
    sets = _known(key)["sets"]
    with box.state.transaction():
        now_running = running(box)
        what = now_running.pop(key, None)
        if what is None:
            return
        for number in what["faults"]:
            box.faults.clear(number)
        for provider in what["providers"]:
            box.webhooks.set_mode({**DEFAULT_MODE, "provider": provider, "release": True})
        if "buyer" in sets:
            box.state.run("DELETE FROM settings WHERE name = ?", SUGGESTED_BUYER)
        box.state.set_setting(RUNNING, now_running)


def undo_all(box: Sandbox) -> None:
    for key in running(box):
        undo(box, key)
