"""What web and worker processes of the harness have in common: Django, the fail points, and the mutant that is on trial."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings

from bench.chaos import failpoints, mutants


def prepare() -> None:
    """Wrap the product's functions. Call after Django is set up."""
    if settings.DEPLOYED:
        raise SystemExit("bench.chaos breaks things: it does not run with ENVIRONMENT=production.")
    mutants.install(os.environ.get("CHAOS_MUTANT", ""))
    failpoints.install(Path(os.environ["CHAOS_CONTROL"]))
