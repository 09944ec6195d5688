"""Start the sandbox: `python -m sandbox --port 8001 --data DIR --site http://127.0.0.1:8000`."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from sandbox.app import create_app
from sandbox.core import (
    DEFAULT_PAYPAL_CLIENT_ID,
    DEFAULT_PAYPAL_CLIENT_SECRET,
    DEFAULT_PAYPAL_EMAIL,
    DEFAULT_PAYPAL_MERCHANT_ID,
    DEFAULT_PAYPAL_WEBHOOK_ID,
    DEFAULT_TWILIO_TOKEN,
    PAYPAL_TOKEN_SECONDS,
    Options,
)
from sandbox.webhooks import WebhookError


class QuietHandler(WSGIRequestHandler):
    """Logs nothing per request; the screens show what happened."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def port(written: str) -> int:
    if not (written.isascii() and written.isdigit() and len(written) <= 5 and int(written) <= 65_535):
        raise argparse.ArgumentTypeError(
            f'"{written[:40]}" is not a port; give a whole number from 0 to 65535.'
        )
    return int(written)


def loopback(written: str) -> str:
    """The sandbox answers anybody who reaches it, so nobody but this machine may."""
    try:
        mine = written == "localhost" or ipaddress.ip_address(written).is_loopback
    except ValueError:
        mine = False
    if not mine:
        raise argparse.ArgumentTypeError(
            f'"{written[:80]}" is not an address of this machine alone; use 127.0.0.1. The sandbox knows no password.'
        )
    return written


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    env = os.environ.get
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument(
        "--host",
        type=loopback,
        default=env("SANDBOX_HOST", "127.0.0.1"),
        help="loopback address to listen on",
    )
    parser.add_argument(
        "--port", type=port, default=env("SANDBOX_PORT", "8001"), help="port; 0 picks a free one"
    )
    parser.add_argument(
        "--data", type=Path, default=Path(env("SANDBOX_DATA", "var/sandbox")), help="folder for state"
    )
    parser.add_argument(
        "--site", default=env("SANDBOX_SITE", "http://127.0.0.1:8000"), help="address of the site"
    )
    parser.add_argument(
        "--public-url", default=env("SANDBOX_PUBLIC_URL", ""), help="the sandbox as browsers see it"
    )
    parser.add_argument(
        "--stripe-webhook", action="append", default=_listed("SANDBOX_STRIPE_WEBHOOK"), metavar="URL=SECRET",
        help="where Stripe events go and how they are signed; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--sendgrid-webhook", action="append", default=_listed("SANDBOX_SENDGRID_WEBHOOK"), metavar="URL",
        help="where SendGrid's signed events go; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--twilio-inbound-webhook", action="append", default=_listed("SANDBOX_TWILIO_INBOUND_WEBHOOK"), metavar="URL",
        help="where answers typed on the sandbox phone go",
    )  # fmt: skip
    parser.add_argument(
        "--twilio-token", "--twilio-auth-token", default=env("SANDBOX_TWILIO_TOKEN", DEFAULT_TWILIO_TOKEN),
        help="Twilio auth token: checked on calls, signs callbacks",
    )  # fmt: skip
    for name, default, text in (
        ("--paypal-client-id", DEFAULT_PAYPAL_CLIENT_ID, "PayPal client id"),
        ("--paypal-client-secret", DEFAULT_PAYPAL_CLIENT_SECRET, "PayPal client secret"),
        ("--paypal-webhook", "", "where PayPal's signed events go"),
        ("--paypal-webhook-id", DEFAULT_PAYPAL_WEBHOOK_ID, "id of that webhook, part of each signature"),
        ("--paypal-ipn", "", "where PayPal's instant payment notifications go"),
        ("--paypal-email", DEFAULT_PAYPAL_EMAIL, "e-mail address of the seller's PayPal account"),
        ("--paypal-merchant-id", DEFAULT_PAYPAL_MERCHANT_ID, "id of the seller's PayPal account"),
        ("--paypal-token-seconds", PAYPAL_TOKEN_SECONDS, "how long PayPal's access tokens live"),
    ):
        variable = "SANDBOX_" + name[2:].replace("-", "_").upper()
        parser.add_argument(name, default=env(variable, default), type=type(default), help=text)
    return parser.parse_args(arguments)


def _listed(name: str) -> list[str]:
    return os.environ.get(name, "").split()


def main(arguments: list[str] | None = None) -> int:
    logging.basicConfig(level=logging.WARNING, format="sandbox: %(levelname)s %(message)s")
    chosen = parse(arguments)
    options = Options(
        data=chosen.data, host=chosen.host, port=chosen.port, site=chosen.site.rstrip("/"),
        public_url=chosen.public_url, twilio_token=chosen.twilio_token, paypal_client_id=chosen.paypal_client_id,
        paypal_client_secret=chosen.paypal_client_secret, paypal_email=chosen.paypal_email,
        paypal_merchant_id=chosen.paypal_merchant_id, paypal_token_seconds=chosen.paypal_token_seconds,
    )  # fmt: skip
    app = create_app(options)
    box = app.extensions["sandbox"]
    try:
        for pair in chosen.stripe_webhook:
            url, _, secret = pair.rpartition("=")
            if not url:
                raise WebhookError(
                    "--stripe-webhook takes URL=SECRET, for example http://127.0.0.1:8000/hook/=whsec_x."
                )
            box.webhooks.set_endpoint("stripe", url, secret)
        for url in chosen.sendgrid_webhook:
            box.webhooks.set_endpoint("sendgrid", url)
        for url in chosen.twilio_inbound_webhook:
            box.webhooks.set_endpoint("twilio", url)
        if chosen.paypal_webhook:
            box.webhooks.set_endpoint("paypal", chosen.paypal_webhook, chosen.paypal_webhook_id)
        if chosen.paypal_ipn:
            box.webhooks.set_endpoint("paypal_ipn", chosen.paypal_ipn)
    except WebhookError as problem:
        sys.stderr.write(f"sandbox: {problem}\n")
        return 2
    try:
        server = make_server(chosen.host, chosen.port, app, threaded=True, request_handler=QuietHandler)
    except (OSError, SystemExit) as problem:
        sys.stderr.write(
            f"sandbox: cannot listen on {chosen.host}:{chosen.port}; choose another --port. {problem}\n"
        )
        return 1
    options.port = server.port
    server.daemon_threads = True  # type: ignore[attr-defined]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    box.webhooks.start()
    sys.stdout.write(f"sandbox: listening on {options.url}\n")
    sys.stdout.flush()
    server.serve_forever()
    box.webhooks.stop()
    box.state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
