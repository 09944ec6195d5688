"""What the scripts, their templates and their documents say of each other. That they work is shown by `make lab`."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import environ
import pytest
from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver

SETTINGS = "A=1\r\nexport B='x y'\nC=\"q\"\nD=it's\nE=a#b&c|d\nF='\nG=\nH=twice\nH=last\nI=no line end"
KEYS = {"token", "key", "uuid"}
DEPLOY: Path = settings.BASE_DIR / "deploy"
LIBRARY = "\n".join(path.read_text() for path in sorted((DEPLOY / "lib").glob("*.sh")))


def bash(script: str, **environment: str) -> str:
    """Run a script with all the functions of the deployment, and none of its effects."""
    sources = "".join(f". {path}; " for path in sorted((DEPLOY / "lib").glob("*.sh")))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{sources}trap - ERR; {script}"],
        capture_output=True, text=True, check=False, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_is_in_the_help_and_in_the_guide() -> None:
    script = (DEPLOY / "deploy.sh").read_text()
    commands = set(re.search(r"\n        (install \| [^)]*)\)", script).group(1).split(" | ")) | {"--check"}  # type: ignore[union-attr]
    told = bash(f"bash {DEPLOY}/deploy.sh help")
    guide = (settings.BASE_DIR / "docs/deployment.md").read_text()
    for command in commands:
        assert re.search(rf"^  {re.escape(command)}\b", told, re.MULTILINE), command
        assert re.search(
            rf"(parking|deploy\.sh|`){re.escape(' ' + command)}|`{re.escape(command)}`", guide
        ), command


def test_the_example_has_exactly_the_options_that_are_read() -> None:
    example = set(re.findall(r"^# ([A-Z_]+)=", (DEPLOY / "deploy.conf.example").read_text(), re.MULTILINE))
    body = re.search(r"read_configuration\(\) \{(.*?)\n\}", LIBRARY, re.DOTALL).group(1)  # type: ignore[union-attr]
    read = set(re.findall(r"\b([A-Z][A-Z_]+)=", body.split("shellcheck source")[0]))
    assert example == read


def test_every_place_of_a_template_is_filled() -> None:
    for kind in ("nginx", "systemd", "postgresql", "redis"):
        for template in (DEPLOY / kind).iterdir():
            for name in re.findall(r"@([A-Z_]{3,})@", template.read_text()):
                assert f'"{name}=' in LIBRARY, f"{template.name}: {name}"


def test_settings_are_read_as_the_site_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "parking.env"
    file.write_bytes(SETTINGS.encode())
    read: dict[str, str] = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", read)
    environ.Env.read_env(file)
    for name in "ABCDEFGHI":
        assert bash(f'ENV_FILE={file}; setting "{name}"') == read[name], name


def test_the_sites_host_is_that_of_its_address(tmp_path: Path) -> None:
    file = tmp_path / "parking.env"
    file.write_text('SITE_URL="https://parking.example.com:8443/"')
    assert bash(f"ENV_FILE={file}; site_host") == "parking.example.com"


def test_filling_a_template_takes_values_as_they_are() -> None:
    told = bash("""fill 'NAME=a&b|c\\d "e" $f' 'OTHER=x' <<< 'to @NAME@ and @OTHER@, not @NOBODY@'""")
    assert told == 'to a&b|c\\d "e" $f and x, not @NOBODY@\n'


def test_a_file_is_written_only_when_it_differs(tmp_path: Path) -> None:
    owner = bash('printf \'%s:%s\' "$(id -un)" "$(id -gn)"')
    file = tmp_path / "file"
    write = f"printf content | write_file {file} 600 {owner} && echo changed || echo same"
    assert [bash(write), bash(write)] == ["changed\n", "same\n"]
    file.chmod(0o644)
    assert bash(write) == "changed\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_wrong_option_is_named(tmp_path: Path) -> None:
    conf = tmp_path / "deploy.conf"
    for written, named in (('ROLES="web mail"', "mail"), ("KEEP_RELEASES=many", "KEEP_RELEASES")):
        conf.write_text(written)
        told = bash(f"CONF_FILE={conf}; (read_configuration) 2>&1 || true")
        assert named in told and "error:" in told


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
