"""Write var/sbom.json: what production is made of (CycloneDX), each package with its hashes and its licence; refuse what we may not use.

Run by `make sbom`. Licences are those that the installed packages name; a package of the list that this platform does not install has
none and is said to be so. Exits 1 for a licence that would bind our own code or that nobody can name.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements.txt"
TARGET = ROOT / "var" / "sbom.json"
FORBIDDEN = re.compile(
    r"\bAGPL|Affero|\bSSPL|Server Side Public|Commons Clause|\bBUSL|Business Source|(?<![AL])GPL", re.I
)
# Weak copyleft, used unchanged as a library, is allowed: LGPL, MPL.
LESSER = re.compile(r"LGPL|Lesser General Public|Library General Public", re.I)
# Packages whose metadata names no licence; what their source says.
KNOWN = {
    "django-paypal": "MIT",
    "paypal-server-sdk": "PayPal SDK License",  # PayPal's own: free to use and pass on for integrating with PayPal
}


def locked() -> dict[str, str]:
    """Return name -> version of every pin."""
    found = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\\n]+)", REQUIREMENTS.read_text(), re.M)
    return {_plain(name): version for name, version in found}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(name: str) -> str | None:
    """Return the licence that the installed package names; "" when it names none, None when it is not installed here."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return None
    said = about.get("License-Expression") or ""
    classes = [
        text.rpartition(" :: ")[2]
        for text in about.get_all("Classifier") or []
        if text.startswith("License ::")
    ]
    free = (about.get("License") or "").strip()
    return (
        said or " OR ".join(classes) or (free.splitlines()[0] if free else "") or KNOWN.get(_plain(name), "")
    )


def main() -> int:
    TARGET.parent.mkdir(exist_ok=True)
    command = ["cyclonedx-py", "requirements", str(REQUIREMENTS), "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-reproducible", "--validate", "-o", str(TARGET)]
    program = str(Path(sys.executable).parent / command[0])
    subprocess.run([program, *command[1:]], check=True, capture_output=True)  # noqa: S603 - our own words
    bill: dict[str, Any] = json.loads(TARGET.read_text())
    problems, elsewhere = [], []
    for part in bill["components"]:
        licence = licence_of(part["name"])
        if licence is None:
            elsewhere.append(part["name"])
            continue
        if not licence:
            problems.append(f"{part['name']} names no licence: look into its source and write it into KNOWN")
        elif FORBIDDEN.search(licence) and not LESSER.search(licence):
            problems.append(f"{part['name']} is under {licence}")
        part["licenses"] = [{"license": {"name": licence}}]
    TARGET.write_text(json.dumps(bill, indent=1) + "\n")
    named = {_plain(part["name"]): part["version"] for part in bill["components"]}
    problems += [
        f"{name}=={version} is locked and not in the bill"
        for name, version in locked().items()
        if named.get(name) != version
    ]
    hashed = sum("externalReferences" in part or "hashes" in part for part in bill["components"])
    summary = f"{len(named)} packages, {hashed} with hashes, {len(elsewhere)} of other platforms: {TARGET.relative_to(ROOT)}"
    print(summary)  # noqa: T201
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
