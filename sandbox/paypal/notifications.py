"""PayPal's webhooks: real RSA signatures, and the call that verifies them."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
import zlib
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from sandbox.core import Sandbox
from sandbox.paypal.call import EVENTS, Answer, Body, Call, iso, new_id
from sandbox.paypal.errors import PayPalError, malformed, not_found, refused
from sandbox.paypal.parameters import VERIFICATION, WEBHOOK

ALGORITHM = "SHA256withRSA"
CERTIFICATES = "/v1/notifications/certs/"


class Signer:
    """The RSA pair and certificate that sign PayPal's events, made on the first start and kept beside the data."""

    def __init__(self, folder: Path) -> None:
        path = folder / "paypal_key.pem"
        if not path.exists():
            fresh = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
            path.touch(mode=0o600)
            path.write_bytes(
                fresh.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + _certificate(fresh)
            )
        stored = path.read_bytes()
        loaded = serialization.load_pem_private_key(stored, password=None)
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise TypeError(f"{path} does not hold an RSA key; delete it and start again.")
        self._key = loaded
        certificate = x509.load_pem_x509_certificate(stored[stored.index(b"-----BEGIN CERTIFICATE") :])
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.certificate_id = "CERT-" + certificate.fingerprint(hashes.SHA256()).hex()[:16]

    def sign(self, message: bytes) -> str:
        return base64.b64encode(self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()

    def signed(self, message: bytes, signature: str) -> bool:
        try:
            raw = base64.b64decode(signature, validate=True)
            self._key.public_key().verify(raw, message, padding.PKCS1v15(), hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messageverificationcerts.sandbox.example")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=365))
        .not_valid_after(now + dt.timedelta(days=3_650))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def message(transmission_id: str, time: str, webhook_id: str, body: bytes) -> bytes:
    """What PayPal signs: `id|time|webhookId|crc32 of the body as a decimal number`."""
    return f"{transmission_id}|{time}|{webhook_id}|{zlib.crc32(body)}".encode()


def headers(box: Sandbox, row: dict[str, Any], at: int) -> dict[str, str]:
    """Signed headers of one delivery; its secret is the webhook's id."""
    transmission_id, time = str(uuid.uuid4()), iso(at)
    signer: Signer = box.parts["paypal_signer"]
    return {
        "Content-Type": "application/json",
        "User-Agent": "PayPal/AUHD-1.0-1",
        "PAYPAL-TRANSMISSION-ID": transmission_id,
        "PAYPAL-TRANSMISSION-TIME": time,
        "PAYPAL-TRANSMISSION-SIG": signer.sign(
            message(transmission_id, time, row["secret"], row["body"].encode())
        ),
        "PAYPAL-CERT-URL": certificate_url(box),
        "PAYPAL-AUTH-ALGO": ALGORITHM,
        "PAYPAL-AUTH-VERSION": "v2",
    }


def certificate_url(box: Sandbox) -> str:
    return f"{box.options.url}/paypal{CERTIFICATES}{box.parts['paypal_signer'].certificate_id}"


def verify(call: Call) -> Answer:
    """SUCCESS only for a body, headers and webhook id that were signed together here."""
    sent = call.body
    VERIFICATION(sent, "")
    known = any(
        endpoint["secret"] == sent["webhook_id"] for endpoint in call.box.webhooks.endpoints("paypal")
    )
    body = raw_member(call.raw, "webhook_event")
    good = (
        known
        and sent["auth_algo"] == ALGORITHM
        and sent["cert_url"] == certificate_url(call.box)
        and call.box.parts["paypal_signer"].signed(
            message(sent["transmission_id"], sent["transmission_time"], sent["webhook_id"], body),
            sent["transmission_sig"],
        )
    )
    return 200, {"verification_status": "SUCCESS" if good else "FAILURE"}


def raw_member(text: str, wanted: str) -> bytes:
    """The value of one member of a JSON object, exactly as it was written."""
    decoder, position, found = json.JSONDecoder(), text.index("{") + 1, ""
    while True:
        position = _skip(text, position, " \t\r\n,")
        if text[position] == "}":
            return found.encode()
        name, position = decoder.raw_decode(text, position)
        start = _skip(text, position, " \t\r\n:")
        _, position = decoder.raw_decode(text, start)
        if name == wanted:
            found = text[start:position]


def _skip(text: str, position: int, letters: str) -> int:
    while text[position] in letters:
        position += 1
    return position


# The webhooks themselves


def _shown(call: Call, endpoint: Body) -> Body:
    path = f"/v1/notifications/webhooks/{endpoint['id']}"
    return {
        "id": endpoint["id"], "url": endpoint["url"],
        "event_types": [{"name": name} for name in endpoint["enabled_events"]],
        "links": [call.link(path), call.link(path, "delete", "DELETE")],
    }  # fmt: skip


def create_webhook(call: Call) -> Answer:
    WEBHOOK(call.body, "")
    names = [item["name"] for item in call.body["event_types"]]
    for number, name in enumerate(names):
        if name != "*" and name not in EVENTS:
            raise malformed(
                f"/event_types/{number}/name",
                "INVALID_PARAMETER_VALUE",
                "The sandbox sends no such event.",
                name,
            )
    url = call.body["url"]
    if any(endpoint["url"] == url for endpoint in call.box.webhooks.endpoints("paypal")):
        raise PayPalError(
            400, "WEBHOOK_URL_ALREADY_EXISTS", "Webhook URL already exists.", field="/url", value=url
        )
    return 201, _shown(call, call.box.webhooks.set_endpoint("paypal", url, new_id(), enabled_events=names))


def list_webhooks(call: Call) -> Answer:
    return 200, {"webhooks": [_shown(call, item) for item in call.box.webhooks.endpoints("paypal")]}


def _find_webhook(call: Call, webhook_id: str) -> Body:
    for endpoint in call.box.webhooks.endpoints("paypal"):
        if endpoint["id"] == webhook_id:
            return endpoint
    raise not_found()


def get_webhook(call: Call, webhook_id: str) -> Answer:
    return 200, _shown(call, _find_webhook(call, webhook_id))


def delete_webhook(call: Call, webhook_id: str) -> Answer:
    call.box.webhooks.remove_endpoint(_find_webhook(call, webhook_id)["id"])
    return 204, None


def get_event(call: Call, event_id: str) -> Answer:
    return 200, call.find("paypal_event", event_id)["event"]


def resend_event(call: Call, event_id: str) -> Answer:
    """The same event again, to everybody who listens to it."""
    if call.body:
        raise refused("INVALID_PARAMETER", "The sandbox resends to all webhooks; send no body.")
    event = call.find("paypal_event", event_id)["event"]
    call.send(event)
    return 202, event
