"""The rehearsal: from an empty Debian to a rolled-back bad release, a lost machine and a restored backup.

Each step prints what it saw and how long it took; the first thing that is not as it must be ends the rehearsal.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.lab.machine import AUTHORITIES, OUTSIDE, Failed, Machine, World, base, cleaned_up, run
from deploy.lab.world import AUTHORITY, ROOT, SANDBOX, SANDBOX_PORT, SECRETS, SITE, STRIPE_UUID, Load, Outside

ADDRESS = "10.77.0.2"
DEPLOY = "/root/parking/deploy/deploy.sh"
UNITS = (
    "parking-web@blue.service",
    "parking-web@green.service",
    "parking-worker@1.service",
    "parking-campaigns@1.service",
    "parking-metrics.service",
    "parking-audit.service",
)
MOST_EXPOSED = 2.0
MACHINE_CONF = """
ACME_SERVER=https://{authority}:14000/dir
BACKUP_TYPE=posix
BACKUP_OPTIONS="path=/mnt/offsite/parking"
REQUESTS_PER_SECOND=2000
REQUESTS_BURST=4000
WATCH_SECONDS=8
"""
PLENTY = "100000/m,100000/m"


class Lab:
    """One rehearsal. `steps` are its methods, in order."""

    def __init__(self, folder: Path, *, short: bool) -> None:
        self.folder, self.short = folder, short
        folder.mkdir(parents=True, exist_ok=True)
        self.world = World()
        self.machine = Machine(folder, "parking", ADDRESS, self.world)
        self.everybody: tuple[Machine, ...] = (self.machine,)
        self.outside = Outside(folder / "outside", self.world)
        self.log = (folder / "log.txt").open("w")
        self.environment = {
            "REQUESTS_CA_BUNDLE": "/root/lab-authority.pem",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self.times: list[tuple[str, float]] = []
        self.acknowledged: set[str] = set()

    def say(self, text: str) -> None:
        for line in text.splitlines() or [""]:
            stamped = f"{time.strftime('%H:%M:%S')}  {line}"
            print(stamped, flush=True)  # noqa: T201 - it is a command
            self.log.write(stamped + "\n")
        self.log.flush()

    def must(self, is_so: bool, what: str) -> None:
        if not is_so:
            raise Failed(what)
        self.say(f"   ok  {what}")

    def deploy(self, *arguments: str, ends: int = 0, say: bool = True) -> str:
        done = self.machine.run(DEPLOY, *arguments, check=False, env=self.environment)
        text = (done.stdout + done.stderr).strip()
        if say:
            self.say("\n".join(f"   | {line}" for line in text.splitlines()))
        if done.returncode != ends:
            raise Failed(
                f"deploy.sh {' '.join(arguments)} ended with {done.returncode}, not {ends}:\n{text[-4000:]}"
            )
        return text

    def live(self) -> str:
        return self.machine.shell("basename $(readlink /opt/parking/current)").strip()

    def sql(self, statement: str) -> str:
        return self.machine.shell(
            f'cd / && runuser -u postgres -- psql -qtAX -d parking -c "{statement}"'
        ).strip()

    # --- The steps ---------------------------------------------------------------------------------------------------

    def an_empty_server(self) -> None:
        """A clean Debian boots"""
        disk = base(self.folder.parent)
        self.world.begin({SITE: ADDRESS, f"www.{SITE}": ADDRESS, SANDBOX: OUTSIDE, AUTHORITY: OUTSIDE})
        self.machine.make_disk(disk)
        seconds = self.machine.boot()
        self.outside.begin()
        self.outside.learn_roots()
        hosts = f"127.0.0.1 localhost\n{ADDRESS} {SITE}\n{OUTSIDE} {SANDBOX} {AUTHORITY}\n"
        self.machine.write("/etc/hosts", hosts)
        self.machine.write(
            "/root/lab-authority.pem",
            self.outside.authority_file.read_text() + Path(AUTHORITIES).read_text(),
        )
        self.send_version(self.checkout("HEAD"))
        installed = self.machine.shell("dpkg -l | grep -c ^ii").strip()
        self.must(
            self.machine.shell("command -v nginx psql redis-server || true").strip() == "",
            f"nothing of ours is there: {installed} packages, boot in {seconds:.1f} s",
        )

    def preflight(self) -> None:
        """--check says what is missing"""
        told = self.deploy("--check", ends=1)
        self.must("BACKUP_TYPE" in told, "an empty server does not pass, and each thing to do is named")

    def first_install(self) -> None:
        """install, up to what only a person knows"""
        self.machine.shell("mkdir -p /etc/parking")
        self.machine.write("/etc/parking/deploy.conf", MACHINE_CONF.format(authority=AUTHORITY))
        told = self.deploy("install", ends=1)
        self.must(
            "STRIPE_SECRET_KEY" in told and "POSTAL_ADDRESS" in told,
            "it stops at the settings that it cannot know, and names them",
        )
        settings = self.machine.read("/etc/parking/parking.env")
        made = [
            name
            for name in ("SECRET_KEY", "JWT_SIGNING_KEY", "ADDRESS_KEY")
            if re.search(rf"^{name}=\S{{50,}}$", settings, re.M)
        ]
        self.must(len(made) == 3, "three secrets were made")

    def install(self) -> None:
        """install, to the end"""
        self.write_settings(ENVIRONMENT="staging")
        before = self.machine.read("/etc/parking/parking.env")
        began = time.monotonic()
        self.deploy("install")
        self.say(f"   installed in {time.monotonic() - began:.1f} s")
        self.must(
            self.machine.read("/etc/parking/parking.env") == before, "the settings are as they were written"
        )
        self.outside.learn_roots()
        self.must(
            "self-signed" not in self.machine.shell("ls /etc/parking/tls"),
            "the certificate is the authority's",
        )

    def install_again(self) -> None:
        """install a second time changes nothing"""
        pid = "systemctl show -p MainPID --value parking-web@blue parking-worker@1 nginx postgresql@15-main redis-server"
        before, release = self.machine.shell(pid), self.live()
        began = time.monotonic()
        self.deploy("install", say=False)
        self.must(
            self.machine.shell(pid) == before and self.live() == release,
            f"same processes, same release, {time.monotonic() - began:.1f} s",
        )

    def demo_data(self) -> None:
        """Something to sell"""
        self.machine.write("/run/demo-password", secrets.token_urlsafe(24))
        self.machine.shell("chmod 644 /run/demo-password")
        self.deploy("manage", "demo_data", "--password-file", "/run/demo-password")
        self.machine.shell("rm /run/demo-password")

    def journey(self) -> None:
        """A customer books over HTTPS"""
        told = self.outside.visit("journey")
        self.must(told["status"] == "confirmed", f"{told['booking']} is paid and confirmed")
        self.must(
            len(told["mail"]) >= 2 and told["sms"] >= 1,
            f"received: {', '.join(told['mail'])}; {told['sms']} SMS",
        )
        health = self.machine.shell(
            f"curl --silent --fail --cacert /etc/parking/tls/fullchain.pem --insecure https://{SITE}/api/health"
        )
        self.must(json.loads(health)["status"] == "ok", "/api/health is well")

    def status(self) -> None:
        """status and --check, on the running server"""
        self.deploy("status")
        self.deploy("--check")
        self.deploy("nginx-test")

    def settings_of_production_refused(self) -> None:
        """Production refuses test keys and the sandbox"""
        before = self.machine.read("/etc/parking/parking.env")
        self.write_settings(ENVIRONMENT="production")
        told = self.deploy("--check", ends=1)
        named = [name for name in ("SANDBOX_URL", "STRIPE_SECRET_KEY", "STRIPE_API_BASE") if name in told]
        self.must(len(named) == 3, "as production this would not start; named: " + ", ".join(named))
        self.machine.write("/etc/parking/parking.env", before, mode=0o640)

    def hardening(self) -> None:
        """What a stolen process may do"""
        told = self.machine.shell(
            f"systemd-analyze security --no-pager {' '.join(UNITS)} 2>/dev/null | grep 'Overall exposure' || true"
        )
        values = [float(number) for number in re.findall(r": ([0-9.]+) ", told)]
        if not values:
            values = [float(number) for number in re.findall(r"([0-9]+\.[0-9])", told)]
        self.must(
            len(values) == len(UNITS) and max(values) <= MOST_EXPOSED,
            f"exposure of {len(values)} units: {values}, at most {MOST_EXPOSED}",
        )
        refused = self.sql_as_site("DROP TABLE bookings_booking")
        self.must(
            "permission denied" in refused or "must be owner" in refused,
            "the site's role in PostgreSQL may not drop a table",
        )
        mode = self.machine.shell("stat -c '%U:%G %a' /etc/parking/parking.env").strip()
        self.must(mode == "root:parking 640", f"the settings are {mode}")

    def sql_as_site(self, statement: str) -> str:
        return self.machine.shell(
            f'cd / && runuser -u parking -- psql -h /run/postgresql -d parking -c "{statement}" 2>&1 || true',
            check=False,
        )

    def ports(self) -> None:
        """Ports from outside"""
        last = "10000" if self.short else "65535"
        told = self.outside.visit("ports", "1", last)
        self.must(
            told["open"] == [80, 443], f"{told['scanned']} ports tried from outside, open: {told['open']}"
        )
        self.machine.shell(
            "systemd-run --quiet --unit=control-port python3 -m http.server 8000 --bind 0.0.0.0; sleep 1; ufw --force disable >/dev/null"
        )
        control = self.outside.visit("service_ports")["open"]
        self.machine.shell("ufw --force enable >/dev/null")
        shut = self.outside.visit("service_ports")["open"]
        self.machine.shell("systemctl stop control-port")
        self.must(
            8000 in control and shut == [80, 443],
            f"control: with the firewall off {control} are open, with it on {shut}",
        )

    def headers(self) -> None:
        """Headers, names, TLS"""
        told = self.outside.visit("headers")
        self.say("\n".join(f"   | {name}: {value}" for name, value in told["headers"].items()))
        self.must("max-age=31536000" in told["headers"]["Strict-Transport-Security"], "HSTS for a year")
        policy = told["headers"]["Content-Security-Policy"]
        self.must(
            "unsafe-inline" not in policy and "frame-ancestors 'none'" in policy, "no inline script, no frame"
        )
        self.must(told["headers"]["Server"] == "nginx", "the server tells no version")
        cookies = [cookie.split(";")[0].split("=")[0] for cookie in told["cookies"]]
        self.must(
            bool(cookies) and all(name.startswith("__Host-") for name in cookies),
            f"cookies: {cookies}",
        )
        self.must(told["http"] == [301, f"https://{SITE}/search?x=1"], "http is led to https")
        other = self.world.run(
            "curl",
            "--silent",
            "--insecure",
            "--max-time",
            "5",
            "--resolve",
            f"evil.test:443:{ADDRESS}",
            "https://evil.test/",
            check=False,
        )
        plain = self.world.run(
            "curl",
            "--silent",
            "--max-time",
            "5",
            "--header",
            "Host: evil.test",
            f"http://{ADDRESS}/",
            check=False,
        )
        self.must(
            other.returncode in (35, 56) and plain.returncode in (52, 56),
            "another name gets no certificate and no answer",
        )
        forged = self.world.run(
            "curl",
            "--silent",
            "--insecure",
            "--max-time",
            "5",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--header",
            "Host: evil.test",
            f"https://{SITE}/",
            check=False,
        )
        self.must(
            forged.stdout in ("421", "000", "400"),
            f"another Host header under our certificate: {forged.stdout}",
        )
        large = self.world.run(
            "curl",
            "--silent",
            "--insecure",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--data-binary",
            "@/dev/stdin",
            f"https://{SITE}/api/quotes",
            check=False,
            stdin=_megabyte(),
        )
        self.must(large.stdout == "413", "a body of a megabyte: 413")
        for version, allowed in (("tls1", False), ("tls1_1", False), ("tls1_2", True), ("tls1_3", True)):
            done = self.world.run(
                "openssl",
                "s_client",
                "-connect",
                f"{SITE}:443",
                "-servername",
                SITE,
                f"-{version}",
                "-cipher",
                "DEFAULT@SECLEVEL=0" if not allowed else "DEFAULT",
                check=False,
            )
            self.must(
                ("Cipher is (NONE)" not in done.stdout and "Cipher is" in done.stdout) == allowed,
                f"{version}: {'spoken' if allowed else 'refused'}",
            )
        cached = [
            self.cache_of(
                f"/api/search?airport=LHR&dropOff=2027-03-01T10:00Z&return=2027-03-03T10:00Z{extra}"
            )
            for extra in ("", "", "&page=1")
        ]
        self.must(cached[:2] == ["MISS", "HIT"], f"the anonymous search, asked twice: {cached}")
        person = self.cache_of("/", "--cookie", "__Host-session=somebody")
        self.must(person in ("BYPASS", "-"), f"whoever has a session: {person}")
        if not self.short and shutil.which("testssl"):
            done = self.world.run(
                "testssl",
                "--quiet",
                "--color",
                "0",
                "--warnings",
                "off",
                "--add-ca",
                str(self.outside.roots_file),
                "--ip",
                ADDRESS,
                "-p",
                "-s",
                "-f",
                "-U",
                "--hints",
                f"{SITE}:443",
                check=False,
            )
            (self.folder / "testssl.txt").write_text(done.stdout)
            bad = [
                line.strip()
                for line in done.stdout.splitlines()
                if re.search(r"\bVULNERABLE\b|NOT ok", line)
                and "not vulnerable" not in line
                and not line.strip().startswith("BREACH")
            ]
            # BREACH is said of any compressed page; the site's are padded by random lengths.
            self.must(
                "not vulnerable" in done.stdout and not bad,
                f"testssl: protocols, ciphers, forward secrecy and known attacks; not ok: {bad}",
            )

    def cache_of(self, path: str, *options: str) -> str:
        self.world.run(
            "curl", "--silent", "--insecure", "--output", "/dev/null", *options, f"https://{SITE}{path}"
        )
        line = self.machine.shell("sleep 0.3; tail -1 /var/log/nginx/access.log")
        return str(json.loads(line)["cache"] or "-")

    def release_under_load(self) -> None:
        """A new release while people book"""
        old = self.live()
        self.send_version(self.checkout("HEAD", change=_another_version))
        with Load(self.outside) as load:
            self.deploy("release", "/root/parking")
        self.must(self.live() != old, f"{self.live()} is live")
        self.must(load.told["failed"] == 0, f"{load}; {load.told['problems'][:3]}")

    def broken_release(self) -> None:
        """A release that does not start, one that answers wrongly, and one whose worker dies, while people book"""
        breakages = {
            "worker dies": _broken_worker,
            "does not start": _broken_start,
            "answers with errors": _broken_page,
        }
        for name, change in list(breakages.items())[: 1 if self.short else 3]:
            old = self.live()
            self.send_version(self.checkout("HEAD", change=change))
            with Load(self.outside, people=4) as load:
                told = self.deploy("release", "/root/parking", ends=1)
            self.must(self.live() == old, f"{name}: {old} is live")
            self.must(load.told["failed"] == 0, f"{name}: {load}; {load.told['problems'][:3]}")
            self.must("given up" in told or "taken back" in told, f"{name}: it says so")
        self.journey()

    def rollback(self) -> None:
        """rollback, and back again, while people book"""
        old = self.live()
        with Load(self.outside, people=4) as load:
            self.deploy("rollback")
            self.must(self.live() != old, f"{self.live()} is live")
            self.deploy("rollback")
        self.must(self.live() == old, f"{old} is live again")
        self.must(load.told["failed"] == 0, f"{load}; {load.told['problems'][:3]}")

    def killed_processes(self) -> None:
        """The web's first process, a worker and nginx are killed while people book"""
        slot = self.machine.shell("basename $(readlink /opt/parking/live-slot)").strip()
        with Load(self.outside, people=4) as load:
            time.sleep(2)
            for unit in (f"parking-web@{slot}", "parking-worker@1", "redis-server"):
                self.machine.shell(f"kill -9 $(systemctl show -p MainPID --value {unit})")
                time.sleep(4)
            self.machine.shell("systemctl restart postgresql@15-main")
            time.sleep(3)
        self.say(f"   {load} (killed with kill -9: requests that a process was answering are lost with it)")
        self.must(load.told["failed"] <= 40, f"few were lost: {load.told['problems'][:2]}")
        self.journey()

    def certificate_renewal(self) -> None:
        """The certificate is renewed while people book"""
        serial = f"openssl x509 -in /etc/letsencrypt/live/{SITE}/cert.pem -noout -serial"
        before = self.machine.shell(serial).strip()
        with Load(self.outside, people=3) as load:
            self.machine.shell(
                "certbot renew --force-renewal --quiet --no-random-sleep-on-renew", env=self.environment
            )
            time.sleep(1)
        after = self.machine.shell(serial).strip()
        served = self.world.run(
            "bash",
            "-c",
            f"openssl s_client -connect {SITE}:443 -servername {SITE} </dev/null 2>/dev/null | openssl x509 -noout -serial",
        ).stdout.strip()
        self.must(after != before and served == after, f"{before} became {after}, and nginx serves it")
        self.must(load.told["failed"] == 0, f"{load}")

    def lost_power(self) -> None:
        """The machine dies in the middle of writing, and boots again"""
        with Load(self.outside, people=6, what="writers") as writers:
            time.sleep(12 if not self.short else 8)
            self.machine.kill()
            time.sleep(1)
            writers.flag.touch()
        held = set(writers.told["held"])
        self.acknowledged |= held
        seconds = self.machine.boot()
        self.wait_for_site()
        self.must(
            len(held) > 10,
            f"{len(held)} holds and payments were acknowledged until the moment it died; up again after {seconds:.1f} s",
        )
        self.nothing_is_lost()
        self.journey()

    def nothing_is_lost(self) -> None:
        rows = dict(
            line.split("|")
            for line in self.sql("SELECT reference, status FROM bookings_booking").splitlines()
        )
        lost = [
            word
            for word in self.acknowledged
            if word.split()[1] not in rows
            or (word.startswith("confirmed") and rows[word.split()[1]] != "confirmed")
        ]
        self.must(not lost, f"all {len(self.acknowledged)} that were acknowledged are there: {lost[:3]}")
        self.deploy("manage", "audit_books", say=False)
        self.must(True, "the books are right")

    def wait_for_site(self) -> None:
        for _try in range(120):
            done = self.world.run(
                "curl",
                "--silent",
                "--insecure",
                "--max-time",
                "3",
                "--output",
                "/dev/null",
                "--write-out",
                "%{http_code}",
                f"https://{SITE}/api/health",
                check=False,
            )
            if done.stdout == "200":
                return
            time.sleep(0.5)
        raise Failed(
            f"The site does not come back: {done.stdout} {self.machine.shell('systemctl --failed --no-legend', check=False)}"
        )

    def backup_and_restore(self) -> None:
        """A backup, what came after it, and a lost disk"""
        self.deploy("backup")
        with Load(self.outside, people=3, what="writers") as writers:
            time.sleep(5)
        self.acknowledged |= set(writers.told["held"])
        # What a minute does by itself (archive_timeout).
        self.sql("SELECT pg_switch_wal()")
        time.sleep(4)
        self.deploy("restore-test")
        self.machine.shell("systemctl stop postgresql@15-main; rm -rf /var/lib/postgresql/15/main")
        began = time.monotonic()
        self.environment["PARKING_RESTORE_CONFIRMED"] = "yes"
        self.deploy("restore")
        self.wait_for_site()
        self.say(f"   from a lost disk to a healthy site: {time.monotonic() - began:.1f} s")
        self.nothing_is_lost()
        plain = self.machine.shell("grep -rl 'Rita Rehearsal' /mnt/offsite || true").strip()
        self.must(plain == "", "the backup holds no readable name")
        state = json.loads(self.machine.read("/var/lib/parking/state/restore-test.json"))
        self.must(state["ok"] is True, f"noted for the metrics: {state}")
        self.journey()

    # --- What the steps use ------------------------------------------------------------------------------------------

    def checkout(self, commit: str, change: Callable[[Path], None] | None = None) -> Path:
        """A clean checkout of this project, perhaps changed and committed."""
        folder = self.folder / "checkout"
        shutil.rmtree(folder, ignore_errors=True)
        run("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder))
        run(
            "git",
            "-C",
            str(folder),
            "checkout",
            "--quiet",
            "--detach",
            run("git", "-C", str(ROOT), "rev-parse", commit).stdout.strip(),
        )
        if change:
            change(folder)
            run(
                "git",
                "-C",
                str(folder),
                "-c",
                "user.name=lab",
                "-c",
                "user.email=lab@parking.test",
                "commit",
                "--quiet",
                "--all",
                "--message",
                "Change for the rehearsal",
            )
        return folder

    def send_version(self, folder: Path) -> None:
        self.machine.put_tree(folder, "/root/parking")

    def write_settings(self, **more: str) -> None:
        """What the operator types into the settings: accounts, names, and that the providers are the sandbox."""
        sandbox = f"http://{SANDBOX}:{SANDBOX_PORT}"
        given = {
            "SITE_URL": f"https://{SITE}",
            "ALLOWED_HOSTS": f"{SITE},www.{SITE}",
            "STRIPE_WEBHOOK_UUID": STRIPE_UUID,
            **SECRETS,
            "SANDBOX_URL": f"https://{SANDBOX}",
            "STRIPE_API_BASE": f"{sandbox}/stripe",
            "PAYPAL_API_BASE": f"{sandbox}/paypal",
            "PAYPAL_IPN_URL": f"{sandbox}/paypal/cgi-bin/webscr",
            "SENDGRID_API_URL": f"{sandbox}/sendgrid/v3/",
            "TWILIO_API_BASE": f"{sandbox}/twilio",
            "SENDGRID_API_KEY": "SG.rehearsal.rehearsal",
            "SENDGRID_WEBHOOK_VERIFICATION_KEY": self.outside.sendgrid_key(),
            "DEFAULT_FROM_EMAIL": "Rehearsal Parking <hello@parking.test>",
            "SUPPORT_EMAIL": "help@parking.test",
            "POSTAL_ADDRESS": "1 Runway Road, Hounslow TW6 2GA",
            "TWILIO_ACCOUNT_SID": "AC" + "5a" * 16,
            "TWILIO_FROM_NUMBER": "+15005550006",
            "RATE_LIMIT_TOKEN": PLENTY,
            "RATE_LIMIT_QUOTES": PLENTY,
            "RATE_LIMIT_BOOKINGS": PLENTY,
            "OPEN_HOLDS_PER_ADDRESS": "1000000,1000000",
            **more,
        }
        lines = self.machine.read("/etc/parking/parking.env").splitlines()
        for name, value in given.items():
            written = f"{name}={value}"
            places = [number for number, line in enumerate(lines) if re.match(rf"(# )?{name}=", line)]
            if places:
                lines[places[0]] = written
            else:
                lines.append(written)
        self.machine.write("/etc/parking/parking.env", "\n".join(lines) + "\n", mode=0o640)

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.an_empty_server,
            self.preflight,
            self.first_install,
            self.install,
            self.install_again,
            self.demo_data,
            self.journey,
            self.status,
            self.settings_of_production_refused,
            self.hardening,
            self.ports,
            self.headers,
            self.release_under_load,
            self.broken_release,
            self.rollback,
            self.killed_processes,
            self.certificate_renewal,
            self.lost_power,
            self.backup_and_restore,
        ]

    def rehearse(self, *, pause: bool) -> int:
        began = time.monotonic()
        with cleaned_up(self.world, *self.everybody):
            for number, step in enumerate(self.steps(), 1):
                title = (step.__doc__ or step.__name__).splitlines()[0]
                self.say(f"{number}. {title}")
                before = time.monotonic()
                try:
                    step()
                except (
                    Failed,
                    subprocess.SubprocessError,
                    OSError,
                    ValueError,
                    KeyError,
                    RuntimeError,
                ) as problem:
                    self.say(f"FAILED: {title}: {type(problem).__name__}: {problem}")
                    if pause:
                        self.say(
                            f"The machine runs: nsenter -t {self.machine.leader} -a bash. End this program to end it."
                        )
                        while True:
                            time.sleep(60)
                    return 1
                self.times.append((title, time.monotonic() - before))
            self.say(
                "\nThe times:\n" + "\n".join(f"{seconds:7.1f} s  {title}" for title, seconds in self.times)
            )
            self.say(f"{len(self.times)} passed, 0 failed; {time.monotonic() - began:.0f} s")
        return 0


def _megabyte() -> Any:
    body = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process that reads it
    body.write(b"x" * 1_000_000)
    body.seek(0)
    return body


def _another_version(folder: Path) -> None:
    with (folder / "CHANGELOG.md").open("a") as text:
        text.write("\nA version for the rehearsal.\n")


def _broken_start(folder: Path) -> None:
    with (folder / "bookings/pages/search.py").open("a") as text:
        text.write("\nraise RuntimeError('a broken release')\n")


def _broken_page(folder: Path) -> None:
    with (folder / "templates/base.html").open("a") as text:
        text.write("{% no_such_tag %}\n")


def _broken_worker(folder: Path) -> None:
    """Everything that is asked before the switch is right; only the worker, which is new after it, cannot live."""
    path = folder / "foundation/jobs.py"
    with path.open("a") as text:
        text.write("\nimport sys as _sys\n\nif 'worker' in _sys.argv:\n    _sys.exit('a broken worker')\n")
