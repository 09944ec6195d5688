"""docs/faults.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings


def test_every_fault_has_its_number_once_and_every_proof_exists() -> None:
    root = Path(settings.BASE_DIR)
    page = (root / "docs/faults.md").read_text()
    assert [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == list(range(1, 63))
    proofs = re.findall(r"`([\w/.]+\.py)::(test_\w+)`", page)
    missing = [f"{path}::{name}" for path, name in proofs if f"def {name}(" not in (root / path).read_text()]
    assert not missing
    files = re.findall(r"`((?:deploy|docs)/[\w/.]+)`", page)
    assert all((root / one).exists() for one in files)
