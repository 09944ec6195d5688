"""Whatever stands in a form, an address or a webhook: an answer below 500, in bounded time, and nothing written by strangers."""

from __future__ import annotations

import gzip
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from bookings.models import Booking, Product
from bookings.tests.world import DAY, hold, make_product
from parking_site.tests.test_headers import SAMPLES
from parking_site.tests.test_idempotency import routes

pytestmark = pytest.mark.django_db(transaction=True)

ODD = {
    "nothing": "",
    "NUL": "a\x00b",
    "controls": "a\x01\x07\x1b[31m\x7f\x85\u2028b",
    "line ends": "a\r\nBcc: eve@example.com\r\n\r\nb",
    "right to left": "\u202eadA\u202c \u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627\u200f",
    "too large an id": str(2**63),
    "a huge number": "9" * 5000,
    "negative": "-1",
    "digits of others": "\u0663\u0664",
    "infinity": "1e309",
    "not a number": "NaN",
    "a day of nowhere": "99999-12-31T23:59",
    "template": "{{ settings.SECRET_KEY }}{% debug %}",
    "quotes": "'\";--<script>alert(1)</script>",
    "far planes": "\U0001f697\U0010ffff\ufffe",
}
# What one cannot write in Python's text: how it stands in an address or a form.
RAW = {
    "lone surrogate": b"%ED%A0%80",
    "not UTF-8": b"%FF%FE%C0%80",
    "half an escape": b"%",
    "surrogate in UTF-16": "\ud800".encode("utf-16-le", "surrogatepass"),
}
WEBHOOKS = (
    "/webhooks/sendgrid/",
    "/webhooks/postmark/",
    "/webhooks/twilio/status/",
    "/webhooks/twilio/inbound/",
    "/webhooks/paypal/",
    "/webhooks/paypal/ipn/",
    f"/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/",
)
LONGEST_SECONDS = 5.0  # of one answer, on a loaded machine


def field_names() -> list[str]:
    """Every name that a form, a link or a view of ours has for something sent to it."""
    root = Path(settings.BASE_DIR)
    found = {
        "csrfmiddlewaretoken",
        "action",
        "_selected_action",
        "login",
        "password",
        "email",
        "next",
        "code",
    }
    for app in ("accounts", "bookings", "payments", "communications", "parking_site"):
        for path in (root / app).rglob("*.py"):
            if "tests" not in path.parts and "migrations" not in path.parts:
                text = path.read_text()
                found |= set(re.findall(r"\b(?:POST|GET)(?:\.get(?:list)?\(|\[)\"(\w+)\"", text))
                if path.name == "forms.py":
                    found |= set(re.findall(r"^    (\w+) = forms\.", text, re.MULTILINE))
    for path in (root / "templates").rglob("*.html"):
        found |= set(re.findall(r"\bname=\"(\w+)\"", path.read_text()))
    return sorted(found)


FIELDS = field_names()
NAMES = [name.encode() for name in FIELDS]


class Place:
    """Ada signed in, with a held booking; the addresses of all doors, with her things in them."""

    def __init__(self) -> None:
        self.ada = User.objects.create_user("ada@example.com", "rather-long-Secret-7", name="Ada Lovelace")
        self.product: Product = make_product(capacity=50)
        now = timezone.now()
        placed = hold(self.product, start=now + 9 * DAY, now=now, user=self.ada, email=self.ada.email)
        self.booking: Booking = placed.booking
        self.guest_token = placed.guest_token

    def addresses(self, *, admin: bool, odd: str | None = None) -> list[str]:
        """Each address of the URL map; with `odd`, only those that hold something, which it takes the place of."""
        things = {
            "reference": self.booking.reference,
            "product_id": str(self.product.pk),
            "token": self.guest_token,
            "uuid": settings.STRIPE_WEBHOOK_UUID,
            "object_id": "1",
        }
        found = set()
        for path, _view, _name in routes():
            if re.search(r"[\^()?*|\[\]]", path) or path.startswith("admin/") is not admin:
                continue
            if odd is not None and "<" not in path:
                continue
            found.add(
                "/"
                + re.sub(
                    r"<(?:(\w+):)?(\w+)>",
                    lambda at: odd or things.get(at[2]) or SAMPLES.get(at[1], "1"),
                    path,
                )
            )
        return sorted(found)


@pytest.fixture
def place(sandbox: Any, settings: Any) -> Any:
    settings.RATELIMIT_ENABLE = settings.RATE_LIMITS_ENABLED = False
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.POSTMARK_WEBHOOK_SECRET = "hook:rather-long-secret"  # unset, the door answers 503 on purpose
    yield Place()
    call_command("audit_books")


def rows() -> dict[str, int]:
    """How many rows each table has; sessions come and go, and refusals are noted in the audit log."""
    apart = {"sessions.Session", "foundation.AuditEntry", "foundation.IdempotencyRecord"}
    return {
        model._meta.label: model._default_manager.count()
        for model in apps.get_models()
        if model._meta.managed and not model._meta.proxy and model._meta.label not in apart
    }


class Watch:
    """Send, and remember what was answered too badly or too late."""

    def __init__(self, user: User | None = None) -> None:
        self.client = Client(raise_request_exception=False)
        if user is not None:
            self.client.force_login(user)
        self.user = user
        self.sent = 0
        self.wrong: list[str] = []

    def send(self, what: str, verb: str, address: str, body: Any = b"", **more: Any) -> int:
        if self.user is not None and "sessionid" not in self.client.cookies:  # it has signed itself out
            self.client.force_login(self.user)
        began = time.monotonic()
        more.setdefault("content_type", "application/x-www-form-urlencoded")
        answer = self.client.generic(verb, address, body, **more)
        if answer.streaming:
            b"".join(answer.streaming_content)  # type: ignore[arg-type]
        took = time.monotonic() - began
        self.sent += 1
        if answer.status_code >= 500 or took > LONGEST_SECONDS:
            self.wrong.append(f"{verb} {address[:120]} with {what}: {answer.status_code} in {took:.1f} s")
        return answer.status_code

    def done(self) -> None:
        print(f"{self.sent} requests, {len(self.wrong)} wrong")  # noqa: T201
        assert not self.wrong, f"{len(self.wrong)} of {self.sent}:\n" + "\n".join(self.wrong[:60])


def form(value: bytes) -> bytes:
    return b"&".join(name.encode() + b"=" + value for name in FIELDS)


def escaped(value: str) -> bytes:
    return quote(value, safe="").encode()


HEALTH = {"/health", "/api/health"}  # say 503 on purpose where no worker runs


@pytest.mark.parametrize(("who", "times"), [("guest", 3), ("customer", 7)])
def test_every_form_survives_odd_fields(place: Place, who: str, times: int) -> None:
    """All fields at once, each time with other values in them."""
    watch = Watch(place.ada if who == "customer" else None)
    before = rows()
    values = [*(escaped(value) for value in ODD.values()), *RAW.values()]
    for address in place.addresses(admin=False):
        if address.startswith("/api/") or address in HEALTH:
            continue
        for turn in range(times):
            mixed = [name + b"=" + values[(at + turn * 3) % len(values)] for at, name in enumerate(NAMES)]
            watch.send(f"turn {turn}", "POST", address, b"&".join(mixed))
        watch.send("NUL", "POST", address, form(b"a%00b"))
        watch.send("a megabyte", "POST", address, b"name=" + b"x" * 1_000_000)
        watch.send("200 kB", "POST", address, form(b"x" * 900))
        watch.send("600 fields", "POST", address, b"&".join(b"a%d=1" % one for one in range(600)))
    watch.done()
    if who == "guest":
        assert rows() == before


@pytest.mark.parametrize("who", ["guest", "customer"])
def test_other_sites_can_neither_post_nor_read(place: Place, who: str) -> None:
    """Without the page's token every form is 403, but for doors that ask for a signature or a token of their own."""
    stranger = Client(enforce_csrf_checks=True, raise_request_exception=False)
    if who == "customer":
        stranger.force_login(place.ada)
    before = rows()
    passed = set()
    for address in place.addresses(admin=False):
        origin = {"Origin": "https://evil.example"}
        answer = stranger.post(address, {"email": "eve@example.com"}, headers=origin)
        assert "Access-Control-Allow-Origin" not in answer, address
        if answer.status_code != 403:
            passed.add(address)
    signed = {
        address for address in passed if address.startswith(("/api/", "/webhooks/", "/stripe/webhook/"))
    }
    # One-click unsubscribing comes from mail programs, which have no page.
    assert {one for one in passed - signed if not one.startswith("/messages/unsubscribe/")} == set()
    assert rows() == before


def test_every_admin_form_survives_odd_fields(place: Place) -> None:
    root = User.objects.create_superuser("root@staff.example", "rather-long-Secret-7")
    watch = Watch(root)
    values = [*(escaped(value) for value in ODD.values()), *RAW.values()]
    for turn, address in enumerate(place.addresses(admin=True)):
        mixed = [name + b"=" + values[(at + turn) % len(values)] for at, name in enumerate(NAMES)]
        watch.send("everything", "POST", address, b"&".join(mixed))
    watch.done()


@pytest.mark.parametrize("who", ["guest", "staff"])
def test_every_address_survives_odd_things_in_it(place: Place, who: str) -> None:
    root = User.objects.create_superuser("root@staff.example", "rather-long-Secret-7")
    watch = Watch(root if who == "staff" else None)
    odd = {**{what: quote(value, safe="") for what, value in ODD.items() if value}, **{
        what: raw.decode() for what, raw in RAW.items() if what in ("lone surrogate", "not UTF-8")
    }}  # fmt: skip
    for what, value in odd.items():
        for address in place.addresses(admin=False, odd=value):
            watch.send(what, "GET", address)
        if who == "staff" and what in ("a huge number", "lone surrogate"):
            for address in place.addresses(admin=True, odd=value):
                watch.send(what, "GET", address)
    watch.done()


def test_searches_survive_odd_words(place: Place) -> None:
    root = User.objects.create_superuser("root@staff.example", "rather-long-Secret-7")
    guest, staff = Watch(), Watch(root)
    asked = {"airport": "LHR", "drop_off": "2027-06-01T10:00", "return": "2027-06-04T10:00"}
    others = ["sort", "kind", "covered", "promo", "page", "dropOff", "drop_off_offset", "return_offset"]
    values = {**{what: escaped(value) for what, value in ODD.items()}, **RAW, "100 kB": b"x" * 100_000}
    for what, value in values.items():
        text = value.decode("latin-1")
        for path in ("/search", "/api/search", "/"):
            for name in asked:
                given = {**{key: quote(one) for key, one in asked.items()}, name: text}
                guest.send(
                    f"{what} as {name}", "GET", f"{path}?" + "&".join(f"{k}={v}" for k, v in given.items())
                )
            given = {**{key: quote(one) for key, one in asked.items()}, **dict.fromkeys(others, text)}
            guest.send(
                f"{what} elsewhere", "GET", f"{path}?" + "&".join(f"{k}={v}" for k, v in given.items())
            )
    for path in place.addresses(admin=True):
        if re.fullmatch(r"/admin/\w+/\w+/", path):
            staff.send("odd words", "GET", f"{path}?q=%ED%A0%80&o={2**63}&p=%D9%A3&e=1")
    guest.done()
    staff.done()


def test_webhooks_take_post_only(place: Place) -> None:
    watch, before = Watch(), rows()
    for address in WEBHOOKS:
        for verb in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"):
            assert watch.send("nothing", verb, address, b"{}") == 405, f"{verb} {address}"
    watch.done()
    assert rows() == before


def test_webhooks_survive_whatever_is_posted(place: Place) -> None:
    """A bomb is never unpacked: what says that it is packed is read as it is, and is not JSON."""
    watch, before = Watch(), rows()
    bomb = gzip.compress(b"{" + b" " * 50_000_000 + b"}", compresslevel=9)
    assert len(bomb) < 60_000
    bodies = {
        "nothing": b"", "NUL": b"\x00" * 100, "half an object": b"{", "a list": b"[]", "null": b"null", "a number": b"1e999",
        "nested": b"[" * 100_000, "surrogate": b'{"id": "\\ud800"}', "UTF-16": '{"id": "1"}'.encode("utf-16"),
        "not UTF-8": b'{"id": "\xff\xfe"}', "packed": bomb, "too large": b'{"a": "' + b"x" * 5_000_000 + b'"}',
        "form": form(b"%00"), "parts without end": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
    }  # fmt: skip
    kinds = [
        "application/json", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "text/plain", "",
        "application/x-www-form-urlencoded; charset=nonsense", "multipart/form-data; boundary=x", "multipart/form-data",
        "image/png",
    ]  # fmt: skip
    for address in WEBHOOKS:
        for what, body in bodies.items():
            packed = {"Content-Encoding": "gzip"} if what == "packed" else {}
            for kind in kinds:
                status = watch.send(
                    f"{what} as {kind}", "POST", address, body, content_type=kind, headers=packed
                )
                assert status in {200, 400, 403, 404, 413, 415, 503}, (address, what, kind, status)
    watch.done()
    assert rows() == before


def test_the_api_survives_odd_bodies_and_encodings(place: Place) -> None:
    watch, before = Watch(), rows()
    bomb = gzip.compress(b" " * 50_000_000, compresslevel=9)
    bodies = {
        "nothing": b"", "nested": b"[" * 100_000, "UTF-16": '{"a": "1"}'.encode("utf-16"), "packed": bomb, "BOM": b"\xef\xbb\xbf{}",
        "doubled": b'{"a": 1, "a": 2}', "infinite": b'{"amount": Infinity}', "surrogate": b'{"\\ud800": "\\ud800"}',
        "large": b'{"a": "' + b"x" * 1_000_000 + b'"}', "a huge number": b'{"amount": ' + b"9" * 100_000 + b"}",
    }  # fmt: skip
    for address in place.addresses(admin=False):
        if not address.startswith("/api/") or address in HEALTH:
            continue
        for what, body in bodies.items():
            packed = {"Content-Encoding": "gzip"} if what == "packed" else {}
            watch.send(what, "POST", address, body, content_type="application/json", headers=packed)
        for kind in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/json; charset=nonsense",
        ):
            watch.send(kind, "POST", address, b"a=1", content_type=kind)
        watch.send("odd headers", "POST", address, b"{}", content_type="application/json", headers={
            "Idempotency-Key": "\x00\xff" * 200, "X-Guest-Token": "\xff" * 9000, "Accept": "\x00", "Accept-Language": "xx-\xff,*;q=NaN",
            "X-Request-ID": "\r\n", "Authorization": "Bearer \xff.\x00.x",
        })  # fmt: skip
    watch.done()
    assert rows() == before
