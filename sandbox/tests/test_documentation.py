"""docs/sandbox.md: every line to paste works, and its tables are the sandbox's own."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import requests

from sandbox.operations import BEHAVIOURS
from sandbox.paypal.buyers import BUYERS
from sandbox.screens import grouped
from sandbox.stripe.cards import CARDS
from sandbox.tests.conftest import ROOT, Process, Receiver
from sandbox.tests.paypal import Shop
from sandbox.tests.test_training import PAY
from sandbox.training import SITUATIONS
from sandbox.webhooks import AGAIN, DEFAULT_MODE

TEXT = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
# curl that fails when the answer is an error, and the address of the sandbox at hand.
SHELL = (
    'set -euo pipefail\ncurl() {{ command curl --fail-with-body "$@"; echo >&2; }}\nSANDBOX={url}\n{block}'
)
# Buyers whose words on the page are other than their label on the approval page.
DESCRIBED_AS = {
    "at_once": "it pays at once",
    "review": "is held for review (pending for a day",
    "echeck": "eChecks",
}

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None, reason="The lines are for curl, which is not here."
)


@needs_curl
def test_every_line_to_paste_works(box: Process, receiver: Receiver) -> None:
    assert sum(block.count("curl") for block in BLOCKS) > 30
    for block in BLOCKS:
        box.post("/reset", {"endpoints": True})
        box.post("/webhooks/endpoints", {"provider": "stripe", "url": receiver.url, "secret": "whsec_x"})
        box.stripe().v1.payment_intents.create(PAY)
        Shop(box).paid(buyer="review")
        # The first fault has the number that the page names.
        box.post(
            "/faults", {"operation": "stripe.never.called", "behaviour": "ok"}
        ) if "faults/1" in block else None
        first = box.get("/faults")["faults"]
        lines = block.replace("/faults/1", f"/faults/{first[0]['id']}") if first else block
        ended = subprocess.run(
            ["bash", "-c", SHELL.format(url=box.url, block=lines)], capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, (block, ended.stdout, ended.stderr)
        assert ended.stdout.count("{") > 0


@needs_curl
def test_what_a_line_does_is_what_it_says(box: Process) -> None:
    """Not only 200: the dashboards' lines move money."""
    box.stripe().v1.payment_intents.create(PAY)
    Shop(box).paid(buyer="review")
    for block in BLOCKS:
        if "-disputes" in block:
            subprocess.run(
                ["bash", "-c", SHELL.format(url=box.url, block=block)],
                check=True,
                capture_output=True,
                timeout=60,
            )
    ledger = box.get("/ledger.json")
    assert ledger["providers"]["stripe"]["usd"]["refunded"] == 0, "the bank returned it"
    assert ledger["providers"]["stripe"]["usd"]["disputed"] == 0, "won"
    assert ledger["providers"]["paypal"]["usd"]["refunded"] == 100
    assert ledger["providers"]["paypal"]["usd"]["disputed"] == 4_900, "lost"


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.number)
def test_every_card_is_in_the_table(card: object) -> None:
    assert f"| `{grouped(card.number)}` | {card.note} |" in TEXT  # type: ignore[attr-defined]


def test_the_other_tables_are_whole() -> None:
    for name, words in BEHAVIOURS.items():
        assert f"| `{name}` | {words} |" in TEXT
    for key, situation in SITUATIONS.items():
        assert f"| {situation['title']} | `{key}` | {situation['story']} |" in TEXT
    for name in (*DEFAULT_MODE, *AGAIN):
        assert f"`{name}`" in TEXT
    described = TEXT.partition("## PayPal buyers")[2].partition("\n## ")[0].replace("\n", " ")
    for name, words in BUYERS.items():
        assert DESCRIBED_AS.get(name, words) in described, f"describe the buyer {name} in docs/sandbox.md"


def test_the_pictures_are_there() -> None:
    for name in re.findall(r'src="([^"]+)"', TEXT):
        assert (ROOT / "docs" / name).stat().st_size < 400_000


def test_the_readme_leads_here() -> None:
    assert "docs/sandbox.md" in (ROOT / "README.md").read_text("utf-8")


def test_other_programs_may_post_without_naming_json(box: Process) -> None:
    """curl -d says that it sends a form; the controls read JSON whatever it says."""
    answer = requests.post(
        f"{box.url}/clock",
        data='{"advance_seconds": 5}',
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        timeout=10,
    )
    assert answer.json()["offset_seconds"] == 5
