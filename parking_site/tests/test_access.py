"""Every route, every role, every kind of object: who may come in, and that other people's things look like nothing at all.

The routes are read from the URL map and the admin's register, the rules from access_rules.py. What does not belong to a caller and
what does not exist must get the same answer, byte by byte, on every verb.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.test.client import ClientHandler
from django.urls import reverse
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import User
from bookings.pages.access import SESSION_KEY
from bookings.tests.world import DAY
from parking_site.tests import access_rules as rules
from parking_site.tests.access_rules import API, NO_ID, PAGES, STAFF_MODELS, STAFF_PAGES, STAFF_SITE, Door
from parking_site.tests.cast import Cast, a_row_of_each, staff
from parking_site.tests.test_idempotency import routes

pytestmark = pytest.mark.django_db(transaction=True)
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OWNERS = ("ada", "guest", "nobody")
Record = Callable[[str, object], None]
MANY_VERBS = {
    "nobody",
    "Ada",
}  # whether a verb is known does not depend on who asks: these two try them all, the others what is known
PLACEHOLDER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")
# What may differ between two answers that say the same.
NOISE = re.compile(
    rb'nonce="[^"]*"|nonce-[\w+/=-]+|name="csrfmiddlewaretoken" value="[^"]*"|"requestId":\s*"[^"]*"|\b[0-9a-f]{16}\b|AP-[0-9A-Z]{6}'
    rb"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
)


class Quick(Client):
    """Django's test client without what costs more than the answers: copies of every template's context, and middleware built anew."""

    shared = ClientHandler(enforce_csrf_checks=False)
    strict = ClientHandler(enforce_csrf_checks=True)

    def __init__(self, *, enforces_csrf: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.handler = self.strict if enforces_csrf else self.shared

    def request(self, **request: Any) -> Any:
        return self.handler(self._base_environ(**request))


@dataclass(frozen=True)
class Role:
    name: str
    client: Callable[[], Any]
    user: User | None = None
    guest_of: str = ""  # whose booking this caller may open without an account


class Ledger:
    """What was tried, and what was not as the rules say."""

    def __init__(self, title: str) -> None:
        self.title, self.cells, self.began = title, 0, time.monotonic()
        self.wrong: list[str] = []

    def expect(self, cell: str, response: Any, allowed: set[int], *, same_as: Any = None) -> None:
        self.cells += 1
        if response.status_code not in allowed:
            self.wrong.append(f"{cell}: {response.status_code}, not {sorted(allowed)}")
        elif same_as is not None and said(response) != said(same_as):
            self.wrong.append(f"{cell}: differs from the answer for what does not exist")

    def close(self, routes_tried: int, record_property: Record) -> None:
        took = time.monotonic() - self.began
        # conftest.py prints it: how much was tried is part of the answer.
        record_property("size", f"{self.title}: {routes_tried} routes, {self.cells} cells, {took:.0f} s")
        assert not self.wrong, f"{len(self.wrong)} cells:\n" + "\n".join(self.wrong[:80])


def said(response: Any) -> tuple[Any, ...]:
    """An answer without what differs from call to call."""
    kept = {"Content-Type", "Location", "WWW-Authenticate", "Allow", "Cache-Control", "Retry-After"}
    headers = tuple(
        sorted((name, NOISE.sub(b"", value.encode())) for name, value in response.items() if name in kept)
    )
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return response.status_code, headers, NOISE.sub(b"", body)


def undone(call: Callable[[], Any]) -> Any:
    """Make a call and take back what it did."""
    with transaction.atomic():
        response = call()
        transaction.set_rollback(True)
    return response


def asked(client: Client, verb: str, address: str, **more: Any) -> Any:
    """Ask once, and take back what that did."""
    return undone(lambda: client.generic(verb, address, **more))


def filled(path: str, values: dict[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        return values[match[1] or match[2]]

    return "/" + PLACEHOLDER.sub(value, path).replace("^", "").replace("$", "").replace("(/.*)?", "/nothing")


# --- No route without a rule ------------------------------------------------------------------------------------------------


def test_every_route_has_a_rule() -> None:
    found = [(path, name) for path, _view, name in routes()]
    registered = {model._meta.label_lower for model in admin.site._registry}
    missing = rules.missing_rules(found, registered)
    assert not missing, "\n".join(missing)
    gone = (set(PAGES) | set(API) | set(STAFF_SITE)) - {path for path, _name in found}
    gone |= set(STAFF_PAGES) - {name for _path, name in found}
    gone |= set(STAFF_MODELS) - registered
    assert not gone, "rules for what is no more: " + ", ".join(sorted(gone))


@pytest.mark.parametrize(
    ("path", "name", "table"),
    [
        ("gift-cards", "gift_cards", "PAGES"),
        ("api/gift-cards", "", "API"),
        ("admin/gift-report/", "gift_report", "STAFF_SITE or STAFF_MODELS"),
        ("admin/payments/payment/<uuid:pk>/gift/", "payments_payment_gift", "STAFF_PAGES"),
    ],
)
def test_a_route_without_a_rule_is_told_where_its_rule_goes(path: str, name: str, table: str) -> None:
    (told,) = rules.missing_rules([("health", "health"), (path, name)], STAFF_MODELS)
    assert told.startswith(path) and f"say in access_rules.{table} who may" in told
    assert rules.missing_rules([], ["gifts.card"]) == [
        "gifts.card: say in access_rules.STAFF_MODELS what staff may do"
    ]


# --- Pages and webhooks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def cast(sandbox: Any, settings: Any) -> Iterator[Cast]:
    settings.ACCOUNT_RATE_LIMITS = False
    settings.RATE_LIMITS_ENABLED = settings.RATELIMIT_ENABLE = False  # thousands of calls from one address
    settings.RATE_LIMITS = {group: ["999999/m", "999999/m"] for group in settings.RATE_LIMITS}
    logging.disable(logging.CRITICAL)  # refusals by the thousand; a 500 is a wrong cell
    yield Cast()
    logging.disable(logging.NOTSET)


def browser_of(user: User | None, *, guest_of: str = "", cast: Cast | None = None) -> Callable[..., Client]:
    """Make browsers that are signed in as this person; each comes new, so that no cell leaves anything to the next."""
    first = Client()
    if user is not None:
        first.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    if guest_of and cast is not None:
        session = first.session
        session[SESSION_KEY] = [cast.booking(guest_of, held=held).reference for held in (True, False)]
        session.save()
        first.cookies["session"] = str(session.session_key)

    def fresh(*, enforces_csrf: bool = False) -> Client:
        client = Quick(enforces_csrf=enforces_csrf)
        for name, morsel in first.cookies.items():
            client.cookies[name] = morsel.value
        return client

    return fresh


def verbs_of(allowed: rules.Answers, role: Role, owners: tuple[str, ...]) -> list[str]:
    many = MANY_VERBS if len(owners) > 1 else {"Ada"}
    return [verb for verb in VERBS if role.name in many or verb in allowed]


def people(cast: Cast) -> list[Role]:
    return [
        Role("nobody", browser_of(None)),
        Role("Ada", browser_of(cast.ada), cast.ada),
        Role("Ben", browser_of(cast.ben), cast.ben),
        Role("the guest", browser_of(None, guest_of="guest", cast=cast), guest_of="guest"),
        Role("another guest", browser_of(None, guest_of="other guest", cast=cast), guest_of="other guest"),
        Role("new staff", browser_of(cast.new), cast.new),
        Role("Vic", browser_of(cast.vic), cast.vic),
        Role("Kim", browser_of(cast.kim), cast.kim),
        Role("Root", browser_of(cast.root), cast.root),
    ]


def refusal(door: Door, role: Role, owner: str, cast: Cast) -> set[int]:
    """What this caller is answered who may not come in; empty for who may."""
    user = role.user
    if door.who in {"anybody"}:
        return set()
    if door.who == "signed in":
        return set() if user else {302, 401}
    exists = owner != "nobody"
    if door.who in {"product", "mail link", "guest link"}:
        return set() if exists else {404}
    mine = exists and ((user is not None and user == getattr(cast, owner, None)) or role.guest_of == owner)
    if door.who in {"card", "quote"}:
        if user is None:
            return {302, 401}
        return set() if mine else {404}
    if door.who == "transaction":
        sees_all = user is not None and user.is_staff and user.has_perm("payments.view_payment")
        return {401} if user is None else set() if exists and (mine or sees_all) else {404}
    if door.who in {"booking", "booking to change"}:
        if mine:
            return set()
        if not exists or user is None or not user.has_perm("bookings.view_booking"):
            return {404}
        return set() if door.who == "booking" or user.has_perm("bookings.change_booking") else {403}
    raise AssertionError(f"access_rules names an unknown kind of door: {door.who}")


def test_pages_open_for_whom_they_should_and_show_nothing_to_others(
    cast: Cast, record_property: Record
) -> None:
    ledger, everybody = Ledger("Pages and webhooks"), people(cast)
    for path, door in PAGES.items():
        owners = OWNERS if "<" in path and door.who != "anybody" else ("nobody",)
        # Ada last: what she does at a live door stays done, and others must have tried it on what was there.
        for role in sorted(everybody, key=lambda one: one.user == cast.ada):
            for verb in verbs_of(door.allowed(), role, owners):
                absent = None
                for owner in reversed(owners):
                    if owner == "guest" and verb not in door.allowed():
                        continue  # as for Ada's
                    address = filled(
                        rules.mail_link(path, owner) if door.who == "mail link" else path,
                        rules.addresses(cast, owner, held=door.held),
                    )

                    def call(verb: str = verb, address: str = address, role: Role = role) -> Any:
                        return role.client().generic(verb, address)

                    response = call() if door.live else undone(call)
                    barred = refusal(door, role, owner, cast)
                    allowed = door.allowed(is_signed_in=role.user is not None)
                    expected = allowed.get("GET" if verb == "HEAD" else verb, door.wrong_verb)
                    if barred:
                        # Some doors look at the verb first, some at the person.
                        expected = barred if expected != door.wrong_verb else barred | door.wrong_verb
                    cell = f"{verb} /{path} by {role.name}, of {owner}"
                    hidden = 404 in barred and owner != "nobody"
                    ledger.expect(cell, response, expected, same_as=absent if hidden else None)
                    absent = response if owner == "nobody" else absent
    ledger.close(len(PAGES), record_property)


# --- The API ------------------------------------------------------------------------------------------------------------------


def program_of(*, bearer: str = "", guest_token: str = "") -> Callable[[], Client]:
    def fresh() -> Client:
        given = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return Quick(headers=given | ({"X-Guest-Token": guest_token} if guest_token else {}))

    return fresh


def called(client: Client, verb: str, address: str, body: Any) -> Any:
    text = "" if verb in {"GET", "HEAD"} else json.dumps(body)
    return client.generic(
        verb, address, text, content_type="application/json", headers={"Idempotency-Key": uuid4().hex}
    )


def programs(cast: Cast, *, door: Door) -> list[Role]:
    def of(user: User) -> Callable[[], Client]:
        return program_of(bearer=cast.access_token(user))

    held = " held" if door.held else " ordered" if door.ordered else ""
    expired = AccessToken.for_user(cast.ada)
    expired["family"] = "0"
    expired.set_exp(lifetime=-DAY)
    head, payload, _signature = cast.access_token(cast.ada).split(".")
    found = [
        Role("nobody", program_of()),
        Role("an expired token", program_of(bearer=str(expired))),
        Role("a forged token", program_of(bearer=f"{head}.{payload}.{'A' * 43}")),
        Role("an unsigned token", program_of(bearer=f"eyJhbGciOiJub25lIn0.{payload}.")),
        Role("Ada", of(cast.ada), cast.ada),
        Role("Ben", of(cast.ben), cast.ben),
        Role("new staff", of(cast.new), cast.new),
        Role("Vic", of(cast.vic), cast.vic),
        Role("Kim", of(cast.kim), cast.kim),
        Role("Root", of(cast.root), cast.root),
        Role("the guest", program_of(guest_token=cast.guest_token[f"guest{held}"]), guest_of="guest"),
        Role(
            "another guest",
            program_of(guest_token=cast.guest_token[f"other guest{held}"]),
            guest_of="other guest",
        ),
    ]
    if door.permission:
        holder = staff(f"holder-of-{door.permission.replace('.', '-')}", door.permission)
        found.append(Role("staff with the permission", of(holder), holder))
    return found


def api_refusal(door: Door, role: Role, owner: str, verb: str, cast: Cast) -> set[int]:
    if role.name.endswith("token"):
        return {401}
    user = role.user
    if door.who == "staff":
        if user is None:
            return {401}
        return set() if user.is_staff and user.has_perm(door.permission) else {403}
    if door.who == "refund":
        if user is None and not role.guest_of:
            return {401}
        if user is not None and user.is_staff:
            if not user.has_perm(door.permission):
                return {403}
            return set() if owner != "nobody" else {404}
        mine = (user is not None and user == getattr(cast, owner, None)) or role.guest_of == owner
        return {403} if mine else {404}  # the owner cancels, and the refund follows by itself
    if door.needs_caller and user is None and not role.guest_of:
        return {401}
    if door.who == "quote":
        if verb != "POST":
            return set() if user else {401}
        return set() if user == getattr(cast, owner, cast) else {400}
    return refusal(door, role, owner, cast)


def test_the_api_opens_for_whom_it_should_and_shows_nothing_to_others(
    cast: Cast, record_property: Record
) -> None:
    ledger = Ledger("API")
    for path, door in API.items():
        named_in_body = door.who in {"booking to change", "refund", "quote"}
        owners = OWNERS if "<" in path or named_in_body else ("nobody",)
        for role in sorted(programs(cast, door=door), key=lambda one: one.user == cast.ada):
            for verb in verbs_of(door.allowed(), role, owners):
                absent = None
                for owner in reversed(owners):
                    if owner == "guest" and verb not in door.allowed():
                        continue  # as for Ada's
                    address = filled(path, rules.addresses(cast, owner, held=door.held))
                    body = rules.bodies(cast, path, owner)

                    def call(
                        verb: str = verb, address: str = address, body: Any = body, role: Role = role
                    ) -> Any:
                        return called(role.client(), verb, address, body)

                    response = call() if door.live else undone(call)
                    asked = "GET" if verb == "HEAD" else verb
                    barred = api_refusal(door, role, owner, asked, cast)
                    allowed = door.allowed()
                    if door.who == "anybody" and not door.reads_token:
                        barred = set()
                    if asked in allowed:
                        expected = barred or allowed[asked]
                    elif verb == "OPTIONS":
                        expected = {200, 401, 403, 404, 405}
                    else:
                        expected = {405} | (barred & {401, 403, 404})
                    cell = f"{verb} /{path} by {role.name}, of {owner}"
                    hidden = bool(barred & {404, 400}) and owner != "nobody"
                    ledger.expect(cell, response, expected, same_as=absent if hidden else None)
                    absent = response if owner == "nobody" else absent
    ledger.close(len(API), record_property)


# --- The admin ----------------------------------------------------------------------------------------------------------------

STANDARD = ("changelist", "add", "history", "delete", "change")
ASKS_PROVIDERS = {"payments_break_look"}  # not in a transaction, as the cells are
PAGE_OF_ITS_OWN = {"communications.emergencyalert"}  # its form's address leads there, whatever the verb
BARE = "bare"  # <id>/, which leads to the form


def staff_routes() -> Iterator[tuple[str, str, str]]:
    """Yield (path, model's label, name of the page within the model, or "" where it is one of our own)."""
    for path, _view, name in routes():
        label = next((one for one in STAFF_MODELS if path.startswith(f"admin/{one.replace('.', '/')}/")), "")
        if not label:
            continue
        if name in STAFF_PAGES:
            yield path, label, name
        elif name.endswith("_action"):
            yield path, label, "action"
        else:
            yield path, label, next((page for page in STANDARD if name.endswith(f"_{page}")), BARE)


def verbs_of_staff(role: str, page: str, needs: str, rights: str, *, absent: bool) -> list[str]:
    """What this role tries at a staff page: whatever could be answered otherwise than to the roles before it.

    Who is not staff is stopped before any page by one wrapper, and an address without a row is looked up the same way by every verb. What a
    right form does is other tests' business.
    """
    if role in {"nobody", "customer"}:
        return ["GET"]
    if absent:
        return ["GET", "POST"] if role == "new" and needs else ["GET"]
    posts = page not in ASKS_PROVIDERS
    if role == "new":
        return ["GET", "POST"] if posts else ["GET"]
    if needs:
        if role == "root" and needs != "superuser":
            return [] if ".view_" in needs else ["GET"]
        if role == "holder" and (needs == "superuser" or ".view_" in needs):
            return []
        return ["GET", "POST"] if posts else ["GET"]
    if page in {"changelist", "history", "action", BARE}:
        return ["GET"] if role == "viewer" else []
    if page == "change":
        return ["GET", "POST"] if role == "viewer" or "c" in rights else ["POST"]
    return ["GET"]


def staff_address(path: str, row: Any) -> str:
    """The page of this row; of none where there is no row."""

    def value(match: re.Match[str]) -> str:
        known = {"channel": "email", "language": "en", "step": "pause", "number": "1", "kind": "rule"}
        if match[2] == "name":
            return "REMINDER_HOURS" if row is not None else "NOTHING"
        name, kind = match[2], match[1]
        if name in known:
            return known[name]
        if row is not None:
            return str(row.pk)
        return str(NO_ID) if kind == "uuid" else "no-such-id" if kind == "path" else "999999"

    return "/" + re.sub(r"<(?:(\w+):)?(\w+)>", value, path)


def admin_answers(page: str, label: str, row: Any, role: str, verb: str) -> set[int]:
    """What a member of staff is answered: `role` is "new", "viewer" or "root"; no row stands for one that does not exist."""
    rights = STAFF_MODELS[label]
    if row is None and page != "add":
        return {
            302,
            403,
            404,
        }  # to staff no number is a secret; what matters is that nothing breaks and nothing opens
    if page == BARE:
        return {302}
    if page == "changelist":
        return {403} if role == "new" else {200}
    if page == "add":
        return {200} if role == "root" and "a" in rights else {403}
    if page == "delete":
        if not (role == "root" and "d" in rights):
            return {403}
        return {200}
    if page == "history":
        return {403} if role == "new" else {200}
    if page == "change":
        if role == "new" or (verb == "POST" and not (role == "root" and "c" in rights)):
            return {302} if label in PAGE_OF_ITS_OWN and role != "new" else {403}
        return {200, 302}  # some have a page of their own instead of a form
    if page == "action":
        return {302, 403}  # leads to a page of our own, which asks for its permission
    raise AssertionError(page)


@pytest.mark.parametrize("part", ["money", "the rest"])
def test_staff_pages_open_for_their_permissions_only(cast: Cast, record_property: Record, part: str) -> None:
    ledger = Ledger(f"Admin, {part}")
    rows = a_row_of_each(cast)
    fixed = {
        "nobody": browser_of(None), "customer": browser_of(cast.ada), "new": browser_of(cast.new), "viewer": browser_of(cast.vic),
        "root": browser_of(cast.root),
    }  # fmt: skip
    holders: dict[tuple[str, str], Callable[[], Client]] = {}
    found = [one for one in staff_routes() if one[1].startswith("payments.") is (part == "money")]
    for path, label, page in found:
        app, model = label.split(".")
        clients = dict(fixed)
        needs, ok = STAFF_PAGES.get(page, ("", ""))
        if needs:
            needs = f"{app}.view_{model}" if needs == "view" else needs
            if needs == "superuser":
                holders[label, needs] = fixed["root"]
            elif (label, needs) not in holders:
                person = staff(f"{model}-{needs.replace('.', '-')}", f"{app}.view_{model}", needs)
                holders[label, needs] = browser_of(person)
            clients["holder"] = holders[label, needs]
        seen: dict[str, int] = {}  # what new staff were answered about what there is
        for row in (rows[label], None) if "<" in path else (rows[label],):
            address = staff_address(path, row)
            for role, client in clients.items():
                if row is None and role not in {"new", "root"}:
                    continue  # the others get no further than these
                for verb in verbs_of_staff(role, page, needs, STAFF_MODELS[label], absent=row is None):
                    response = asked(client(), verb, address)
                    cell = f"{verb} {address} ({page}) by {role}"
                    if role in {"nobody", "customer"}:
                        ledger.expect(cell, response, {302})
                        if response.status_code == 302 and reverse("admin:login") not in response["Location"]:
                            ledger.wrong.append(f"{cell}: led to {response['Location']}, not to the sign-in")
                        continue
                    if role == "new" and page != BARE:
                        status = seen.setdefault(verb, response.status_code)
                        if response.status_code != status:
                            ledger.wrong.append(
                                f"{cell}: {response.status_code}, and {status} for what there is"
                            )
                    if not needs:
                        expected = admin_answers(page, label, row, role, verb)
                    elif role == "new" or (role == "viewer" and ".view_" not in needs):
                        expected = {403, 405} if row is not None else {403, 404, 405}
                    else:
                        allowed = rules.answers(ok)
                        expected = allowed[verb] if row is not None else {302, 403, 404, 405}
                    ledger.expect(cell, response, expected)
    for path, ok in STAFF_SITE.items() if part == "the rest" else ():
        allowed = rules.answers(ok)
        address = "/" + path.replace("<path:content_type_id>/<path:object_id>", "1/1").replace(
            "(?P<url>.*)$", "nothing/"
        )
        for role, client in fixed.items():
            for verb in allowed:
                response = asked(client(), verb, address)
                expected = allowed[verb] if role in {"new", "viewer", "root"} else {302}
                if role == "new" and path in rules.STAFF_SITE_VIEWS:
                    expected = {403, 405}
                if path in rules.STAFF_SITE_OPEN:
                    expected = expected | {200, 302, 405} | ({403} if role == "customer" else set())
                ledger.expect(f"{verb} {address} by {role}", response, expected)
    ledger.close(len(found) + (len(STAFF_SITE) if part == "the rest" else 0), record_property)


# --- Forged forms, and more than was asked for --------------------------------------------------------------------------------


def test_every_form_refuses_a_post_from_another_site(cast: Cast, record_property: Record) -> None:
    """Fault 56. Only calls that are signed otherwise, and the one-click link of mails (RFC 8058), do without the token."""
    ledger = Ledger("Forged forms")
    rows = a_row_of_each(cast)
    signed = {path for path in PAGES if path.startswith(("webhooks/", "stripe/"))} | {
        "messages/unsubscribe/<str:token>"
    }
    tried = [
        (path, filled(path, rules.addresses(cast, "ada", held=door.held)))
        for path, door in PAGES.items()
        if path not in signed and "POST" in rules.answers(door.ok)
    ]
    tried += [(path, staff_address(path, rows[label])) for path, label, _page in staff_routes()]
    tried += [(path, "/" + path) for path, ok in STAFF_SITE.items() if "POST" in ok]
    browsers = {user: browser_of(user) for user in (cast.ada, cast.root)}
    for path, address in tried:
        user = cast.root if path.startswith("admin/") else cast.ada
        client = browsers[user](enforces_csrf=True)
        response = asked(client, "POST", address, headers={"Origin": "https://evil.example"})
        ledger.expect(f"POST /{path} by {user}", response, {403})
    ledger.close(len(tried), record_property)


EXTRA = {
    "state": "confirmed", "status": "captured", "price": 1, "total": "0.01", "totalMinor": 1, "amountMinor": 1, "user": 1, "userId": 1,
    "isStaff": True, "is_superuser": True, "createdAt": "2020-01-01T00:00:00Z", "id": 1, "holdExpiresAt": "2099-01-01T00:00:00Z",
}  # fmt: skip


def test_no_call_takes_more_than_it_asks_for(cast: Cast, record_property: Record) -> None:
    """Fault 43: a field that a call does not know is refused by its name, on every POST and PATCH, also deeper in the body."""
    ledger = Ledger("Mass assignment")
    tried = 0
    for path, door in API.items():
        for verb in {"POST", "PATCH"} & set(door.allowed()) if not path.startswith("^api(") else ():
            if path == "api/payments/methods/<uuid:method_id>/default":
                continue  # takes no body at all
            tried += 1
            user = cast.root if door.who in {"staff", "refund"} else cast.ada
            client = program_of(bearer=cast.access_token(user))()
            address = filled(path, rules.addresses(cast, "ada", held=door.held))
            body = rules.bodies(cast, path, "ada")
            deeper = [name for name, value in body.items() if isinstance(value, dict) and name != "variables"]
            for part in ("", *deeper):
                more = body | EXTRA if not part else body | {part: body[part] | EXTRA}

                def call(
                    verb: str = verb, more: Any = more, client: Any = client, address: str = address
                ) -> Any:
                    return called(client, verb, address, more)

                response = undone(call)
                ledger.expect(f"{verb} /{path} with more {part}", response, {400})
                if response.status_code == 400:
                    named = {error["field"] for error in json.loads(response.content).get("errors", [])}
                    known = set(body[part] if part else body)
                    quiet = {f"{part}.{name}" if part else name for name in set(EXTRA) - known} - named
                    if quiet:
                        ledger.wrong.append(f"{verb} /{path}: does not name {sorted(quiet)}")
    ledger.close(tried, record_property)


def test_forms_ignore_what_they_did_not_ask_for(cast: Cast) -> None:
    """Fault 43 on pages: nobody makes themselves staff, and no form sets a price, a state or an owner."""
    powers = {
        "is_staff": "on",
        "is_superuser": "on",
        "user_permissions": "1",
        "groups": "1",
        "user": cast.ben.pk,
    }
    Client().post(
        reverse("account_signup"),
        {"email": "eve@example.com", "password1": "rather-long-Secret-7", "name": "Eve", **powers},
    )
    eve = User.objects.get(email="eve@example.com")
    client = browser_of(cast.ada)()
    client.post(
        reverse("accounts:profile"), {"name": "Ada L.", "language": "en", "email": "x@example.com", **powers}
    )
    cast.ada.refresh_from_db()
    assert (cast.ada.name, cast.ada.email) == ("Ada L.", "ada@example.com")
    for user in (eve, cast.ada):
        assert not user.is_staff and not user.is_superuser and not user.user_permissions.exists()
    start = cast.quote["ada"].start_at
    form = {
        "name": "Ada", "email": "ada@example.com", "phone": "+447700900123", "plate": "AB12CDE", "airport": "LHR",
        "drop_off": f"{start:%Y-%m-%dT10:00}", "return": f"{start + DAY:%Y-%m-%dT10:00}",
        "attempt": "0b6f7f3e-7d0c-4f57-9a55-3a1d2c4b5e6f",
        "total_minor": "1", "status": "confirmed", "user": cast.ben.pk, "user_id": cast.ben.pk, "hold_expires_at": "2099-01-01",
    }  # fmt: skip
    answer = client.post(reverse("bookings:book", args=[cast.product.pk]), form)
    assert answer.status_code == 302
    booking = cast.ada.bookings.latest("created_at")
    assert (booking.status, booking.total_minor, booking.user) == (
        "held",
        booking.quote.total_minor,
        cast.ada,
    )
    assert booking.total_minor > 1
    booking_page = reverse("bookings:cancel", args=[booking.reference])
    assert client.post(booking_page, {"refund_minor": "99999", "preview_token": "x"}).status_code != 500
