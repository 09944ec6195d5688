"""A person's data: all of it handed over to them, none of it left when they want that, and the books as true as before."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import timedelta
from typing import Any

import djstripe.models
import pytest
from allauth.account.models import EmailAddress
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from psycopg import sql

from accounts import persons
from accounts.models import Erasure, User
from accounts.services import issue_tokens
from bookings.models import Booking, Cancellation
from bookings.services.amend import Change, amend, preview_amendment
from bookings.services.cancel import cancel, preview_cancellation
from bookings.tests.world import DAY, hold, make_product
from communications.models import Message
from foundation import audit, personal
from foundation.models import AuditEntry
from payments.models import Document, Payment, ProviderCustomer, ProviderEvent, Refund, StoredMethod
from payments.services import refund as refunds
from payments.services.inbox import process_event
from payments.services.settle import settle
from payments.tests.world import checkout, pay, provider, saved_card, saved_wallet
from payments.webhooks.notices import note
from payments.webhooks.stripe import mirror

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "rather-long-Secret-7"
EMAIL, PHONE, NAME, PLATE = "canary.ada@example.com", "+447700900777", "Canary Lovelace", "CANARY7"
TRACES = (EMAIL, "447700900777", "canary")


@pytest.fixture
def ada(db: None) -> User:
    user = User.objects.create_user(EMAIL, PASSWORD, name=NAME, phone=PHONE)
    EmailAddress.objects.create(user=user, email=EMAIL, primary=True, verified=True)
    return user


@pytest.fixture
def sam(db: None) -> User:
    user = User.objects.create_user("sam@staff.example", PASSWORD, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(codename__in=("view_user", "view_erasure", "export_person", "erase_person"))
    )
    return user


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def stay(product: Any, *, user: User | None, email: str = EMAIL, days_ahead: int = 9) -> Booking:
    now = timezone.now()
    booking = hold(product, start=now + days_ahead * DAY, now=now, user=user, email=email).booking
    Booking.objects.filter(pk=booking.pk).update(
        driver_name=NAME, driver_phone=PHONE, plate=PLATE, outbound_flight="CA777", return_flight="CA778"
    )
    booking.refresh_from_db()
    return booking


def paid(booking: Booking) -> Payment:
    session = checkout(booking)
    assert pay(session) == 200
    payment = settle(session.payment.pk)
    intent = json.loads(str(provider().v1.payment_intents.retrieve(payment.provider_ref or "")))
    mirror("payment_intent", {**intent, "receipt_email": EMAIL, "shipping": {"name": NAME, "phone": PHONE}})
    return payment


def cancelled(booking: Booking) -> None:
    booking.refresh_from_db()
    now = timezone.now()
    token = preview_cancellation(booking, now=now).token
    cancel(booking, preview_token=token, now=now, requested_by=booking.user, reason="canary wrote this")
    refunds.refund_cancellation(Cancellation.objects.get(booking=booking).pk)
    for one in Refund.objects.filter(payment__booking=booking):
        refunds.send_refund(one.pk)
        settle(one.payment_id)


@pytest.fixture
def life(sandbox: Any, ada: User) -> User:
    """All that a customer leaves: a card, a wallet, a stay that is over, a cancelled one with its refund, a change, messages, sign-ins."""
    product = make_product(capacity=9)
    saved_card(ada)
    saved_wallet(ada)
    first, second = stay(product, user=ada), stay(product, user=ada, days_ahead=20)
    paid(first), paid(second)
    first.refresh_from_db()
    shown = preview_amendment(first, Change(driver_name="Canary Changed"), now=timezone.now())
    amend(first, preview_token=shown.token, now=timezone.now(), requested_by=ada)
    cancelled(second)
    issue_tokens(ada)
    customer = ProviderCustomer.objects.get(user=ada, provider="stripe").provider_ref
    mirror("customer", json.loads(str(provider().v1.customers.retrieve(customer))))
    assert djstripe.models.Customer.objects.get(id=customer).email == EMAIL
    return ada


def tables_with(*traces: str) -> dict[str, str]:
    """Every table of the database in which one of these texts is left, with a row of it."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(
                sql.SQL(
                    "SELECT row_to_json(t)::text FROM {} t WHERE row_to_json(t)::text ILIKE ANY(%s) LIMIT 1"
                ).format(sql.Identifier(table)),
                [[f"%{trace}%" for trace in traces]],
            )
            if row := cursor.fetchone():
                found[table] = row[0]
    return found


def erase(user: User | None, by: Any = None, email: str = EMAIL) -> Erasure:
    person = persons.person_of(user) if user else persons.guest(email)
    row = persons.begin(person, by=by, reason="They asked", now=later())
    return persons.carry_on(row.pk, now=later())


def later() -> Any:
    """When every stay of these tests is over."""
    return timezone.now() + 60 * DAY


def test_nothing_of_a_person_is_left_but_what_the_law_wants_and_the_books_agree(
    life: User, sam: User
) -> None:
    documents = list(Document.objects.order_by("number").values_list("number", "content", "total_minor"))
    captured = list(Payment.objects.order_by("pk").values_list("pk", "captured_minor", "refunded_minor"))
    client = signed_in(life)
    assert client.get(reverse("accounts:profile")).status_code == 200
    assert set(tables_with(*TRACES)) > {"bookings_booking", "accounts_user", "djstripe_customer"}

    row = erase(life, by=sam)

    assert (row.status, row.emails, row.phones) == ("done", [], [])
    left = tables_with(*TRACES)
    # Receipts and credit notes as they were sent (tax law); the audit log, whose own term ends it.
    assert set(left) <= {"payments_document", "foundation_auditentry"}, left
    assert documents == list(
        Document.objects.order_by("number").values_list("number", "content", "total_minor")
    )
    assert captured == list(
        Payment.objects.order_by("pk").values_list("pk", "captured_minor", "refunded_minor")
    )
    assert len(documents) == 3
    call_command("audit_books")
    # Nobody is at the providers any more.
    assert set(StoredMethod.objects.values_list("status", "label", "last4")) == {("removed", "erased", "")}
    assert not ProviderCustomer.objects.filter(user=life).exists()
    assert not [one for one in provider().v1.customers.list({"limit": 100}).data if one.email == EMAIL]
    # Nobody is signed in, and nobody can sign in.
    assert client.get(reverse("accounts:profile")).status_code == 302
    life.refresh_from_db()
    assert not life.is_active and not life.has_usable_password() and personal.is_gone(life.email)
    assert AuditEntry.objects.filter(action="erasure_done", actor=sam, reason="They asked").count() == 1
    # A second time changes nothing, a late event brings nobody back, and the address is free again.
    entries = AuditEntry.objects.count()
    assert persons.carry_on(row.pk, now=later()).status == "done"
    assert AuditEntry.objects.count() == entries
    payment = Payment.objects.filter(provider="stripe", captured_minor__gt=0).first()
    assert payment is not None and payment.provider_ref
    provider().v1.payment_intents.update(payment.provider_ref, {"receipt_email": EMAIL})
    note(
        "stripe",
        event_ref="evt_late",
        kind="payment_intent.succeeded",
        object_kind="payment_intent",
        object_ref=payment.provider_ref,
        livemode=False,
    )
    assert process_event(ProviderEvent.objects.get(event_ref="evt_late").pk).status == "processed"
    assert "djstripe_paymentintent" not in tables_with(EMAIL)
    assert User.objects.create_user(EMAIL, PASSWORD).pk != life.pk


def test_an_erasure_that_is_killed_at_any_step_goes_on_where_it_was(
    life: User, sam: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = later()
    row = persons.begin(persons.person_of(life), by=sam, reason="They asked", now=now)
    life.refresh_from_db()
    assert not life.is_active, "closed at once"
    for name, keeper in personal.keepers().items():
        with monkeypatch.context() as patch:

            def killed(*args: Any, **kwargs: Any) -> Any:
                raise SystemExit("killed")

            patch.setattr(keeper, "forget", killed)
            with pytest.raises(SystemExit):
                persons.carry_on(row.pk, now=now)
        row.refresh_from_db()
        assert name not in row.steps
        assert persons.begin(persons.person_of(life), by=sam, reason="again", now=now).pk == row.pk
        persons_left = dict(row.steps)
        # One step further, then dead again.
        order = list(personal.keepers())
        if order.index(name) + 1 < len(order):
            following = personal.keepers()[order[order.index(name) + 1]]
            with monkeypatch.context() as patch:
                patch.setattr(following, "forget_elsewhere", killed)
                with pytest.raises(SystemExit):
                    persons.carry_on(row.pk, now=now)
            row.refresh_from_db()
            assert set(row.steps) == {*persons_left, name}
    assert persons.take_up(now=now + timedelta(minutes=2)) == 1
    assert persons.carry_on(row.pk, now=now).status == "done"
    assert set(tables_with(*TRACES)) <= {"payments_document", "foundation_auditentry"}
    assert persons.take_up(now=now + timedelta(minutes=4)) == 0


def test_a_provider_that_does_not_answer_holds_the_rest_up_and_not_for_ever(
    life: User, sam: User, sandbox: Any
) -> None:
    sandbox.post(
        "/faults",
        {"operation": "stripe.payment_methods.detach", "behaviour": "refuse", "status": 500, "times": 50},
    )
    row = erase(life, by=sam)
    assert row.status == "running" and row.steps == {}
    assert not User.objects.get(pk=life.pk).is_active
    sandbox.delete("/faults")
    assert persons.carry_on(row.pk, now=later()).status == "done"


def test_what_is_still_open_is_said_and_nothing_is_touched(sandbox: Any, ada: User, sam: User) -> None:
    product = make_product(capacity=9)
    held = stay(product, user=ada)
    assert any(held.reference in said and "held" in said for said in _matters(ada))
    payment = paid(held)
    (said,) = _matters(ada)
    assert held.reference in said and "still to come" in said
    for act in (
        lambda: persons.begin(persons.person_of(ada), by=sam, reason="They asked", now=timezone.now()),
        lambda: persons.ask(persons.person_of(ada), now=timezone.now()),
    ):
        with pytest.raises(persons.StillOpen, match="still to come"):
            act()
    client = signed_in(ada)
    page = client.get(reverse("accounts:data")).content.decode()
    assert "still to come" in page and "Ask for erasure" not in page
    assert client.post(reverse("accounts:data_erase"), {"erase-password": PASSWORD}).status_code == 409
    held.refresh_from_db()
    token = preview_cancellation(held, now=timezone.now()).token
    cancel(held, preview_token=token, now=timezone.now(), requested_by=ada, reason="")
    assert any("refund" in said for said in _matters(ada)), "owed, though no refund row is there yet"
    refunds.refund_cancellation(Cancellation.objects.get().pk)
    assert any("refund" in said for said in _matters(ada))
    refunds.send_refund(Refund.objects.get().pk)
    settle(payment.pk)
    assert _matters(ada) == []
    Refund.objects.filter(status="succeeded").update(status="failed")  # the bank returned it
    assert any("still owed" in said for said in _matters(ada))
    assert User.objects.get(pk=ada.pk).is_active
    assert "staff" in _matters(sam)[0]


def _matters(user: User) -> list[str]:
    return persons.open_matters(persons.person_of(user), now=timezone.now())


def test_everything_is_handed_over_to_the_person_and_nothing_of_others(life: User, sam: User) -> None:
    ben = User.objects.create_user("ben@example.com", PASSWORD, name="Ben Other", phone="+447700900888")
    product = Booking.objects.filter(user=life)[0].product
    other = stay(product, user=ben, email="ben@example.com", days_ahead=40)
    client = signed_in(life)
    url = reverse("accounts:data_download")
    for wrong in ({}, {"download-password": "wrong"}):
        answer = client.post(url, wrong)
        assert answer.status_code == 422 and PLATE not in answer.content.decode()
    answer = client.post(url, {"download-password": PASSWORD})
    assert answer.status_code == 200 and "attachment" in answer["Content-Disposition"]
    assert "no-store" in answer["Cache-Control"]
    found = json.loads(answer.content)
    assert found["account"]["email"] == EMAIL and found["account"]["phone"] == PHONE
    assert {row["vehicle"]["plate"] for row in found["bookings"]} == {PLATE}
    assert len(found["bookings"]) == 2 and found["bookings"][0]["timeline"]
    assert {one["label"] for one in found["saved_payment_methods"]} and len(found["payments"]) == 2
    assert sum(len(one["documents"]) for one in found["payments"]) == 3
    assert found["messages_and_consent"] and found["api_sign_ins"] and found["quotes"]
    again = json.loads(client.post(url, {"download-password": PASSWORD}).content)
    assert [(one["who"], one["what"]) for one in again["audit_log"]] == [("you", "person_exported")]
    text = answer.content.decode()
    assert "ben@example.com" not in text and other.reference not in text
    assert "sam@staff.example" not in text
    assert AuditEntry.objects.filter(action="person_exported", actor=life).count() == 2
    assert client.get(url).status_code == 405
    # What may be erased cannot be rewritten.
    audit.record(actor=None, action="x", subject="y", reason="z")
    tried = 0
    for table, change in (
        ("bookings_bookingevent", 'data = \'{"plate": ["A", "B"]}\''),
        ("bookings_bookingevent", "at = now()"),
        ("bookings_cancellation", "reason = 'another'"),
        ("bookings_cancellation", "refund_minor = 1"),
        ("payments_document", "content = '{}'"),
        ("foundation_auditentry", "reason = ''"),
        ("payments_ledgerentry", "amount_minor = 1"),
    ):
        with connection.cursor() as cursor, pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute(f"UPDATE {table} SET {change}")  # noqa: S608 - names from above
        tried += 1
    assert tried == 7


def test_a_number_that_two_customers_share_is_neither_handed_over_nor_erased(sandbox: Any, ada: User) -> None:
    User.objects.create_user("spouse@example.com", PASSWORD, phone=PHONE)
    assert persons.person_of(ada).phones == ()


def test_an_address_that_was_never_confirmed_opens_nothing(ada: User, sandbox: Any) -> None:
    product = make_product(capacity=9)
    victim = stay(product, user=None, email="victim@example.com")
    EmailAddress.objects.create(user=ada, email="victim@example.com", verified=False)
    assert victim.reference not in json.dumps(persons.export(persons.person_of(ada), now=timezone.now()))
    EmailAddress.objects.update(verified=True)
    assert victim.reference in json.dumps(persons.export(persons.person_of(ada), now=timezone.now()))


def test_the_pages_are_limited(ada: User, settings: Any) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "personal_data": ["100/h", "2/h"]}
    client = signed_in(ada)
    answers = [
        client.post(reverse("accounts:data_download"), {"download-password": "x"}).status_code
        for _i in range(3)
    ]
    assert answers == [422, 422, 429]


def test_a_customer_asks_takes_it_back_asks_again_and_staff_carry_it_out(
    ada: User, sam: User, sandbox: Any
) -> None:
    client, staff = signed_in(ada), signed_in(sam)
    url = reverse("accounts:data_erase")
    assert client.post(url, {"erase-password": "wrong"}).status_code == 422
    for _press in range(2):
        assert client.post(url, {"erase-password": PASSWORD}).status_code == 302
    assert Erasure.objects.filter(user=ada, status="asked").count() == 1
    assert "Keep my account" in client.get(reverse("accounts:data")).content.decode()
    for _press in range(2):
        assert client.post(url, {"withdraw": "1"}).status_code == 302
    assert not Erasure.objects.filter(status="asked").exists() and User.objects.get(pk=ada.pk).is_active
    client.post(url, {"erase-password": PASSWORD})
    row = Erasure.objects.get(status="asked")
    assert EMAIL in staff.get(reverse("admin:accounts_erasure_changelist")).content.decode()
    page = reverse("admin:accounts_erasure_carry_out", args=[row.pk])
    assert "Erase this person" in staff.get(page).content.decode()
    assert staff.post(page, {"reason": "", "email": EMAIL}).status_code == 400
    assert staff.post(page, {"reason": "She asked", "email": "other@example.com"}).status_code == 400
    assert staff.post(page, {"reason": "She asked", "email": EMAIL}).status_code == 302
    assert persons.carry_on(row.pk, now=timezone.now()).status == "done"
    assert staff.get(reverse("admin:accounts_erasure_change", args=[row.pk])).status_code == 200
    assert set(tables_with(*TRACES)) <= {"foundation_auditentry"}


def test_staff_need_the_permission_for_each(ada: User, sam: User) -> None:
    vic = User.objects.create_user("vic@staff.example", PASSWORD, is_staff=True)
    vic.user_permissions.set(Permission.objects.filter(codename__in=("view_user", "view_erasure")))
    for name, body in (("", None), ("_export", {}), ("_erase", {"reason": "x", "email": EMAIL})):
        url = reverse(f"admin:accounts_user_personal{name}", args=[ada.pk])
        answer = signed_in(vic).get(url) if body is None else signed_in(vic).post(url, body)
        assert answer.status_code == 403
    staff = signed_in(sam)
    page = staff.get(reverse("admin:accounts_user_personal", args=[ada.pk])).content.decode()
    assert "Download" in page and "Erase this person" in page
    answer = staff.post(reverse("admin:accounts_user_personal_export", args=[ada.pk]))
    assert json.loads(answer.content)["account"]["name"] == NAME
    assert AuditEntry.objects.filter(action="person_exported", actor=sam).exists()
    assert User.objects.get(pk=ada.pk).is_active


def test_a_guest_proves_the_address_by_a_letter_and_then_takes_the_data_and_is_forgotten(
    sandbox: Any, sam: User
) -> None:
    product = make_product(capacity=9)
    mine = stay(product, user=None)
    browser = Client()
    ask = reverse("accounts:guest_data")
    same = [browser.post(ask, {"email": email}).content for email in (EMAIL.upper(), "stranger@example.com")]
    bare = [re.sub(rb'value="\w{64}"', b"", page) for page in same]
    assert bare[0] == bare[1] and b"on its way" in bare[0]
    letter = Message.objects.get(kind="your_data")
    assert letter.to == EMAIL
    link = letter.variables["data_url"].removeprefix(django_settings.SITE_URL)
    assert EMAIL not in link
    stranger = Client()
    assert stranger.get(reverse("accounts:guest_own_data")).status_code == 302
    assert stranger.get(link[:-3] + "aaa").headers["Location"] == ask
    opened = browser.get(link)
    assert opened.headers["Location"] == reverse("accounts:guest_own_data")
    page = reverse("accounts:guest_own_data")
    found = json.loads(browser.post(page, {"do": "download"}).content)
    assert [row["reference"] for row in found["bookings"]] == [mine.reference]
    assert browser.post(page, {"do": "erase"}).status_code == 409, "it is held"
    cancelled_hold(mine)
    for _press in range(2):
        assert browser.post(page, {"do": "erase"}).status_code == 302
    row = Erasure.objects.get(status="asked")
    staff = signed_in(sam)
    done = staff.post(
        reverse("admin:accounts_erasure_carry_out", args=[row.pk]), {"reason": "Asked", "email": EMAIL}
    )
    assert done.status_code == 302
    assert persons.carry_on(row.pk, now=timezone.now()).status == "done"
    assert set(tables_with(*TRACES)) <= {"foundation_auditentry", "django_session"}
    assert browser.get(link).headers["Location"] == ask, "the link opens nothing any more"


def test_a_guest_who_has_an_account_is_forgotten_with_it_and_not_without(
    sandbox: Any, ada: User, sam: User
) -> None:
    product = make_product(capacity=9)
    coming = stay(product, user=ada)
    cancelled_hold(stay(product, user=None, days_ahead=20))
    told = Message.objects.create(
        kind="welcome", channel="email", to=EMAIL, user=ada, dedupe_key="w", variables={"customer_name": NAME}
    )
    with pytest.raises(persons.StillOpen, match="has an account"):
        erase(None, by=sam)
    told.refresh_from_db()
    assert (told.to, coming.driver_email) == (EMAIL, EMAIL)
    # Somebody signed up with it who never proved it.
    EmailAddress.objects.filter(user=ada).update(verified=False)
    assert persons.open_matters(persons.guest(EMAIL), now=timezone.now()) == []


def test_a_guests_link_proves_the_address_that_the_letter_went_to_and_no_other(sandbox: Any) -> None:
    mine = stay(make_product(capacity=9), user=None, email="mallory@example.com")
    browser = Client()
    browser.post(reverse("accounts:guest_data"), {"email": "mallory@example.com"})
    letter = Message.objects.get(kind="your_data")
    link = letter.variables["data_url"].removeprefix(django_settings.SITE_URL)
    Booking.objects.filter(pk=mine.pk).update(driver_email=EMAIL)  # staff were talked into it
    assert browser.get(link).headers["Location"] == reverse("accounts:guest_data")
    assert browser.get(reverse("accounts:guest_own_data")).status_code == 302


def test_a_session_that_was_planted_is_not_proven_with_the_guest(sandbox: Any) -> None:
    product = make_product(capacity=9)
    stay(product, user=None)
    browser, planted = Client(), Client()
    browser.post(reverse("accounts:guest_data"), {"email": EMAIL})
    link = Message.objects.get(kind="your_data").variables["data_url"].removeprefix(django_settings.SITE_URL)
    browser.get(link[:-3] + "aaa")  # a message in the session: it has a key
    planted.cookies[django_settings.SESSION_COOKIE_NAME] = browser.cookies[
        django_settings.SESSION_COOKIE_NAME
    ].value
    browser.get(link)
    assert browser.get(reverse("accounts:guest_own_data")).status_code == 200
    assert planted.get(reverse("accounts:guest_own_data")).status_code == 302


def test_a_guest_who_presses_twice_at_once_asks_once(sandbox: Any, monkeypatch: Any) -> None:
    cancelled_hold(stay(make_product(capacity=9), user=None))
    looked = persons.open_erasure
    monkeypatch.setattr(persons, "open_erasure", lambda person: (looked(person), time.sleep(0.4))[0])

    def press() -> None:
        persons.ask(persons.guest(EMAIL), now=timezone.now())
        connection.close()

    both = [threading.Thread(target=press) for _press in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert Erasure.objects.filter(status="asked").count() == 1


def cancelled_hold(booking: Booking) -> None:
    now = timezone.now()
    cancel(
        booking,
        preview_token=preview_cancellation(booking, now=now).token,
        now=now,
        requested_by=None,
        reason="",
    )


def test_the_command_does_both_and_says_what_is_missing(
    ada: User, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("person", EMAIL)
    assert json.loads(capsys.readouterr().out)["account"]["email"] == EMAIL
    with pytest.raises(CommandError, match="Say why"):
        call_command("person", EMAIL, "--erase")
    call_command("person", EMAIL, "--erase", "--reason", "They asked by letter")
    assert "Erased" in capsys.readouterr().out


@pytest.mark.parametrize("typed", ["", " ", "ada", "canary.adda@example.com"])
def test_the_command_does_nothing_for_what_names_nobody(ada: User, typed: str) -> None:
    for more in ((), ("--erase", "--reason", "They asked by letter")):
        with pytest.raises(CommandError, match=r"not an e-mail address|Nothing is kept"):
            call_command("person", typed, *more)
    assert not Erasure.objects.exists()
    assert not AuditEntry.objects.filter(action__in=("person_exported", "erasure_begun")).exists()


# --- Every field has somebody who answers for it ----------------------------------------------------------------------

OURS = (
    "accounts",
    "bookings",
    "communications",
    "foundation",
    "payments",
    "account",
    "admin",
    "sessions",
    "mfa",
)
TEXTUAL = ("CharField", "TextField", "EmailField", "JSONField", "GenericIPAddressField", "BinaryField")
PERSONAL = re.compile(
    r"(^|_)(email|emails|phone|phones|name|plate|flight|address|ip|ip_address|to|body|text|html|subject|variables|data|content|reason|note|"
    r"customer|label|label|last4|audience|recipient|driver|prefix|answer|detail|description|session_data|wording|repr|birth\w*|passport\w*|"
    r"street|postcode|city|latitude|longitude)$"
)
# Words of staff and of providers about things, by the ends of their names; see the models.
NOT_ABOUT_PEOPLE = {
    "bookings.Airport.city", "bookings.Airport.latitude", "bookings.Airport.longitude", "bookings.CarPark.latitude",
    "bookings.CarPark.longitude", "bookings.CarPark.description", "bookings.Product.description",
    "communications.InboundText.to", "communications.Campaign.status_reason", "communications.EmergencyAlert.reason",
    "communications.SmsBreaker.reset_reason", "communications.SmsBreaker.prefix", "communications.Recipient.reason",
    "communications.MessageCount.reason", "communications.MessageMonth.reason", "communications.MessageCountChange.reason",
}  # fmt: skip


def test_every_field_that_may_tell_of_a_person_has_a_rule() -> None:
    rules = personal.rules()
    assert set(rules.values()) <= personal.RULES
    missing = []
    for label in OURS:
        if not apps.is_installed(label) and label not in {config.label for config in apps.get_app_configs()}:
            continue
        for model in apps.get_app_config(label).get_models():
            for field in model._meta.concrete_fields:
                name = f"{model._meta.label}.{field.name}"
                is_text = field.get_internal_type() in TEXTUAL and not field.choices
                if (
                    is_text
                    and PERSONAL.search(field.name)
                    and name not in rules
                    and name not in NOT_ABOUT_PEOPLE
                ):
                    missing.append(name)
    assert missing == [], (
        "say in the app's personal.py whether each is erased, kept (why) or not about customers"
    )


def test_every_rule_names_a_field_that_exists() -> None:
    for name in personal.rules():
        label, model, field = name.split(".")
        apps.get_model(label, model)._meta.get_field(field)


def test_a_new_field_without_a_rule_is_caught() -> None:
    assert all(
        PERSONAL.search(name)
        for name in ("email", "contact_phone", "full_name", "second_plate", "home_address")
    )
