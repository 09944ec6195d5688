"""Schedule after schedule: play, calm, drain, judge; and the same on mutants, which must not get through."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from bench.chaos import drain, failpoints, oracle, schedule, world
from bench.chaos.faults import Result, Tally
from bench.chaos.mutants import MUTANTS, install
from bench.chaos.stack import Stack, forget_connections

EPOCH = 40  # schedules on one database; then a fresh one: reconciliation and rules read all of it
ENOUGH = 10
MOST_FOR_A_MUTANT = 30
Say = Callable[[str], None]


def schedules(
    stack: Stack, numbers: list[int], result: Result, *, seed: int, say: Say, keep_going: bool
) -> None:
    """Play them all, or until the oracle refuses one; with keep_going until it has refused ten. Counts in `result` as it goes."""
    began = time.monotonic()
    tokens: dict[str, str] = {}
    for number in numbers:
        if result.played % EPOCH == 0:
            tokens = fresh(stack)
        violations = one(stack, result.tally, tokens, seed=seed, number=number, say=say)
        result.played += 1
        if violations:
            result.refused += 1
            if not keep_going:
                break
            if result.refused >= ENOUGH:
                say(f"{ENOUGH} schedules were refused; that is enough to work on.")
                break
            tokens = fresh(stack)  # what went wrong must not colour the next
        if result.played % 25 == 0:
            took = (time.monotonic() - began) / result.played
            say(f"{result.played} schedules, {took:.1f} s each, {result.refused} refused")
    stack.end()


def fresh(stack: Stack, mutant: str = "") -> dict[str, str]:
    """A new database and sandbox, all processes up; returns everybody's bearer tokens."""
    stack.end()
    stack.begin(mutant=mutant, sql=MUTANTS[mutant].sql if mutant else "")
    oracle.EXPECTED.clear()
    emails = ["sam@example.com", "kim@example.com"] + [
        f"regular{n}@example.com" for n in range(world.CUSTOMERS)
    ]
    return {email: _token(stack, email) for email in emails}


def _token(stack: Stack, email: str) -> str:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{stack.site}/api/auth/token",
        data=json.dumps({"email": email, "password": world.PASSWORD}).encode(),
        headers={"Content-Type": "application/json", "X-Real-IP": "10.0.0.1"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - as above
        return str(json.load(answer)["access"])


def one(stack: Stack, tally: Tally, tokens: dict[str, str], *, seed: int, number: int, say: Say) -> list[str]:
    """One schedule from begin to verdict; the violations, which are printed with all that is needed to see them again."""
    plan = schedule.draw(seed, number)
    began = time.monotonic()
    journal, _scene = schedule.play(plan, stack, tally, tokens)
    played = time.monotonic()
    if journal.broke_database:
        forget_connections()
    early = oracle.oversold() + oracle.payable_twice()
    schedule.count_what_fired(plan, stack, tally)
    drain.calm(stack)
    left = drain.settle_down(stack)
    drained = time.monotonic()
    try:
        violations = oracle.judge(stack, journal, left, early)
    except drain.LOST:  # a connection to a server that was restarted
        forget_connections()
        violations = oracle.judge(stack, journal, left, early)
    fired = tally.close(survived=not violations)
    if violations:
        say(f"\nREFUSED seed {seed} schedule {number}: python -m bench.chaos --seed {seed} --only {number}")
        say(json.dumps(plan.told(), indent=1, default=str))
        say(f"fired: {dict(fired)}  notes: {journal.notes}")
        for violation in violations[:40]:
            say(f"  {violation}")
        say(f"  evidence: {keep_evidence(stack, plan.number, plan.told(), journal, violations)}")
    elif VERBOSE:
        say(
            f"{number:>4} {plan.acts} {plan.webhooks} kills={plan.kills} events={plan.events} played {played - began:.1f} "
            f"drained {drained - played:.1f} judged {time.monotonic() - drained:.1f} {dict(fired)} {journal.notes}"
        )
    return violations


VERBOSE = False


def keep_evidence(
    stack: Stack, number: int, plan: dict[str, Any], journal: Any, violations: list[str]
) -> str:
    """The plan, what people saw, the sandbox's ledger, its deliveries and our rows, in one file that outlives the run."""
    from bench.chaos.evidence import rows

    path = stack.folder / f"evidence-{number}.json"
    path.write_text(
        json.dumps(
            {
                "plan": plan, "violations": violations, "claims": journal.claims, "wrong": journal.wrong,
                "notes": journal.notes, "ledger": stack.ask("/ledger.json"),
                "deliveries": stack.ask("/webhooks.json?limit=1000")["deliveries"], "rows": rows(f"s{number}"),
            },
            indent=1, default=str,
        )
    )  # fmt: skip
    return str(path)


def _telling(seed: int, wants: tuple[str, ...]) -> list[int]:
    """The first numbers of the seed whose acts can show what a mutant does."""
    numbers = range(MOST_FOR_A_MUTANT * len(schedule.THEMES))
    telling = [n for n in numbers if not wants or set(wants) & set(schedule.draw(seed, n).acts)]
    return telling[:MOST_FOR_A_MUTANT]


def mutants(stack: Stack, names: list[str], *, seed: int, say: Say) -> bool:
    """Remove one safety at a time and play until the oracle notices. False when a mutant got through."""
    results = []
    for name in names or MUTANTS:
        tokens = fresh(stack, name)
        install(name)
        caught, rule, tally = 0, "", Tally()
        began = time.monotonic()
        for number in _telling(seed, MUTANTS[name].wants):
            quiet: list[str] = []
            caught += 1
            violations = one(stack, tally, tokens, seed=seed, number=number, say=quiet.append)
            if violations:
                rule = violations[0]
                break
        failpoints.restore()
        line = f"caught by schedule {caught:>2}: {rule[:110]}" if rule else f"GOT THROUGH {caught} schedules"
        say(f"{name:<22} {line}  ({time.monotonic() - began:.0f} s)")
        results.append(bool(rule))
    stack.end()
    say(f"\n{sum(results)} of {len(results)} mutants were caught")
    return all(results)
