"""A schedule: who comes, how the providers lie, what dies. Drawn from the seed alone, so that the same number is the same plan."""

from __future__ import annotations

import contextlib
import random
import threading
import time
import traceback
import urllib.error
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench.chaos import acts, failpoints, world
from bench.chaos.customers import Journal, Person, Scene
from bench.chaos.faults import Tally
from bench.chaos.stack import CURRENCIES, Stack
from foundation.database import DatabaseError

CAPACITY = 2
LONGEST_SECONDS = 120.0
# Everybody's turn comes: a run of as many schedules as there are acts plays each at least once.
THEMES = tuple(acts.ACTS)
OFTEN = ("card", "card", "paypal", "double_click", "saved_card", "staff_refunds", "cancelled_by_both")
OPERATIONS = (
    "stripe.payment_intents.create", "stripe.payment_intents.confirm", "stripe.payment_intents.retrieve",
    "stripe.payment_intents.cancel", "stripe.refunds.create", "stripe.refunds.list", "stripe.customers.create",
    "paypal.orders.create", "paypal.orders.get", "paypal.orders.capture", "paypal.captures.refund", "paypal.oauth2.token",
    "paypal.webhooks.verify", "sendgrid.mail.send", "twilio.messages.create",
)  # fmt: skip
WRITES = frozenset(
    name for name in OPERATIONS if name.endswith((".create", ".confirm", ".cancel", ".capture", ".refund"))
)
LIES: tuple[dict[str, Any], ...] = (
    {"behaviour": "do_then_timeout", "seconds": 1.2}, {"behaviour": "do_then_500"}, {"behaviour": "do_then_reset"},
    {"behaviour": "refuse", "status": 500}, {"behaviour": "refuse", "status": 503}, {"behaviour": "429"},
    {"behaviour": "slow", "seconds": 0.4},
)  # fmt: skip
WEBHOOKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("in order", {}),
    ("ten times", {"duplicate": 9}),
    ("any order", {"shuffle": True}),
    ("in order", {}),
    ("lost", {"mode": "drop"}),
    ("late", {"delay_seconds": 2.0, "shuffle": True, "duplicate": 1}),
    ("skewed", {"skew_seconds": 600.0}),
    ("in order", {}),
    ("forged", {"forge": True}),
)
EVENTS = ("restart postgres", "crash postgres", "kill web", "kill worker", "kill redis", "flush redis")


@dataclass(frozen=True)
class Plan:
    seed: int
    number: int
    currency: str
    acts: tuple[str, ...]
    lies: tuple[dict[str, Any], ...]
    webhooks: str
    mode: dict[str, Any]
    kills: tuple[str, ...]
    events: tuple[tuple[int, str], ...]  # after so many calls of all people together

    def told(self) -> dict[str, Any]:
        return asdict(self)


def draw(seed: int, number: int) -> Plan:
    rng = random.Random(f"{seed}/{number}")  # noqa: S311 - play, not secrecy
    theme = THEMES[number % len(THEMES)]
    company = [rng.choice(THEMES if rng.random() < 0.5 else OFTEN) for _person in range(rng.randint(1, 2))]
    lies = [
        {"operation": rng.choice(OPERATIONS), "times": rng.randint(1, 2), **rng.choice(LIES)}
        for _lie in range(rng.choice([0, 1, 1, 2, 3]))
    ]
    webhooks, mode = WEBHOOKS[(number + number // len(WEBHOOKS)) % len(WEBHOOKS)]
    kills = [rng.choice(tuple(failpoints.POINTS)) for _kill in range(rng.choice([0, 0, 1, 1, 2]))]
    events = [(rng.randint(2, 14), rng.choice(EVENTS)) for _event in range(rng.choice([0, 0, 0, 0, 1]))]
    if theme == "by_pages" and rng.random() < 0.5:
        events = [(3, "kill redis")]  # pages count their callers there
    return Plan(
        seed, number, rng.choices(CURRENCIES, (4, 3, 2, 1))[0], (theme, *company), tuple(lies), webhooks, dict(mode), tuple(kills),
        tuple(sorted(events)),
    )  # fmt: skip


class Director:
    """Counts the calls of all people; when the plan's moment comes, the main thread breaks something.

    The main thread, because a child that dies with its parent dies with the thread that started it.
    """

    def __init__(self, plan: Plan, stack: Stack, tally: Tally, journal: Journal) -> None:
        self.stack, self.tally, self.journal = stack, tally, journal
        self.calls = 0
        self.lock = threading.Lock()
        self.left = list(plan.events)

    def step(self) -> None:
        with self.lock:
            self.calls += 1

    def direct(self, people: list[threading.Thread]) -> None:
        """Break things in their turn until all people have left."""
        deadline = time.monotonic() + LONGEST_SECONDS
        while any(person.is_alive() for person in people):
            if self.left and self.left[0][0] <= self.calls:
                event = self.left.pop(0)[1]
                try:
                    self._do(event)
                except (OSError, DatabaseError) as error:
                    self.journal.notes.append(f"{event}: {type(error).__name__} {error}")
            if time.monotonic() > deadline:
                late = [person.name for person in people if person.is_alive()]
                self.journal.wrong.append(f"{late} never came to an end")
                return
            time.sleep(0.02)

    def _do(self, event: str) -> None:
        what, _space, whom = event.partition(" ")
        if whom == "postgres":
            self.journal.broke_database = True
            self.stack.restart_postgres(crash=what == "crash")
            self.tally.fired(6)
        elif event == "kill web":
            if self.stack.kill_one_of("web"):
                self.tally.killed("web, any time")
        elif event == "kill worker":
            if self.stack.kill_one_of("workers"):
                self.tally.killed("worker, any time")
        elif whom == "redis" and self.stack.redis_port:
            if what == "flush":
                self.stack.flush_redis()
            else:
                self.stack.kill_redis()
                time.sleep(0.7)
                self.stack.start_redis()
            self.tally.fired(38)


def play(plan: Plan, stack: Stack, tally: Tally, tokens: dict[str, str]) -> tuple[Journal, Scene]:
    """Let the people come and everything go wrong; returns when all have left."""
    journal = Journal()
    name = f"s{plan.number}"
    director = Director(plan, stack, tally, journal)
    place = world.make_place(name, currency=plan.currency, capacity=CAPACITY)
    scene = Scene(stack, tally, journal, place, name, tokens, director.step)
    # Mail and SMS reports travel as ever; what payments' webhooks do is the plan's.
    for provider in ("stripe", "paypal"):
        stack.ask("/webhooks/mode", {**plan.mode, "provider": provider})
    for lie in plan.lies:
        stack.ask("/faults", lie)
    for point in plan.kills:
        stack.arm(point)
    threads = []
    for place_in_line, act in enumerate(plan.acts):
        person = Person(scene, place_in_line, f"{plan.seed}/{plan.number}/{place_in_line}")
        threads.append(threading.Thread(target=_act, args=(acts.ACTS[act], person), daemon=True, name=act))
    for thread in threads:
        thread.start()
    director.direct(threads)
    return journal, scene


def _act(act: Callable[[Person], None], person: Person) -> None:
    from django.db import connection

    try:
        act(person)
    except (OSError, urllib.error.URLError) as error:
        # A person whom nothing answers gives up; what it was stands in the notes.
        person.scene.journal.notes.append(f"{act.__name__} gave up: {type(error).__name__} {error}")
    except Exception as error:
        # An answer without what it should hold, or a mistake in the act: either way what was to be seen was not.
        where = traceback.extract_tb(error.__traceback__)[-1]
        person.scene.journal.wrong.append(
            f"{act.__name__} stumbled in {where.name}, line {where.lineno}: {type(error).__name__} {error}"
        )
    finally:
        with contextlib.suppress(Exception):
            connection.close()
        person.session.close()


def count_what_fired(plan: Plan, stack: Stack, tally: Tally) -> None:
    """Look at the sandbox's script and the fail points: only what was used up or died counts."""
    used = [line for line in stack.ask("/faults")["faults"] if line["used"]]
    for line in used:
        write = line["operation"] in WRITES
        message = line["operation"].startswith(("sendgrid", "twilio"))
        lied = line["behaviour"].startswith("do_then")
        if message and lied:
            tally.fired(39, line["used"])
        elif write and line["behaviour"] == "do_then_timeout":
            tally.fired(2, line["used"])
            if plan.webhooks in ("in order", "ten times", "any order"):
                tally.fired(28, line["used"])  # the events are posted while the caller still waits
        elif write and lied:
            tally.fired(3, line["used"])
    for point in stack.take_fired():
        tally.killed(point)
        if point in (
            "after-create",
            "after-capture",
            "after-charge",
            "after-refund",
            "before-record",
            "in-settle",
        ):
            tally.fired(4)
        elif point in ("after-intent", "before-capture", "before-refund"):
            tally.fired(5)
    sent = stack.ask("/webhooks.json?limit=400")["deliveries"]
    posted = [one for one in sent if one["provider"] in ("stripe", "paypal") and one["attempts"]]
    for mode, fault in (("ten times", 25), ("any order", 26), ("forged", 29), ("skewed", 31)):
        if plan.webhooks == mode and posted:
            tally.fired(fault)
    if plan.webhooks == "lost" and any(one["status"] == "dropped" for one in sent):
        tally.fired(27)
    if plan.currency != "GBP":
        tally.fired(16)
