"""What the deployment must know about the site: how it reads its settings, and which of its addresses are keys."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import environ
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

DEPLOY = Path(__file__).resolve().parent.parent.parent / "deploy"
SETTINGS = "A=1\r\nexport B='x y'\nC=\"q\"\nD=it's\nE=a#b&c|d\nF='\nG=\nH=twice\nH=last\nI=no line end"
KEYS = {"token", "key", "uuid"}


def shell(code: str, *arguments: str) -> str:
    script = f"set -Eeuo pipefail; shopt -s inherit_errexit; . {DEPLOY}/lib/common.sh; . {DEPLOY}/lib/proxy.sh; {code}"
    return subprocess.run(
        ["bash", "-c", script, "bash", *arguments], check=True, capture_output=True, text=True
    ).stdout


def test_settings_are_read_as_the_site_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "parking.env"
    file.write_bytes(SETTINGS.encode())
    read: dict[str, str] = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", read)
    environ.Env.read_env(file)
    for name in "ABCDEFGHI":
        assert shell('ENV_FILE=$1; setting "$2"', str(file), name) == read[name], name


def test_every_address_that_is_a_key_is_cut_out_of_the_log() -> None:
    found = re.search(r'"~(\^\(\?<kept>.*)" \$\{kept\}-;', (DEPLOY / "nginx/nginx.conf").read_text())
    assert found
    cut = re.compile(found[1].replace("?<kept>", "?P<kept>"))
    keys = [
        route for route in routes(get_resolver().url_patterns) if KEYS & set(re.findall(r"(\w+)>", route))
    ]
    assert len(keys) > 5
    for route in keys:
        path = "/" + re.sub(r"[\^$\\]", "", re.sub(r"\(\?P<\w+>[^)]*\)|<[^>]*>", "secret", route))
        kept = cut.match(path)
        assert kept and not kept["kept"].endswith("secret"), path


def routes(patterns: list[URLPattern | URLResolver], before: str = "") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            if not route.startswith("admin/"):
                yield from routes(pattern.url_patterns, route)
        else:
            yield route
