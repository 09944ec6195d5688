"""A Debian machine in a container with an init of its own, and the network between it and the world outside.

Needs root and the Debian packages debootstrap, systemd-container and slirp4netns. The machine's disk is an overlay over a base that
is made once; it outlives a kill, as a real disk does. Only processes that this module started are ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PACKAGES = "systemd,systemd-sysv,dbus,ca-certificates,iproute2,procps"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OUTSIDE = "10.77.0.3"  # the world: customers, providers, the certificate authority
RESOLVER = "10.0.2.3"  # slirp4netns's
# What a server at any hoster brings along, so that packages come from where this machine gets its own.
PACKAGE_SOURCES = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/pip.conf",
    "/etc/xdg/pip",
)
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


class Failed(Exception):
    """A command in the machine failed; the message holds the end of what it said."""


def run(
    *command: str, check: bool = True, stdin: IO[bytes] | int = subprocess.DEVNULL, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command of this machine's and return what it said. Raises Failed when it ended with an error and `check` holds."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=stdin,
        **more,
    )
    if check and done.returncode:
        raise Failed(
            f"{' '.join(command[:6])} ... ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return done


def base(folder: Path, release: str = "bookworm") -> Path:
    """Return a clean Debian root, made by debootstrap the first time (about a minute)."""
    root = folder / f"base-{release}"
    if (root / ".complete").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    make = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(root))
    if run(*make, check=False).returncode:  # a mirror that hiccups is no finding
        shutil.rmtree(root, ignore_errors=True)
        run(*make)
    for source in PACKAGE_SOURCES:
        if Path(source).is_dir():
            shutil.copytree(source, root / source[1:], dirs_exist_ok=True)
        elif Path(source).exists():
            (root / source[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / source[1:])
    if (root / "etc/apt/sources.list.d/debian.sources").exists():
        (root / "etc/apt/sources.list").write_text("")
    # The lab's disk need not survive a power cut during the installation of packages.
    (root / "etc/dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\n")
    with (root / "etc/systemd/system.conf").open("a") as settings:
        settings.write("DefaultTimeoutStartSec=60s\n")
    (root / ".complete").touch()
    return root


def local_packages() -> list[str]:
    """The folders of this machine that its pip is told to look into; none where it asks the network only."""
    told = run(sys.executable, "-m", "pip", "config", "list", check=False).stdout
    found = [Path(path) for path in re.findall(r"(?:file://|=')(/[^\s']+)", told)]
    # An index's pages link to the files beside it.
    folders = {path.parent if path.name == "simple" else path for path in found if path.is_dir()}
    return sorted(str(folder) for folder in folders)


class World:
    """The network namespace that customers, providers and the certificate authority live in."""

    def __init__(self) -> None:
        self.name = f"lab-{os.getpid()}"  # two rehearsals on one machine do not meet
        self.hosts: dict[str, str] = {}
        self.children: list[subprocess.Popen[bytes]] = []

    def begin(self, hosts: dict[str, str]) -> None:
        """Make the namespace; `hosts` are the names that are known in it."""
        self.end()
        self.hosts = hosts
        run("ip", "netns", "add", self.name)
        for words in (
            "link set lo up",
            "link add lan type bridge",
            f"addr add {OUTSIDE}/24 dev lan",
            "link set lan up",
        ):
            run("ip", "-n", self.name, *words.split())
        folder = Path("/etc/netns") / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{address} {host}\n" for host, address in hosts.items())
        )
        (folder / "resolv.conf").write_text("")

    def command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        return run(*self.command(*command), check=check, **more)

    def start(self, *command: str, log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program in the world; it ends with the lab."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                self.command(*command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def end(self) -> None:
        for child in reversed(self.children):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        self.children = []
        run("ip", "netns", "del", self.name, check=False)
        shutil.rmtree(Path("/etc/netns") / self.name, ignore_errors=True)


class Machine:
    """One server. `folder` holds its disk and its logs."""

    def __init__(self, folder: Path, name: str, address: str, world: World) -> None:
        self.folder, self.name, self.address, self.world = folder / name, name, address, world
        self.root = self.folder / "root"
        self.leader = 0
        self.init: subprocess.Popen[bytes] | None = None
        self.slirp: subprocess.Popen[bytes] | None = None

    def make_disk(self, lower: Path) -> None:
        """A new, empty disk over the base."""
        self.unmount()
        shutil.rmtree(self.folder, ignore_errors=True)
        for part in ("root", "upper", "work", "offsite"):
            (self.folder / part).mkdir(parents=True)
        self.lower = lower
        self.mount()

    def mount(self) -> None:
        options = f"lowerdir={self.lower},upperdir={self.folder / 'upper'},workdir={self.folder / 'work'}"
        run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))

    def unmount(self) -> None:
        run("umount", "--lazy", str(self.root), check=False)

    def boot(self) -> float:
        """Boot, and connect to the world and to the package sources; return how many seconds the boot took."""
        began = time.monotonic()
        binds = [f"--bind-ro={path}" for path in (AUTHORITIES, *local_packages()) if Path(path).exists()]
        packages = (
            self.folder.parent.parent / "apt-cache"
        )  # Debian's files need not be fetched for each rehearsal
        packages.mkdir(exist_ok=True)
        binds.append(f"--bind={packages}:/var/cache/apt/archives")
        with (self.folder / "console.log").open("ab") as console:
            self.init = subprocess.Popen(
                [
                    "systemd-nspawn",
                    "--directory",
                    str(self.root),
                    "--machine",
                    self.name,
                    "--register=no",
                    "--keep-unit",
                    "--quiet",
                    "--boot",
                    "--private-network",
                    "--resolv-conf=off",
                    "--timezone=off",
                    "--link-journal=no",
                    f"--bind={self.folder / 'offsite'}:/mnt/offsite",
                    *binds,
                    "--capability=CAP_NET_ADMIN",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.leader = self._leader_of(self.init.pid)
        self._connect()
        self.wait_until_up()
        return time.monotonic() - began

    def _leader_of(self, pid: int) -> int:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        for _try in range(200):
            # The init is nspawn's only child that has a process-id namespace of its own.
            for child in children.read_text().split() if children.exists() else []:
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                        return int(child)
                    inner = self._leader_below(int(child))
                    if inner:
                        return inner
            if self.init is not None and self.init.poll() is not None:
                raise Failed(
                    f"The machine did not boot:\n{(self.folder / 'console.log').read_text()[-2000:]}"
                )
            time.sleep(0.05)
        raise Failed("The machine's first process was not found.")

    def _leader_below(self, pid: int) -> int:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if Path(f"/proc/{child}/ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                return int(child)
        return 0

    def _connect(self) -> None:
        self.write("/etc/resolv.conf", f"nameserver {RESOLVER}\n")
        inside, outside = f"in-{self.name}"[:15], f"out-{self.name}"[:15]
        run("ip", "link", "del", outside, check=False)
        run("ip", "-n", self.world.name, "link", "del", outside, check=False)
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", str(self.leader))
        run("ip", "link", "set", outside, "netns", self.world.name)
        run("ip", "-n", self.world.name, "link", "set", outside, "master", "lan", "up")
        for words in (
            f"addr add {self.address}/24 dev {inside}",
            f"link set {inside} up",
            "link set lo up",
        ):
            run("nsenter", "-t", str(self.leader), "-n", "ip", *words.split())
        self.slirp = subprocess.Popen(
            ["slirp4netns", "--configure", "--mtu=1400", "--disable-host-loopback", str(self.leader), "tap0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_until_up(self) -> None:
        state = ""
        for _try in range(300):
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.1)
        raise Failed(f"The machine is still {state or 'silent'} after 30 s.")

    def enter(self, *command: str, env: dict[str, str] | None = None) -> list[str]:
        given = [f"{name}={value}" for name, value in (env or {}).items()]
        # A clean environment: this machine's certificate variables would break pip inside.
        return [
            "nsenter",
            "-t",
            str(self.leader),
            "-a",
            "--",
            "env",
            "-i",
            f"PATH={PATH}",
            "HOME=/root",
            "LANG=C.UTF-8",
            *given,
            *command,
        ]

    def run(
        self, *command: str, check: bool = True, env: dict[str, str] | None = None, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        return run(*self.enter(*command, env=env), check=check, **more)

    def shell(self, script: str, *, check: bool = True, env: dict[str, str] | None = None) -> str:
        """Run a shell script inside and return what it printed. Raises Failed."""
        done = self.run("bash", "-euo", "pipefail", "-c", script, check=check, env=env)
        return done.stdout + ("" if check else done.stderr)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        Path(f"/proc/{self.leader}/root{path}").write_text(text)
        Path(f"/proc/{self.leader}/root{path}").chmod(mode)

    def read(self, path: str) -> str:
        return Path(f"/proc/{self.leader}/root{path}").read_text()

    def put_tree(self, tree: Path, target: str) -> None:
        """Copy a folder into the machine; what was there before goes."""
        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(tree, arcname=".")
            packed.seek(0)
            self.shell(f"rm -rf {target} && mkdir -p {target}")
            run(*self.enter("tar", "--extract", "--directory", target, "--no-same-owner"), stdin=packed)

    def kill(self) -> None:
        """Lose power: every process of the machine dies at once, in the middle of whatever it does."""
        if self.leader:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        for child in (self.init, self.slirp):
            if child is None:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(20)
        self.init = self.slirp = None
        self.leader = 0

    def end(self) -> None:
        self.kill()
        self.unmount()


@contextlib.contextmanager
def cleaned_up(world: World, *machines: Machine) -> Iterator[None]:
    try:
        yield
    finally:
        for machine in machines:
            machine.end()
        world.end()
