"""What people do in a schedule: one function an act. Each says which faults it makes happen, and what may come of them."""

from __future__ import annotations

import re
import time
import urllib.parse
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings

from bench.chaos import world
from bench.chaos.customers import Answer, Person, Stay, signed, stripe_event, together
from foundation import jobs

Act = Callable[[Person], None]
ACTS: dict[str, Act] = {}
RUSHES = 4


def act(function: Act) -> Act:
    ACTS[function.__name__] = function
    return function


def _either(person: Person) -> str:
    """A provider that takes the currency of this schedule."""
    return "stripe" if person.scene.place.currency == "KWD" else person.rng.choice(["stripe", "paypal"])


# --- Paying --------------------------------------------------------------------------------------------------------


def paid(
    person: Person, *, card: str = "pm_card_visa", provider: str = "stripe"
) -> tuple[Stay, Answer] | None:
    """Book and pay from begin to end."""
    stay = person.book()
    session = person.intent(stay, provider=provider) if stay else None
    if stay is None or session is None or not session.ok:
        return None
    if provider == "paypal":
        person.approve(session)
    else:
        person.enter_card(session, card)
    person.confirm(stay, session)
    return stay, session


@act
def card(person: Person) -> None:
    """Pay by card, and sometimes close the tab before the site hears of it."""
    stay = person.book()
    session = person.intent(stay) if stay else None
    if stay is None or session is None or not session.ok:
        return
    if person.rng.random() < 0.3:
        person.enter_card(session, "pm_card_chargeDeclined")
    person.enter_card(session)
    if person.rng.random() < 0.6:
        person.confirm(stay, session)


@act
def paypal(person: Person) -> None:
    stay = person.book()
    session = person.intent(stay, provider="paypal") if stay else None
    if stay is None or session is None or not session.ok:
        return
    person.approve(session)
    if person.rng.random() < 0.7:
        person.confirm(stay, session)


@act
def double_click(person: Person) -> None:
    """Two presses of every button at once."""
    stay = person.book()
    if stay is None:
        return
    provider = _either(person)
    keyed = person.rng.random() < 0.5  # a program that names each of its calls, or a person who just presses
    first, second = together(
        *[lambda: person.intent(stay, provider=provider, key=str(uuid.uuid4()) if keyed else "")] * 2
    )
    person.scene.tally.fired(1)
    session = first if first.ok else second
    if not session.ok:
        return
    if first.ok and second.ok and first.body["paymentId"] != second.body["paymentId"]:
        person.scene.journal.wrong.append(f"two clicks made two payments of {stay.reference}")
    if provider == "paypal":
        person.approve(session)
    else:
        together(*[lambda: person.enter_card(session)] * 2)
    together(*[lambda: person.confirm(stay, session)] * 3)


@act
def two_tabs(person: Person) -> None:
    """The payment page in two tabs of one browser, and the return page in both."""
    stay = person.book()
    if stay is None:
        return
    person.call("GET", f"/b/{stay.reference}/{stay.guest_token}")
    together(*[lambda: person.call("GET", f"/pay/{stay.reference}")] * 2)
    person.scene.tally.fired(1)
    session = person.intent(stay)
    if not session.ok:
        return
    person.enter_card(session)
    together(*[lambda: person.call("GET", f"/pay/{stay.reference}/return")] * 2)


@act
def by_pages(person: Person) -> None:
    """A guest in a browser without script: the details form pressed twice, the payment page, the return page in two tabs."""
    ahead = datetime.now(UTC) + timedelta(days=4 + 12 * person.number)
    stay = {"drop_off": f"{ahead:%Y-%m-%dT10:00}", "return": f"{ahead + timedelta(days=2):%Y-%m-%dT12:00}"}
    page = f"/book/{person.scene.place.product}"
    shown = person.insist(lambda: person.call("GET", f"{page}?{urllib.parse.urlencode(stay)}"))
    if not shown.ok:
        return
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', shown.text))
    form = hidden | stay | {
        "name": "Page Turner", "email": person.email, "phone": person.phone, "plate": f"P{person.rng.randrange(10**6)}",
    }  # fmt: skip
    pressed = together(*[lambda: person.call("POST", page, form=form)] * 2)
    person.scene.tally.fired(1)
    led = {one.location for one in pressed if one.status == 302}
    if len(led) > 1:
        person.scene.journal.wrong.append(f"one form pressed twice held two spaces: {led}")
    pay_page = next(iter(led), "")
    if not pay_page.startswith("/pay/"):
        return
    reference = pay_page.rpartition("/")[2]
    person.scene.journal.claims.append(("booking", reference, ""))
    opened = person.insist(lambda: person.call("GET", pay_page))
    secret = re.search(r'data-client-secret="([^"]+)"', opened.text)
    if secret is None:
        return
    intent = secret.group(1).partition("_secret_")[0]
    person.enter_card(Answer(201, {"clientSecret": secret.group(1), "paymentIntentId": intent}))
    together(*[lambda: person.call("GET", f"{pay_page}/return")] * 2)
    there = person.call("GET", f"/bookings/{reference}/confirmed")
    if there.status == 200:
        person.scene.journal.claims.append(("confirmed", reference, ""))


@act
def saved_card(person: Person) -> None:
    """A regular customer pays with the card that Stripe keeps, twice at once."""
    person.token = person.scene.tokens[f"regular{person.number % world.CUSTOMERS}@example.com"]
    method = _method(person)
    stay = person.book()
    if stay is None or not method:
        return
    answers = together(*[lambda: person.intent(stay, methodId=method)] * person.rng.choice([1, 2]))
    for answer in answers:
        if answer.ok and answer.body["status"] == "captured":
            person.scene.journal.claims.append(("captured", answer.body["paymentId"], ""))


def _method(person: Person) -> str:
    """The id of a saved card, entered now if there is none yet."""
    known = person.insist(lambda: person.call("GET", "/api/payments/methods"))
    if known.body.get("results"):
        return str(known.body["results"][0]["methodId"])
    begun = person.insist(lambda: person.call("POST", "/api/payments/save-method", {}, key=str(uuid.uuid4())))
    if not begun.ok:
        return ""
    setup = begun.body["setupIntentId"]
    entered = person.insist(
        lambda: person.provider(
            "POST", f"/stripe/v1/setup_intents/{setup}/confirm",
            form={"client_secret": begun.body["clientSecret"], "key": settings.STRIPE_PUBLISHABLE_KEY,
                  "payment_method": "pm_card_visa"},
        )
    )  # fmt: skip
    if not entered.ok:
        return ""
    kept = person.insist(
        lambda: person.call(
            "POST", "/api/payments/save-method", {"setupIntentId": setup}, key=str(uuid.uuid4())
        )
    )
    return str(kept.body.get("methodId", ""))


@act
def bank_asks(person: Person) -> None:
    """3-D Secure: passed, failed, or left open for ever."""
    stay = person.book()
    session = person.intent(stay) if stay else None
    if stay is None or session is None or not session.ok:
        return
    entered = person.enter_card(session, "pm_card_authenticationRequired")
    what = person.rng.choice(["abandons", "passes", "fails"])
    if what == "abandons":
        person.scene.tally.fired(12)
        return
    person.answer_bank(entered, passes=what == "passes")
    person.confirm(stay, session)


@act
def both_providers(person: Person) -> None:
    """Pays with the provider that was left and with the one that was chosen after it."""
    stay = person.book()
    if stay is None or person.scene.place.currency == "KWD":
        return
    first = person.intent(stay)
    if not first.ok:
        return
    person.control(
        "/faults",
        {"operation": "stripe.payment_intents.cancel", "behaviour": "refuse", "status": 500, "times": 2},
    )
    second = person.intent(stay, provider="paypal")
    if not second.ok:
        return
    if person.rng.random() < 0.5:
        person.approve(second)
        person.confirm(stay, second)
        entered = person.enter_card(first)
        person.confirm(stay, first)
        twice = entered.ok
    else:
        entered = person.enter_card(first)
        person.approve(second)
        together(lambda: person.confirm(stay, first), lambda: person.confirm(stay, second))
        twice = entered.ok
    if twice:
        person.scene.tally.fired(8)


@act
def late(person: Person) -> None:
    """Pays after the hold ran out; sometimes others have taken every space by then."""
    stay = person.book()
    provider = _either(person)
    session = person.intent(stay, provider=provider) if stay else None
    if stay is None or session is None or not session.ok:
        return
    person.in_database(lambda: world.run_out(stay.reference, now=datetime.now(UTC)))
    full = person.rng.random() < 0.6
    if full:
        while person.book() is not None:  # until the car park answers that it is full
            pass
    if provider == "paypal":
        person.approve(session)
    else:
        person.enter_card(session)
    person.confirm(stay, session)
    person.scene.tally.fired(10 if full else 9)


@act
def pending(person: Person) -> None:
    """PayPal holds the money for review, and says later how it ended."""
    if person.scene.place.currency == "KWD":
        return
    stay = person.book()
    session = person.intent(stay, provider="paypal") if stay else None
    if stay is None or session is None or not session.ok:
        return
    person.approve(session, "review")
    answer = person.confirm(stay, session)
    if answer.ok and answer.body["bookingStatus"] == "confirmed":
        person.scene.journal.wrong.append(f"{stay.reference} is confirmed while PayPal reviews the money")
    capture = person.capture_of(session.body["orderId"])
    if capture is None:
        return
    person.scene.tally.fired(11)
    outcome = person.rng.choice(["COMPLETED", "DECLINED"])
    person.control(f"/paypal-captures/{capture['id']}", {"status": outcome})
    if person.rng.random() < 0.5:
        person.confirm(stay, session)


@act
def free(person: Person) -> None:
    """Nothing to pay: confirmed without a provider."""
    stay = person.book(product=person.scene.place.free_product)
    if stay is None:
        return
    answer = person.intent(stay)
    if answer.status == 409:
        person.scene.tally.fired(15)
        person.scene.journal.claims.append(("confirmed", stay.reference, ""))


@act
def price_edit(person: Person) -> None:
    """The tariff doubles between the quote and the payment."""
    stay = person.book()
    if stay is None:
        return
    person.in_database(lambda: world.raise_price(person.scene.place))
    person.scene.tally.fired(14)
    session = person.intent(stay)
    if session.ok:
        if session.body["amount"] != stay.price:
            person.scene.journal.wrong.append(
                f"{stay.reference} was quoted {stay.price} and is asked {session.body['amount']}"
            )
        person.enter_card(session)
        person.confirm(stay, session)


@act
def tampered(person: Person) -> None:
    """Amounts that no booking costs."""
    stay = person.book()
    if stay is None:
        return
    for amount in ("-1", "NaN", "1e309", str(2**63), "0.001", "0", "1.00"):
        answer = person.call(
            "POST", "/api/payments/create-intent", {"bookingId": stay.reference, "amount": amount}, guest=stay.guest_token
        )  # fmt: skip
        person.scene.tally.fired(17)
        if answer.status and not 400 <= answer.status < 500 and answer.status != 503:
            person.scene.journal.wrong.append(f"the amount {amount} was answered with {answer.status}")
    raw = person.session.post(
        f"{person.scene.stack.site}/api/payments/create-intent",
        data=f'{{"bookingId": "{stay.reference}", "amount": NaN}}',
        headers={"Content-Type": "application/json", "X-Guest-Token": stay.guest_token, "X-Real-IP": person.address},
        timeout=20,
    )  # fmt: skip
    if raw.status_code < 400 or (raw.status_code >= 500 and raw.status_code != 503):
        person.scene.journal.wrong.append(f"a bare NaN was answered with {raw.status_code}")


@act
def other_amount(person: Person) -> None:
    """Somebody changes the intent at Stripe, so that less is captured than was asked for."""
    stay = person.book()
    session = person.intent(stay) if stay else None
    if stay is None or session is None or not session.ok:
        return
    ref = session.body["paymentIntentId"]
    intent = person.stripe("GET", f"payment_intents/{ref}")
    if (
        not intent.ok
        or not person.stripe("POST", f"payment_intents/{ref}", amount=intent.body["amount"] - 100).ok
    ):
        return
    person.scene.journal.expected_breaks.add(ref)
    person.enter_card(session)
    if person.stripe("GET", f"payment_intents/{ref}").body.get("status") == "succeeded":
        person.scene.tally.fired(13)
    answer = person.confirm(stay, session)
    if answer.ok and answer.body["bookingStatus"] == "confirmed":
        person.scene.journal.wrong.append(f"{stay.reference} is confirmed although less was paid")


@act
def rush(person: Person) -> None:
    """More people than spaces, at the same moment, day after day."""
    people = [Person(person.scene, 100 + n, f"{person.email}/{n}") for n in range(8)]
    for day in range(RUSHES):
        quote = person.quote(days_ahead=100 + 5 * day + 50 * person.number)
        together(*[lambda one=one, quote=quote: one.hold(quote) for one in people])


# --- Giving back ---------------------------------------------------------------------------------------------------


def _staff_refund(person: Person, payment: str, amount: str, *, who: str = "sam") -> Answer:
    key = str(uuid.uuid4())
    answer = person.insist(
        lambda: person.call(
            "POST",
            "/api/payments/refund",
            {"paymentId": payment, "amount": amount, "reason": "goodwill"},
            token=person.scene.tokens[f"{who}@example.com"],
            key=key,
        )
    )
    if answer.ok:
        person.scene.journal.claims.append(("refund", answer.body["refundId"], amount))
    return answer


def _part(person: Person, price: str, share: float) -> str:
    """A part of a price, written with the decimals that the price has."""
    whole, _dot, decimals = price.partition(".")
    minor = int(int(whole + decimals) * share)
    if len(decimals) == 3:
        minor -= minor % 10  # Stripe takes three decimals only with a nought at the end
    text = str(max(minor, 1)).rjust(len(decimals) + 1, "0")
    return f"{text[: -len(decimals)]}.{text[-len(decimals) :]}" if decimals else text


@act
def staff_refunds(person: Person) -> None:
    """Two of staff and the first again: sixty in a hundred each, so that only one can be right."""
    provider = _either(person)
    done = paid(person, provider=provider)
    payment = person.payment_of(done[0]) if done else ""
    if done is None or not payment:
        return
    payment_id = payment.split()[0]
    share = person.rng.choice([0.3, 0.6])
    together(
        *[
            lambda who=who: _staff_refund(person, payment_id, _part(person, done[0].price, share), who=who)
            for who in ("sam", "kim", "sam")
        ]
    )
    person.scene.tally.fired(18)


def _cancel(person: Person, stay: Stay, *, token: str = "", wait: float = 0.0) -> Answer:
    shown = person.insist(
        lambda: person.call(
            "GET", f"/api/bookings/{stay.reference}/cancellation", guest=stay.guest_token, token=token
        )
    )
    if not shown.ok:
        return shown
    time.sleep(wait)
    answer = person.insist(
        lambda: person.call(
            "POST",
            f"/api/bookings/{stay.reference}/cancel",
            {"previewToken": shown.body["previewToken"]},
            guest=stay.guest_token,
            token=token,
        )
    )
    if answer.ok:
        person.scene.journal.claims.append(("cancelled", stay.reference, shown.body["refund"]))
        if answer.body["refund"]["amount"] != shown.body["refund"]:
            person.scene.journal.wrong.append(f"{stay.reference}: the preview and the refund differ")
    return answer


@act
def cancelled_by_both(person: Person) -> None:
    """Staff and the customer cancel the same booking at once, and staff refund a part of it as well."""
    provider = _either(person)
    done = paid(person, provider=provider)
    if done is None:
        return
    stay = done[0]
    payment = person.payment_of(stay)
    acts: list[Callable[[], Any]] = [
        lambda: _cancel(person, stay),
        lambda: _cancel(person, stay, token=person.scene.tokens["kim@example.com"]),
    ]
    if payment and person.rng.random() < 0.4:
        acts.append(lambda: _staff_refund(person, payment.split()[0], _part(person, stay.price, 0.5)))
    together(*acts)
    person.scene.tally.fired(19)


@act
def cancelled_while_paying(person: Person) -> None:
    """The hold is let go in one tab while the other one pays for it."""
    stay = person.book()
    session = person.intent(stay) if stay else None
    if stay is None or session is None or not session.ok:
        return
    together(
        lambda: (person.enter_card(session), person.confirm(stay, session)), lambda: _cancel(person, stay)
    )


@act
def boundary(person: Person) -> None:
    """Looks at the preview just before the policy gives less, and presses just after."""
    begin = (datetime.now(UTC) + timedelta(hours=48, seconds=4)).replace(microsecond=0)
    stay = person.book(start=begin)
    session = person.intent(stay) if stay else None
    if stay is None or session is None or not session.ok:
        return
    person.enter_card(session)
    person.confirm(stay, session)
    wait = (begin - timedelta(hours=48) - datetime.now(UTC)).total_seconds()
    if 0 < wait < 5:
        time.sleep(max(0.0, wait - 0.2))
        _cancel(person, stay, wait=0.4)
    else:
        _cancel(person, stay)
    person.scene.tally.fired(24)


@act
def at_the_dashboard(person: Person) -> None:
    """A refund made at the provider, which only a webhook or the reconciliation can tell."""
    provider = _either(person)
    done = paid(person, provider=provider)
    payment = person.payment_of(done[0]) if done else ""
    if done is None or not payment:
        return
    ref = payment.split()[1]
    if provider == "stripe":
        made = person.stripe("POST", "refunds", payment_intent=ref, amount=300)
    else:
        capture = person.capture_of(ref)
        if capture is None:
            return
        amount = {"currency_code": capture["amount"]["currency_code"], "value": "3" if person.scene.place.currency == "JPY" else "3.00"}  # fmt: skip
        made = person.paypal("POST", f"v2/payments/captures/{capture['id']}/refund", {"amount": amount})
    if made.ok:
        person.scene.tally.fired(20)


@act
def refund_fails(person: Person) -> None:
    """The bank returns a refund that was under way or done."""
    done = paid(person, card=person.rng.choice(["pm_card_visa", "pm_card_refundFail"]))
    payment = person.payment_of(done[0]) if done else ""
    if done is None or not payment:
        return
    payment_id, ref = payment.split()
    person.scene.journal.expected_breaks.add(payment_id)
    if not _staff_refund(person, payment_id, _part(person, done[0].price, 0.4)).ok:
        return
    refunds: list[dict[str, Any]] = []
    for _look in range(20):
        refunds = person.stripe("GET", f"refunds?payment_intent={ref}").body.get("data") or []
        if refunds:
            break
        time.sleep(0.1)
    if refunds and person.control(f"/stripe-refunds/{refunds[0]['id']}", {"status": "failed"}).ok:
        person.scene.tally.fired(21)


@act
def disputed(person: Person) -> None:
    """The bank or PayPal takes the money back; staff try to refund meanwhile; then it is decided."""
    provider = _either(person)
    done = paid(person, provider=provider)
    payment = person.payment_of(done[0]) if done else ""
    if done is None or not payment:
        return
    payment_id, ref = payment.split()
    if provider == "stripe":
        opened = person.control(
            "/stripe-disputes",
            {"payment_intent": ref, "reason": "fraudulent", "inquiry": person.rng.random() < 0.2},
        )
        case, word = f"/stripe-disputes/{opened.body.get('id')}", "status"
        outcomes = ["won", "lost"] if opened.body.get("status") == "needs_response" else ["warning_closed"]
    else:
        capture = person.capture_of(ref)
        if capture is None:
            return
        opened = person.control(
            f"/paypal-captures/{capture['id']}/dispute",
            {"stage": person.rng.choice(["INQUIRY", "CHARGEBACK"]), "channel": person.rng.choice(["INTERNAL", "EXTERNAL"])},
        )  # fmt: skip
        case, word, outcomes = f"/paypal-disputes/{opened.body.get('dispute_id')}", "outcome", ["won", "lost"]
    if not opened.ok:
        return
    asked = _staff_refund(person, payment_id, _part(person, done[0].price, 0.5))
    if asked.ok:  # faster than the news of the dispute: then the provider refuses it, and a person is told
        person.scene.journal.expected_breaks.add(asked.body["refundId"])
    person.scene.tally.fired(22)
    if person.rng.random() < 0.8 and person.control(case, {word: person.rng.choice(outcomes)}).ok:
        person.scene.tally.fired(23)


@act
def old_refund(person: Person) -> None:
    """A refund whose answer was lost is looked up only after the provider has forgotten its key."""
    done = paid(person)
    payment = person.payment_of(done[0]) if done else ""
    if done is None or not payment:
        return
    was_done = person.rng.random() < 0.5
    behaviour = {"behaviour": "do_then_500"} if was_done else {"behaviour": "refuse", "status": 500}
    person.control("/faults", {"operation": "stripe.refunds.create", "times": 1, **behaviour})
    asked = _staff_refund(person, payment.split()[0], _part(person, done[0].price, 0.5))
    if not asked.ok:
        return

    def grow_old() -> int:
        from payments.models import Refund

        return Refund.objects.filter(pk=asked.body["refundId"], status__in=["submitted", "unknown"]).update(
            submitted_at=datetime.now(UTC) - timedelta(hours=26)
        )

    for _look in range(20):
        if person.in_database(grow_old):
            person.scene.tally.fired(7)
            person.scene.journal.expected_breaks.add(asked.body["refundId"])
            return
        time.sleep(0.1)


@act
def doubled_jobs(person: Person) -> None:
    """The same job twice in the queue, for two workers at once."""
    done = paid(person)
    payment = person.payment_of(done[0]) if done else ""
    if done is None or not payment:
        return
    asked = _staff_refund(person, payment.split()[0], _part(person, done[0].price, 0.5))
    _cancel(person, done[0])

    def again() -> int:
        from bookings.models import Cancellation
        from communications.models import Message

        cancellations = Cancellation.objects.filter(booking__reference=done[0].reference)
        for _twice in range(2):
            for cancellation in cancellations:
                jobs.defer("payments.refund_cancellation", cancellation_id=cancellation.pk)
            for message in Message.objects.filter(reference=done[0].reference):
                # Its own lock lets a job wait once: put the second one beside it as a dead worker's rescue would.
                jobs.defer("communications.send_message", message_id=str(message.pk))
            if asked.ok:
                jobs.defer("payments.send_refund", refund_id=asked.body["refundId"])
        return 1

    if person.in_database(again):
        person.scene.tally.fired(37)


# --- Changing ------------------------------------------------------------------------------------------------------


def _change(person: Person, stay: Stay, *, end: datetime) -> Answer:
    """Look at what another return would cost, and press; what the preview said must be what is done."""
    path = f"/api/bookings/{stay.reference}/amend"
    shown = person.insist(
        lambda: person.call(
            "POST", path, {"return": end.isoformat(), "preview": True}, guest=stay.guest_token
        )
    )
    if not shown.ok:
        return shown
    key = str(uuid.uuid4())
    answer = person.insist(
        lambda: person.call(
            "POST", path, {"previewToken": shown.body["previewToken"]}, guest=stay.guest_token, key=key
        )
    )
    for said in ("difference", "refund", "amountDue", "total"):
        if answer.ok and answer.body[said] != shown.body[said]:
            person.scene.journal.wrong.append(f"{stay.reference}: the change's preview and its {said} differ")
    return answer


def _pay_change(
    person: Person, stay: Stay, *, amount: str = "", between: Callable[[], Any] | None = None
) -> None:
    """Pay what a change costs; `between` comes after the intent and before the money."""
    provider = _either(person)
    session = person.intent(stay, provider=provider)
    if not session.ok or "paymentId" not in session.body:
        return
    if amount and session.body["amount"] != amount:
        person.scene.journal.wrong.append(
            f"{stay.reference}: a change of {amount} asks {session.body['amount']}"
        )
    if between is not None:
        between()
    if provider == "paypal":
        person.approve(session)
    else:
        person.enter_card(session)
    answer = person.confirm(stay, session)
    if answer.ok and answer.body.get("status") == "captured":
        person.scene.journal.claims.append(("honoured", answer.body["paymentId"], ""))


@act
def longer(person: Person) -> None:
    """Stays longer: pays the difference in time, too late, or never."""
    done = paid(person, provider=_either(person))
    if done is None:
        return
    stay = done[0]
    answer = _change(person, stay, end=stay.end + timedelta(days=2))
    if not answer.ok or answer.body["status"] != "held":
        return
    person.scene.tally.fired(63)
    how = person.rng.choice(["pays", "pays", "late", "never", "again"])
    if how == "late":
        _pay_change(
            person, stay, between=lambda: person.in_database(lambda: world.let_change_lapse(stay.reference))
        )
        person.scene.tally.fired(64)
    elif how != "never":
        _pay_change(person, stay, amount=answer.body["amountDue"])
        if how == "again":
            _change(person, stay, end=stay.end + timedelta(days=1))  # and gives a day of it back


@act
def shorter(person: Person) -> None:
    """Stays shorter, which gives money back, while staff refund a part of the same money."""
    done = paid(person, provider=_either(person))
    if done is None:
        return
    stay, payment = done[0], person.payment_of(done[0])
    todo: list[Callable[[], Any]] = [lambda: _change(person, stay, end=stay.end - timedelta(days=1))]
    if payment and person.rng.random() < 0.5:
        todo.append(lambda: _staff_refund(person, payment.split()[0], _part(person, stay.price, 0.6)))
    made = together(*todo)[0]
    if made.status == 409:  # the refund was faster, so the preview was out of date
        made = _change(person, stay, end=stay.end - timedelta(days=1))
    if made.ok:
        person.scene.tally.fired(67)
    if person.rng.random() < 0.4:
        _cancel(person, stay)


@act
def two_changes(person: Person) -> None:
    """Two tabs change the same booking at once, and one of them pays."""
    done = paid(person, provider=_either(person))
    if done is None:
        return
    stay = done[0]
    days = person.rng.choice([(2, -1), (2, 1), (1, 1), (-1, -1)])
    together(*[lambda day=day: _change(person, stay, end=stay.end + timedelta(days=day)) for day in days])
    person.scene.tally.fired(65)
    if person.rng.random() < 0.7:
        other = stay.end + timedelta(days=person.rng.choice([1, 3]))
        together(lambda: _pay_change(person, stay), lambda: _change(person, stay, end=other))


@act
def changed_while_cancelled(person: Person) -> None:
    """Pays for a change in one tab and cancels the booking in the other."""
    done = paid(person, provider=_either(person))
    if done is None:
        return
    stay = done[0]
    if person.rng.random() < 0.6:
        _change(person, stay, end=stay.end + timedelta(days=2))
        together(lambda: _pay_change(person, stay), lambda: _cancel(person, stay))
    else:
        days = person.rng.choice([2, -1])
        together(
            lambda: _change(person, stay, end=stay.end + timedelta(days=days)), lambda: _cancel(person, stay)
        )
    person.scene.tally.fired(66)


@act
def rush_longer(person: Person) -> None:
    """Those who are there stay longer while others come: all want the same two spaces. It costs nothing, so nothing slows them."""
    people = [Person(person.scene, 200 + n, f"{person.email}/longer/{n}") for n in range(4)]
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for turn in range(2):
        first = begin + timedelta(days=200 + 20 * turn + 50 * person.number)
        here = [one.book(start=first, product=person.scene.place.free_product) for one in people[:2]]
        for one, stay in zip(people, here, strict=False):
            if stay is not None:
                one.intent(stay)
        next_days = person.quote(start=first + timedelta(days=3), product=person.scene.place.free_product)
        together(
            *[
                lambda one=one, stay=stay: _change(one, stay, end=stay.end + timedelta(days=2))
                for one, stay in zip(people, here, strict=False)
                if stay is not None
            ],
            *[lambda one=one, quote=next_days: one.hold(quote) for one in people[2:]],
        )
        person.scene.tally.fired(69)


@act
def paid_out(person: Person) -> None:
    """The provider sends a part of our money to the bank, which sometimes sends it back."""
    provider = _either(person)
    done = paid(person, provider=provider)
    if done is None or not person.payment_of(done[0]):
        return
    currency = person.scene.place.currency
    made = person.control(
        "/payouts.json",
        {"provider": provider, "currency": currency.lower(), "amount_minor": {"JPY": 200, "KWD": 200}.get(currency, 321)},
    )  # fmt: skip
    if not made.ok:
        return
    person.scene.tally.fired(68)
    outcome = person.rng.choice(["paid", "failed", ""])
    if outcome:
        person.control(f"/payouts.json/{made.body['id']}", {"status": outcome})


# --- Thieves and noise ---------------------------------------------------------------------------------------------


def _stripe_door() -> str:
    return f"/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"


def _post(person: Person, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Post to a webhook's door; the status, 0 when nothing answers."""
    person.scene.step()
    try:
        return person.session.post(
            person.scene.stack.site + path, data=body, headers={**headers, "X-Real-IP": person.address}, timeout=20
        ).status_code  # fmt: skip
    except OSError:
        return 0


def _must_refuse(
    person: Person, fault: int, status: int, what: str, allowed: tuple[int, ...] = (400,)
) -> None:
    person.scene.tally.fired(fault)
    if status and status not in (*allowed, 503):
        person.scene.journal.wrong.append(f"{what} was answered with {status}")


@act
def forger(person: Person) -> None:
    """Webhooks that nobody signed, that were altered, that are old, or that another mode sent."""
    stay = person.book()
    session = person.intent(stay) if stay else None
    ref = session.body["paymentIntentId"] if session is not None and session.ok else "pi_nothing"
    door, secret = _stripe_door(), settings.STRIPE_WEBHOOK_SECRET
    event, body = stripe_event("payment_intent", ref)
    person.scene.journal.forged_events.append(event)
    _must_refuse(person, 29, _post(person, door, body, signed(body, "whsec_wrong")), "a wrong secret")
    _must_refuse(person, 29, _post(person, door, body + b" ", signed(body, secret)), "an altered body")
    _must_refuse(person, 29, _post(person, door, body, {"Content-Type": "application/json"}), "no signature")
    for at in (int(time.time()) - 3600, int(time.time()) - 301 - 30):
        _must_refuse(person, 30, _post(person, door, body, signed(body, secret, at=at)), "an old signature")
    event, body = stripe_event("payment_intent", ref, livemode=True)
    person.scene.journal.forged_events.append(event)
    _must_refuse(person, 34, _post(person, door, body, signed(body, secret)), "an event of the other mode")


@act
def paypal_forger(person: Person) -> None:
    """PayPal events with a certificate of one's own, and notifications about somebody else's money."""
    event = f"WH-{uuid.uuid4().hex}"
    person.scene.journal.forged_events.append(event)
    body = (
        f'{{"id": "{event}", "event_type": "PAYMENT.CAPTURE.COMPLETED", "resource_type": "capture", '
        '"resource": {"id": "8AB12345CD678901E", "status": "COMPLETED"}}'
    ).encode()
    headers = {
        "Content-Type": "application/json", "PayPal-Auth-Algo": "SHA256withRSA", "PayPal-Transmission-Id": str(uuid.uuid4()),
        "PayPal-Transmission-Sig": "c2lnbmF0dXJl", "PayPal-Transmission-Time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip
    for address in (
        "https://attacker.example/cert",
        "http://127.0.0.1:9/cert",
        "https://api.paypal.com.attacker.example/c",
    ):
        status = _post(person, "/webhooks/paypal/", body, headers | {"PayPal-Cert-Url": address})
        _must_refuse(person, 32, status, "a certificate of the attacker's")
    own = f"{settings.PAYPAL_API_BASE}/v1/notifications/certs/none"
    _must_refuse(
        person, 29, _post(person, "/webhooks/paypal/", body, headers | {"PayPal-Cert-Url": own}), "a forged PayPal event"
    )  # fmt: skip
    if person.scene.place.currency == "KWD":
        return
    stay = person.book()
    session = person.intent(stay, provider="paypal") if stay else None
    if stay is None or session is None or not session.ok:
        return
    honest = {
        "receiver_email": settings.PAYPAL_RECEIVER_EMAIL, "custom": session.body["paymentId"], "mc_gross": session.body["amount"],
        "mc_currency": session.body["currency"], "txn_id": uuid.uuid4().hex[:17].upper(), "payment_status": "Completed",
        "txn_type": "web_accept",
    }  # fmt: skip
    lies: list[dict[str, str]] = [
        {"receiver_email": "thief@example.com"}, {"mc_gross": "0.01"}, {"mc_currency": "HUF"}, {"test_ipn": "1"}, {},
    ]  # fmt: skip
    for lie in lies:
        person.scene.step()
        try:
            answer = person.session.post(
                f"{person.scene.stack.site}/webhooks/paypal/ipn/", data=honest | lie, timeout=20,
                headers={"X-Real-IP": person.address},
            )  # fmt: skip
        except OSError:
            continue
        person.scene.tally.fired(33)
        if answer.status_code not in (200, 503):
            person.scene.journal.wrong.append(f"a false notification was answered with {answer.status_code}")
    person.scene.journal.forged_events.append(f"ipn:{honest['txn_id']}:Completed")


@act
def poison(person: Person) -> None:
    """A well signed event about something that Stripe does not have, between events that matter."""
    event, body = stripe_event("payment_intent", f"pi_{uuid.uuid4().hex[:24]}")
    if _post(person, _stripe_door(), body, signed(body, settings.STRIPE_WEBHOOK_SECRET)) == 200:
        person.scene.tally.fired(35)
        person.scene.journal.claims.append(("dead", event, ""))
    card(person)


@act
def flood(person: Person) -> None:
    """Hundreds of forgeries: nothing of them is stored."""

    def count() -> int:
        from djstripe.models import WebhookEventTrigger

        return WebhookEventTrigger.objects.filter(body__contains="ch_flood").count()

    _event, body = stripe_event("charge", "ch_flood")
    for _forgery in range(60):
        _must_refuse(
            person, 36, _post(person, _stripe_door(), body, signed(body, "whsec_wrong")), "one of a flood"
        )
    if left := person.in_database(count):
        person.scene.journal.wrong.append(f"a flood of forgeries left {left} rows")
