"""What the outside world has: providers behind TLS, a certificate authority, customers, load, and somebody who tries doors."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from deploy.lab.machine import OUTSIDE, World, run

ROOT = Path(__file__).resolve().parent.parent.parent
SITE, SANDBOX, AUTHORITY = "parking.test", "sandbox.parking.test", "acme.parking.test"
SANDBOX_PORT = 8001
STRIPE_UUID = "0b6f7f3e-7d0c-4f57-9a55-3a1d2c4b5e6f"
SECRETS = {
    "STRIPE_SECRET_KEY": "sk_test_" + "rehearsal" * 4,
    "STRIPE_PUBLISHABLE_KEY": "pk_test_" + "rehearsal" * 4,
    "STRIPE_WEBHOOK_SECRET": "whsec_" + "rehearsal" * 4,
    "PAYPAL_CLIENT_ID": "rehearsal-paypal-client",
    "PAYPAL_CLIENT_SECRET": "rehearsal-paypal-secret",
    "PAYPAL_WEBHOOK_ID": "WH-REHEARSAL",
    "PAYPAL_RECEIVER_EMAIL": "seller@parking.test",
    "TWILIO_AUTH_TOKEN": "rehearsal-twilio-token",
}
PROXY = """
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log; daemon off;
events {{ }}
http {{
    access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5; client_max_body_size 32m;
    server {{
        listen {address}:443 ssl; listen {address}:{port};
        ssl_certificate {folder}/{name}.pem; ssl_certificate_key {folder}/{name}.key;
        location / {{ proxy_pass http://127.0.0.1:{port}; proxy_set_header Host {name}; proxy_read_timeout 60s; }}
    }}
}}
"""


class Outside:
    """Starts the world's programs in its namespace; everything it writes lies below `folder`."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self.world = folder, world
        folder.mkdir(parents=True, exist_ok=True)
        self.authority_file = folder / "authority.pem"
        self.roots_file = folder / "roots.pem"  # who signed the site's certificate

    def begin(self) -> None:
        self.make_certificates()
        self.start_sandbox()
        self.start_authority()

    def make_certificates(self) -> None:
        """A certificate authority of the lab's own, and certificates for the sandbox's and the ACME server's names."""
        here = str(self.folder)
        run(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=Lab authority",
            "-keyout",
            f"{here}/authority.key",
            "-out",
            str(self.authority_file),
        )
        for name in (SANDBOX, AUTHORITY):
            run(
                "openssl",
                "req",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                f"/CN={name}",
                "-keyout",
                f"{here}/{name}.key",
                "-out",
                f"{here}/{name}.csr",
            )
            (self.folder / "names").write_text(f"subjectAltName=DNS:{name}\n")
            run(
                "openssl",
                "x509",
                "-req",
                "-in",
                f"{here}/{name}.csr",
                "-CA",
                str(self.authority_file),
                "-CAkey",
                f"{here}/authority.key",
                "-CAcreateserial",
                "-days",
                "30",
                "-extfile",
                f"{here}/names",
                "-out",
                f"{here}/{name}.pem",
            )

    def start_sandbox(self) -> None:
        site = f"https://{SITE}"
        data = self.folder / "sandbox"
        data.mkdir(exist_ok=True)
        self.world.start(
            sys.executable,
            "-m",
            "sandbox",
            "--port",
            str(SANDBOX_PORT),
            "--data",
            str(data),
            "--site",
            site,
            "--public-url",
            f"https://{SANDBOX}",
            "--stripe-webhook",
            f"{site}/stripe/webhook/{STRIPE_UUID}/={SECRETS['STRIPE_WEBHOOK_SECRET']}",
            "--paypal-client-id",
            SECRETS["PAYPAL_CLIENT_ID"],
            "--paypal-client-secret",
            SECRETS["PAYPAL_CLIENT_SECRET"],
            "--paypal-webhook",
            f"{site}/webhooks/paypal/",
            "--paypal-webhook-id",
            SECRETS["PAYPAL_WEBHOOK_ID"],
            "--paypal-email",
            SECRETS["PAYPAL_RECEIVER_EMAIL"],
            "--sendgrid-webhook",
            f"{site}/webhooks/sendgrid/",
            "--twilio-token",
            SECRETS["TWILIO_AUTH_TOKEN"],
            "--twilio-inbound-webhook",
            f"{site}/webhooks/twilio/inbound/",
            log=self.folder / "sandbox.log",
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "REQUESTS_CA_BUNDLE": str(self.roots_file),
                "SSL_CERT_FILE": str(self.roots_file),
            },
        )
        configuration = self.folder / "proxy.conf"
        configuration.write_text(
            PROXY.format(folder=self.folder, address=OUTSIDE, port=SANDBOX_PORT, name=SANDBOX)
        )
        self.world.start(
            "nginx", "-c", str(configuration), "-p", str(self.folder), log=self.folder / "nginx.log"
        )

    def start_authority(self) -> None:
        """Pebble, the test server of Let's Encrypt's protocol; it validates on port 80 as the real one does."""
        configuration = self.folder / "pebble.json"
        configuration.write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"{OUTSIDE}:14000",
                        "managementListenAddress": f"{OUTSIDE}:15000",
                        "certificate": str(self.folder / f"{AUTHORITY}.pem"),
                        "privateKey": str(self.folder / f"{AUTHORITY}.key"),
                        "httpPort": 80,
                        "tlsPort": 443,
                        "ocspResponderURL": "",
                        "externalAccountBindingRequired": False,
                    }
                }
            )
        )
        self.world.start(
            "pebble",
            "-config",
            str(configuration),
            log=self.folder / "pebble.log",
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        )

    def learn_roots(self) -> None:
        """Fetch pebble's root, which it makes anew at each start, once the network is there."""
        for _try in range(100):
            done = self.world.run(
                "curl",
                "--silent",
                "--fail",
                "--cacert",
                str(self.authority_file),
                f"https://{AUTHORITY}:15000/roots/0",
                check=False,
            )
            if done.returncode == 0:
                self.roots_file.write_text(done.stdout)
                return
            time.sleep(0.1)
        raise RuntimeError(f"pebble does not answer: {(self.folder / 'pebble.log').read_text()[-500:]}")

    def sendgrid_key(self) -> str:
        done = self.world.run(
            "curl",
            "--silent",
            "--fail",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            f"http://127.0.0.1:{SANDBOX_PORT}/keys.json",
        )
        return str(json.loads(done.stdout)["sendgrid"]["public_key"])

    def visit(self, what: str, *arguments: str, check: bool = True) -> Any:
        """Run one of the visitors of deploy.lab.visitor in the world, and return the JSON that it prints."""
        done = self.world.run(
            sys.executable,
            "-m",
            "deploy.lab.visitor",
            what,
            *arguments,
            check=check,
            cwd=str(ROOT),
            env=self.visitor_environment(),
        )
        return json.loads(done.stdout.strip().splitlines()[-1])

    def visitor_environment(self) -> dict[str, str]:
        return {**os.environ, "LAB_ROOTS": str(self.roots_file), "LAB_FOLDER": str(self.folder)}


class Load:
    """Customers who go on and on, in a process of their own, until they are told to stop."""

    def __init__(self, outside: Outside, *, people: int = 6, what: str = "load") -> None:
        self.outside, self.people, self.what = outside, people, what
        self.flag, self.result = outside.folder / f"{what}.stop", outside.folder / f"{what}.json"

    def __enter__(self) -> Load:
        self.flag.unlink(missing_ok=True)
        self.result.unlink(missing_ok=True)
        self.child = self.outside.world.start(
            sys.executable,
            "-m",
            "deploy.lab.visitor",
            self.what,
            str(self.people),
            log=self.outside.folder / f"{self.what}.log",
            env={**self.outside.visitor_environment(), "PYTHONPATH": str(ROOT)},
        )
        time.sleep(1)
        return self

    def __exit__(self, *problem: object) -> None:
        self.flag.touch()
        self.child.wait(40)
        self.told: dict[str, Any] = json.loads(self.result.read_text())

    def __str__(self) -> str:
        told = self.told
        answered = f"{told['answered']} of {told['asked']} requests answered, {told['failed']} failed"
        return f"{answered}, {told['per_second']}/s, slowest {told['slowest_ms']} ms"


def ask(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the lab's own addresses
        return bytes(answer.read())


def open_ports(address: str, ports: list[int], seconds: float = 0.5) -> list[int]:
    """The TCP ports that answer. Called in the world's namespace."""
    found = []
    for port in ports:
        with socket.socket() as probe:
            probe.settimeout(seconds)
            if probe.connect_ex((address, port)) == 0:
                found.append(port)
    return found
