"""The rehearsal of several machines: a database, two web machines with workers, and a balancer. `python -m deploy.lab --machines`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from deploy.lab.machine import AUTHORITIES, OUTSIDE, Failed, Machine, base
from deploy.lab.rehearsal import ADDRESS, DEPLOY, MACHINE_CONF, Lab
from deploy.lab.world import AUTHORITY, SANDBOX, SITE, Load

WEB = ("10.77.0.11", "10.77.0.12")
OVERDUE = """
    SELECT count(*) FROM communications_message
    WHERE status IN ('queued', 'sending') AND coalesce(due_at, queued_at) < now() - interval '5 seconds'
"""


class Machines(Lab):
    """The balancer is on the database's machine, as a small operator would have it; the two web machines know nothing of each other."""

    def __init__(self, folder: Path, *, short: bool) -> None:
        super().__init__(folder, short=short)
        self.webs = [
            Machine(folder, f"web{number}", address, self.world) for number, address in enumerate(WEB, 1)
        ]
        self.everybody = (self.machine, *self.webs)

    def on(self, machine: Machine, *arguments: str, ends: int = 0) -> str:
        done = machine.run(DEPLOY, *arguments, check=False, env=self.environment)
        text = (done.stdout + done.stderr).strip()
        self.say("\n".join(f"   {machine.name} | {line}" for line in text.splitlines()))
        if done.returncode != ends:
            raise Failed(f"{machine.name}: deploy.sh {' '.join(arguments)} ended with {done.returncode}")
        return text

    def three_empty_servers(self) -> None:
        """Three clean Debians boot on one private network"""
        disk = base(self.folder.parent)
        self.world.begin({SITE: ADDRESS, SANDBOX: OUTSIDE, AUTHORITY: OUTSIDE})
        for machine in self.everybody:
            machine.make_disk(disk)
            machine.boot()
        self.outside.begin()
        self.outside.learn_roots()
        authority = self.outside.authority_file.read_text() + Path(AUTHORITIES).read_text()
        source = self.checkout("HEAD")
        for machine in self.everybody:
            machine.write(
                "/etc/hosts", f"127.0.0.1 localhost\n{ADDRESS} {SITE}\n{OUTSIDE} {SANDBOX} {AUTHORITY}\n"
            )
            machine.write("/root/lab-authority.pem", authority)
            machine.put_tree(source, "/root/parking")
            machine.shell("mkdir -p /etc/parking")

    def database_and_balancer(self) -> None:
        """The database, and the balancer in front"""
        conf = MACHINE_CONF.format(authority=AUTHORITY)
        conf += f'ROLES="database redis proxy"\nTRUSTED_ADDRESSES="{" ".join(WEB)}"\nWEB_HOSTS="{" ".join(f"{web}:8080" for web in WEB)}"\n'
        self.machine.write("/etc/parking/deploy.conf", conf)
        self.on(self.machine, "install", ends=1)
        self.write_settings(ENVIRONMENT="staging")
        self.on(self.machine, "install")

    def web_machines(self) -> None:
        """Two web machines with workers; the first migrates"""
        password, owner, cache = (
            self.machine.read(f"/etc/parking/{name}").strip()
            for name in ("database-password", "database-owner-password", "redis-password")
        )
        settings = self.machine.read("/etc/parking/parking.env").splitlines()
        for number, machine in enumerate(self.webs):
            conf = f'ROLES="web worker"\nWEB_LISTEN={machine.address}:8080\nBALANCERS={ADDRESS}\n'
            conf += "REQUESTS_PER_SECOND=2000\nREQUESTS_BURST=4000\nWATCH_SECONDS=5\n"
            if number == 0:
                conf += f"OWNER_DATABASE_URL='postgres://parking_owner:{owner}@{ADDRESS}/parking?sslmode=require'\n"
            machine.write("/etc/parking/deploy.conf", conf, mode=0o640)
            given = {
                "DATABASE_URL": f"postgres://parking:{password}@{ADDRESS}/parking?sslmode=require",
                "REDIS_URL": f"redis://:{cache}@{ADDRESS}:6379/0",
            }
            lines = [
                next(
                    (f"{name}={value}" for name, value in given.items() if line.startswith(f"{name}=")), line
                )
                for line in settings
            ]
            self.on(machine, "install", ends=1)  # makes the user that may read the settings
            machine.write("/etc/parking/parking.env", "\n".join(lines) + "\n", mode=0o640)
            self.on(machine, "install")
        self.webs[0].write("/run/demo-password", "a-password-for-the-rehearsal")
        self.webs[0].shell("chmod 644 /run/demo-password")
        self.on(self.webs[0], "manage", "demo_data", "--password-file", "/run/demo-password")

    def rolling_release(self) -> None:
        """A rolling release while people book"""
        self.journey_by_balancer()
        with Load(self.outside, people=4) as load:
            for machine in self.webs:
                self.on(machine, "release", "/root/parking")
        self.must(load.told["failed"] == 0, f"{load}; {load.told['problems'][:3]}")
        served = [int(machine.shell("grep -c . /var/log/nginx/access.log").strip()) for machine in self.webs]
        self.must(min(served) > 50, f"both served: {served} requests")

    def journey_by_balancer(self) -> None:
        told = self.outside.visit("journey")
        self.must(
            told["status"] == "confirmed" and len(told["mail"]) >= 2,
            f"{told['booking']} is paid, confirmed and told",
        )

    def lost_machine(self) -> None:
        """A web machine with its worker dies in the middle of checkouts"""
        with Load(self.outside, people=6, what="writers") as writers:
            time.sleep(8)
            self.webs[1].kill()
            died = time.monotonic()
            time.sleep(10)
        held = set(writers.told["held"])
        self.acknowledged |= held
        self.must(len(held) > 10, f"{len(held)} were acknowledged; {writers}; {writers.told['problems'][:2]}")
        time.sleep(45)  # jobs of a dead worker are taken over by another's clock
        self.nothing_is_lost()
        self.journey_by_balancer()
        while (waiting := self.sql(OVERDUE)) != "0":
            if time.monotonic() - died > 240:
                raise Failed(f"{waiting} messages still wait for the dead worker.")
            time.sleep(3)
        self.must(
            True,
            f"what the dead worker had begun is sent, {time.monotonic() - died:.0f} s after its death at the latest",
        )
        self.webs[1].boot()
        for _try in range(60):
            if (
                self.webs[1]
                .run("curl", "--silent", "--fail", f"http://{WEB[1]}:8080/health", check=False)
                .returncode
                == 0
            ):
                break
            time.sleep(1)
        else:
            raise Failed("The machine that came back does not serve.")
        self.journey_by_balancer()

    def nothing_is_lost(self) -> None:
        rows = dict(
            line.split("|")
            for line in self.sql("SELECT reference, status FROM bookings_booking").splitlines()
        )
        lost = [
            word
            for word in self.acknowledged
            if rows.get(word.split()[1]) != "confirmed"
            and (word.startswith("confirmed") or word.split()[1] not in rows)
        ]
        self.must(not lost, f"all {len(self.acknowledged)} that were acknowledged are there: {lost[:3]}")
        self.on(self.webs[0], "manage", "audit_books")

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.three_empty_servers,
            self.database_and_balancer,
            self.web_machines,
            self.rolling_release,
            self.lost_machine,
        ]
