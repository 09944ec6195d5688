"""PaymentIntents and SetupIntents: Stripe's state machine, 3-D Secure and charges."""

from __future__ import annotations

from typing import Any

from sandbox.addresses import is_web_address
from sandbox.state import identifier
from sandbox.stripe import disputes, methods, objects
from sandbox.stripe.call import Call
from sandbox.stripe.cards import CARDS, DECLINES, SUCCEEDS, Decline
from sandbox.stripe.errors import StripeError, invalid
from sandbox.stripe.money import check_amount, check_currency, shown
from sandbox.stripe.objects import Body
from sandbox.stripe.parameters import check, merge_metadata

PAYABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
    "processing",
)
SIMPLE_FIELDS = (
    "description", "receipt_email", "setup_future_usage", "statement_descriptor", "statement_descriptor_suffix",
    "transfer_group", "capture_method", "confirmation_method",
)  # fmt: skip
AUTHENTICATION_FAILED = "We are unable to authenticate your payment method. Please choose a different payment method and try again."
NEEDS_AUTHENTICATION = Decline(
    "authentication_required", "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)  # fmt: skip


# PaymentIntents


def create_payment(call: Call) -> Body:
    currency = check_currency(call.params["currency"])
    intent = objects.payment_intent(
        call.now, amount=check_amount(call.params["amount"], currency), currency=currency
    )
    intent["metadata"] = merge_metadata({}, call.params.get("metadata"))
    _choose_types(call, intent)
    _fill(call, intent)
    call.save(intent, {"return_url": call.params.get("return_url")})
    if call.params.get("payment_method"):
        _take_method(call, intent)
    call.save(intent)
    call.emit("payment_intent.created", intent)
    if call.params.get("confirm"):
        return _confirm_payment(call, intent)
    for name in ("return_url", "off_session", "error_on_requires_action", "use_stripe_sdk"):
        if call.params.get(name):
            raise invalid(
                f"You can only pass {name} when confirm=true: it is used to confirm the PaymentIntent.", name
            )
    return call.shown(intent)


def _choose_types(call: Call, intent: Body) -> None:
    types, automatic = call.params.get("payment_method_types"), call.params.get("automatic_payment_methods")
    if types is not None:
        if automatic and automatic.get("enabled"):
            raise invalid(
                "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
            )
        if types != ["card"]:
            raise invalid(
                "The sandbox plays cards only: send payment_method_types[]=card.", "payment_method_types"
            )
        intent["automatic_payment_methods"] = None
    elif automatic is None or automatic.get("enabled"):
        redirects = (automatic or {}).get("allow_redirects", "always")
        intent["automatic_payment_methods"] = {"allow_redirects": redirects, "enabled": True}


def _fill(call: Call, intent: Body) -> None:
    call.apply(intent, SIMPLE_FIELDS)
    if intent["confirmation_method"] == "manual" and intent["automatic_payment_methods"]:
        raise invalid(
            "You cannot enable `automatic_payment_methods` with `confirmation_method=manual`.",
            "confirmation_method",
        )
    email = intent["receipt_email"]
    if email and "@" not in email:
        raise StripeError(
            f"Invalid email address: {email[:200]}", code="email_invalid", param="receipt_email"
        )
    if "shipping" in call.params:
        intent["shipping"] = call.params["shipping"] or None
    if call.params.get("customer"):
        intent["customer"] = call.find("customer", call.params["customer"], "customer")["id"]
    elif call.params.get("customer") == "":
        intent["customer"] = None
    options = call.params.get("payment_method_options") or {}
    if set(options) - {"card"}:
        raise invalid(
            "The sandbox plays cards only: send payment_method_options[card].", "payment_method_options"
        )
    if options.get("card"):
        unknown = set(options["card"]) - {"request_three_d_secure", "setup_future_usage", "capture_method"}
        if unknown:
            raise invalid(
                f"The sandbox does not play payment_method_options[card][{min(unknown)}].",
                "payment_method_options",
            )
        card = {**intent["payment_method_options"]["card"], **options["card"]}
        intent["payment_method_options"] = {"card": card}
        if options["card"].get("capture_method") == "manual":
            intent["capture_method"] = "manual"


def _take_method(call: Call, intent: Body) -> Body:
    method = methods.usable_for(call, call.params["payment_method"], intent["customer"])
    intent["payment_method"] = method["id"]
    if intent["status"] == "requires_payment_method":
        intent["status"] = "requires_confirmation"
    return method


def retrieve_payment(call: Call, intent_id: str) -> Body:
    intent = call.find("payment_intent", intent_id, "intent")
    call.check_secret(intent)
    return call.shown(intent)


def update_payment(call: Call, intent_id: str) -> Body:
    intent = call.find("payment_intent", intent_id, "intent")
    frozen = set(call.params) - {"metadata", "expand", "description", "receipt_email", "transfer_group"}
    if intent["status"] not in PAYABLE and frozen:
        name = min(frozen)
        raise StripeError(
            f"This PaymentIntent's {name} could not be updated because it has a status of {intent['status']}. You may "
            f"only update the {name} of a PaymentIntent with one of the following statuses: {', '.join(PAYABLE)}.",
            code="payment_intent_unexpected_state", param=name, payment_intent=intent,
        )  # fmt: skip
    intent["metadata"] = merge_metadata(intent["metadata"], call.params.get("metadata"))
    if "currency" in call.params:
        intent["currency"] = check_currency(call.params["currency"])
    if "amount" in call.params or "currency" in call.params:
        intent["amount"] = check_amount(
            call.params["amount"] if "amount" in call.params else intent["amount"], intent["currency"]
        )
    _fill(call, intent)
    if call.params.get("payment_method"):
        _take_method(call, intent)
    if intent["status"] == "requires_action" and frozen:
        # A changed payment must be confirmed again; the old challenge is void.
        intent["next_action"] = None
        intent["status"] = "requires_confirmation" if intent["payment_method"] else "requires_payment_method"
    return call.shown(call.save(intent))


def list_payments(call: Call) -> Body:
    return call.page(
        "payment_intent", "/v1/payment_intents", equal={"customer": call.params.get("customer", "")}
    )


def confirm_payment(call: Call, intent_id: str) -> Body:
    intent = call.find("payment_intent", intent_id, "intent")
    call.check_secret(intent)
    if call.publishable and intent["confirmation_method"] == "manual":
        raise StripeError(
            "This PaymentIntent has confirmation_method=manual: confirm it with your secret key.",
            code="payment_intent_unexpected_state",
        )  # fmt: skip
    if intent["status"] not in PAYABLE:
        already = intent["status"] in {"succeeded", "requires_capture", "processing"}
        why = (
            "it has already succeeded after being previously confirmed"
            if already
            else f"it has a status of {intent['status']}. Only a PaymentIntent with one of the following statuses may "
            f"be confirmed: {', '.join(PAYABLE[:2])}"
        )
        raise StripeError(
            f"You cannot confirm this PaymentIntent because {why}.", code="payment_intent_unexpected_state",
            payment_intent=call.shown(intent, []),
        )  # fmt: skip
    _method_from_browser(call)
    call.apply(intent, ("receipt_email", "setup_future_usage"))
    if "shipping" in call.params:
        intent["shipping"] = call.params["shipping"] or None
    if call.params.get("capture_method"):
        intent["capture_method"] = call.params["capture_method"]
    if call.params.get("payment_method"):
        _take_method(call, intent)
    return _confirm_payment(call, intent)


def _method_from_browser(call: Call) -> None:
    """Stripe.js may send the typed card with the confirmation; only pages may do that."""
    data = call.raw.get("payment_method_data")
    if data is None:
        return
    if not isinstance(data, dict):
        raise invalid("Invalid object", "payment_method_data")
    kept = {
        name: value for name, value in data.items() if name in {"type", "card", "billing_details", "metadata"}
    }
    typed = check(kept, "PaymentMethodCreateParams")
    method = methods.make_method(
        call, typed.get("card"), typed.get("billing_details"), typed.get("metadata") or {}
    )
    call.params["payment_method"] = method["id"]


def _confirm_payment(call: Call, intent: Body) -> Body:
    if not intent["payment_method"]:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state", payment_intent=call.shown(intent, []),
        )  # fmt: skip
    private = call.private(intent)
    private["return_url"] = _return_url(call) or private.get("return_url")
    automatic = intent["automatic_payment_methods"]
    if (
        not call.publishable
        and automatic
        and automatic.get("allow_redirects") != "never"
        and not private["return_url"]
    ):
        raise StripeError(
            "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
            "these payment methods might redirect your customer off of your page, you must provide a `return_url`. If "
            "you don't want to accept redirect-based payment methods, set "
            "`automatic_payment_methods[enabled]` to `true` and `automatic_payment_methods[allow_redirects]` to `never` "
            "when creating Setup Intents and Payment Intents.",
            param="return_url",
        )
    off_session = bool(call.params.get("off_session"))
    private["off_session"] = off_session
    method = methods.usable_for(call, intent["payment_method"], intent["customer"])
    card = CARDS[call.private(method)["test_card"]]
    intent["last_payment_error"], intent["next_action"] = None, None
    forced = intent["payment_method_options"].get("card", {}).get("request_three_d_secure") in {
        "any",
        "challenge",
    }
    needed = card.authentication == "always" or (
        card.authentication == "unless_set_up" and not call.private(method).get("set_up")
    )
    if needed or (forced and not off_session):
        if off_session or call.params.get("error_on_requires_action"):
            return _fail(call, intent, method, NEEDS_AUTHENTICATION)
        return call.shown(_challenge(call, intent, private))
    call.save(intent, private)
    return call.shown(_charge(call, intent, method, authenticated=False))


def _return_url(call: Call) -> str | None:
    url = call.params.get("return_url")
    if not url:
        return None
    if not is_web_address(url):
        raise invalid(f"Not a valid URL: {url[:200]}", "return_url", "url_invalid")
    return url


def _challenge(call: Call, intent: Body, private: dict[str, Any]) -> Body:
    """Ask the cardholder's bank: requires_action with the screen to show."""
    attempt = identifier("payatt_3", 23)
    private["attempt"] = attempt
    screen = f"{call.box.options.url}/stripe/3ds/{intent['id']}?attempt={attempt}"
    if private.get("return_url") and not call.params.get("use_stripe_sdk") and not call.publishable:
        intent["next_action"] = {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": private["return_url"], "url": f"{screen}&mode=redirect"},
        }
    else:
        intent["next_action"] = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"source": attempt, "stripe_js": screen, "type": "three_d_secure_redirect"},
        }
    intent["status"] = "requires_action"
    call.save(intent, private)
    call.emit(f"{intent['object']}.requires_action", intent)
    return intent


def _charge(call: Call, intent: Body, method: Body, *, authenticated: bool) -> Body:
    card = CARDS[call.private(method)["test_card"]]
    if card.outcome != SUCCEEDS:
        return _fail(call, intent, method, DECLINES[card.outcome], authenticated=authenticated)
    charge = objects.charge(call.now, intent, method, authenticated=authenticated)
    intent["latest_charge"], intent["next_action"], intent["last_payment_error"] = charge["id"], None, None
    kept = bool(intent["setup_future_usage"] and intent["customer"])
    call.save(
        method,
        {
            **call.private(method),
            "used": not kept,
            "set_up": _set_up(call, intent, method, authenticated),
        },
    )
    if intent["capture_method"] == "manual":
        charge["captured"] = False
        intent["status"], intent["amount_capturable"] = "requires_capture", intent["amount"]
        call.save(charge)
        call.save(intent)
        call.emit("charge.succeeded", charge)
        call.emit("payment_intent.amount_capturable_updated", intent)
    else:
        _book(call, charge, intent["amount"])
        intent["status"], intent["amount_received"] = "succeeded", intent["amount"]
        call.save(intent)
        call.emit("charge.succeeded", charge)
        call.emit("payment_intent.succeeded", intent)
    if kept:
        methods.attach(call, call.find("payment_method", method["id"]), intent["customer"])
    return intent


def _set_up(call: Call, intent: Body, method: Body, authenticated: bool) -> bool:
    known = bool(call.private(method).get("set_up"))
    return known or (authenticated and intent["setup_future_usage"] == "off_session")


def _book(call: Call, charge: Body, amount: int) -> None:
    """Take the money: the balance and the ledger learn of it together with the charge."""
    charge["captured"], charge["amount_captured"] = True, amount
    entry = objects.balance_transaction(call.now, kind="charge", source=charge, amount=amount)
    charge["balance_transaction"] = entry["id"]
    charge["receipt_url"] = f"{call.box.options.url}/stripe-payments/{charge['payment_intent']}"
    call.save(entry)
    call.save(charge)
    for kind, value in (("charge", amount), ("fee", -entry["fee"])):
        call.box.state.enter(
            at=call.box.clock.now(), provider="stripe", kind=kind, currency=charge["currency"], amount_minor=value,
            object_id=charge["id"], payment_id=charge["payment_intent"], metadata=charge["metadata"],
        )  # fmt: skip
    card = CARDS[call.box.state.private(charge["payment_method"])["test_card"]]
    if card.disputes:
        disputes.open_later(call.box, charge, card.disputes)


def _fail(call: Call, intent: Body, method: Body, decline: Decline, *, authenticated: bool = False) -> Body:
    """The bank said no. Leaves the failed charge and raises the card error."""
    charge = objects.charge(call.now, intent, method, authenticated=authenticated)
    blocked = decline.decline_code == "fraudulent"
    charge.update(
        status="failed", paid=False, failure_code=decline.code, failure_message=decline.message, captured=False,
        outcome={
            "advice_code": "do_not_try_again" if decline.decline_code in {"lost_card", "stolen_card"} else "try_again_later",
            "network_advice_code": None, "network_decline_code": None,
            "network_status": "not_sent_to_network" if blocked else "declined_by_network",
            "reason": decline.decline_code, "risk_level": "highest" if blocked else "normal",
            "seller_message": f"The bank returned the decline code `{decline.decline_code}`.",
            "type": "blocked" if blocked else "issuer_declined",
        },
    )  # fmt: skip
    call.save(charge)
    details: dict[str, Any] = {"charge": charge["id"], "decline_code": decline.decline_code}
    param = {"incorrect_cvc": "cvc", "expired_card": "exp_month"}.get(decline.code, "")
    error = StripeError(
        decline.message, status=402, kind="card_error", code=decline.code, param=param, keeps_changes=True,
        payment_method=method, **details,
    )  # fmt: skip
    intent.update(
        status="requires_payment_method", payment_method=None, next_action=None, latest_charge=charge["id"],
        last_payment_error=error.body()["error"],
    )  # fmt: skip
    call.save(intent)
    call.emit("charge.failed", charge)
    call.emit("payment_intent.payment_failed", intent)
    error.extra["payment_intent"] = call.shown(intent, [])
    raise error


def capture_payment(call: Call, intent_id: str) -> Body:
    intent = call.find("payment_intent", intent_id, "intent")
    if intent["status"] != "requires_capture":
        raise StripeError(
            f"This PaymentIntent could not be captured because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be captured: requires_capture.",
            code="payment_intent_unexpected_state", payment_intent=intent,
        )  # fmt: skip
    amount = int(
        call.params["amount_to_capture"]
        if "amount_to_capture" in call.params
        else intent["amount_capturable"]
    )
    if amount < 1:
        raise invalid("Invalid positive integer", "amount_to_capture", "parameter_invalid_integer")
    if amount > intent["amount_capturable"]:
        raise StripeError(
            f"The amount to capture ({shown(amount, intent['currency'])}) is greater than the amount that is "
            f"capturable ({shown(intent['amount_capturable'], intent['currency'])}).",
            code="amount_too_large", param="amount_to_capture",
        )  # fmt: skip
    intent["metadata"] = merge_metadata(intent["metadata"], call.params.get("metadata"))
    charge = call.find("charge", intent["latest_charge"])
    _book(call, charge, amount)
    intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
    call.save(intent)
    call.emit("charge.captured", charge)
    call.emit("payment_intent.succeeded", intent)
    return call.shown(intent)


def cancel_payment(call: Call, intent_id: str) -> Body:
    intent = call.find("payment_intent", intent_id, "intent")
    call.check_secret(intent)
    if intent["status"] not in CANCELABLE:
        raise StripeError(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a PaymentIntent "
            f"with one of the following statuses may be canceled: {', '.join(CANCELABLE)}.",
            code="payment_intent_unexpected_state", payment_intent=intent,
        )  # fmt: skip
    if intent["status"] == "requires_capture":
        charge = call.find("charge", intent["latest_charge"])
        charge.update(refunded=True, amount_refunded=charge["amount"])
        call.save(charge)
        call.emit("charge.refunded", charge)
    intent.update(
        status="canceled", canceled_at=call.now, next_action=None, amount_capturable=0,
        cancellation_reason=call.params.get("cancellation_reason"),
    )  # fmt: skip
    call.save(intent)
    call.emit("payment_intent.canceled", intent)
    return call.shown(intent)


# SetupIntents


def create_setup(call: Call) -> Body:
    intent = objects.setup_intent(call.now)
    intent["metadata"] = merge_metadata({}, call.params.get("metadata"))
    _choose_types(call, intent)
    call.apply(intent, ("description", "usage"))
    if call.params.get("customer"):
        intent["customer"] = call.find("customer", call.params["customer"], "customer")["id"]
    call.save(intent, {"return_url": call.params.get("return_url")})
    if call.params.get("payment_method"):
        _take_method(call, intent)
        call.save(intent)
    call.emit("setup_intent.created", intent)
    if call.params.get("confirm"):
        return _confirm_setup(call, intent)
    return call.shown(intent)


def retrieve_setup(call: Call, intent_id: str) -> Body:
    intent = call.find("setup_intent", intent_id, "intent")
    call.check_secret(intent)
    return call.shown(intent)


def update_setup(call: Call, intent_id: str) -> Body:
    intent = call.find("setup_intent", intent_id, "intent")
    frozen = set(call.params) - {"metadata", "expand", "description"}
    if intent["status"] not in PAYABLE and frozen:
        raise StripeError(
            f"You cannot update the {min(frozen)} of this SetupIntent because it has a status of {intent['status']}.",
            code="setup_intent_unexpected_state", setup_intent=intent,
        )  # fmt: skip
    intent["metadata"] = merge_metadata(intent["metadata"], call.params.get("metadata"))
    call.apply(intent, ("description",))
    if call.params.get("customer"):
        intent["customer"] = call.find("customer", call.params["customer"], "customer")["id"]
    if call.params.get("payment_method"):
        _take_method(call, intent)
    return call.shown(call.save(intent))


def list_setups(call: Call) -> Body:
    wanted = {name: call.params.get(name, "") for name in ("customer", "payment_method")}
    return call.page("setup_intent", "/v1/setup_intents", equal=wanted)


def confirm_setup(call: Call, intent_id: str) -> Body:
    intent = call.find("setup_intent", intent_id, "intent")
    call.check_secret(intent)
    if intent["status"] not in PAYABLE:
        raise StripeError(
            "You cannot confirm this SetupIntent because it has already "
            f"{'succeeded' if intent['status'] == 'succeeded' else 'been ' + intent['status']}.",
            code="setup_intent_unexpected_state", setup_intent=call.shown(intent, []),
        )  # fmt: skip
    _method_from_browser(call)
    if call.params.get("payment_method"):
        _take_method(call, intent)
    return _confirm_setup(call, intent)


def _confirm_setup(call: Call, intent: Body) -> Body:
    if not intent["payment_method"]:
        raise StripeError(
            "You cannot confirm this SetupIntent because it's missing a payment method. Update the SetupIntent with a "
            "payment method and then confirm it again.",
            code="setup_intent_unexpected_state", setup_intent=call.shown(intent, []),
        )  # fmt: skip
    private = call.private(intent)
    private["return_url"] = _return_url(call) or private.get("return_url")
    automatic = intent["automatic_payment_methods"]
    if (
        not call.publishable
        and automatic
        and automatic.get("allow_redirects") != "never"
        and not private["return_url"]
    ):
        raise StripeError(
            "This SetupIntent is configured to accept payment methods enabled in your Dashboard. Because some of these "
            "payment methods might redirect your customer off of your page, you must provide a `return_url`.",
            param="return_url",
        )
    method = methods.usable_for(call, intent["payment_method"], intent["customer"])
    card = CARDS[call.private(method)["test_card"]]
    intent["last_setup_error"], intent["next_action"] = None, None
    if card.authentication and not (
        card.authentication == "unless_set_up" and call.private(method).get("set_up")
    ):
        return call.shown(_challenge(call, intent, private))
    call.save(intent, private)
    return call.shown(_set_up_done(call, intent, method))


def _set_up_done(call: Call, intent: Body, method: Body) -> Body:
    card = CARDS[call.private(method)["test_card"]]
    if card.outcome != SUCCEEDS and not card.attaches:
        decline = DECLINES[card.outcome]
        error = StripeError(
            decline.message, status=402, kind="card_error", code=decline.code, keeps_changes=True,
            decline_code=decline.decline_code, payment_method=method,
        )  # fmt: skip
        intent.update(
            status="requires_payment_method", payment_method=None, next_action=None,
            last_setup_error=error.body()["error"],
        )  # fmt: skip
        call.save(intent)
        call.emit("setup_intent.setup_failed", intent)
        error.extra["setup_intent"] = call.shown(intent, [])
        raise error
    intent.update(status="succeeded", next_action=None, latest_attempt=identifier("setatt_1", 23))
    private = {**call.private(method), "set_up": True, "used": not intent["customer"]}
    call.save(method, private)
    if intent["customer"]:
        methods.attach(call, method, intent["customer"])
    call.save(intent)
    call.emit("setup_intent.succeeded", intent)
    return intent


def cancel_setup(call: Call, intent_id: str) -> Body:
    intent = call.find("setup_intent", intent_id, "intent")
    call.check_secret(intent)
    if intent["status"] not in PAYABLE:
        raise StripeError(
            f"You cannot cancel this SetupIntent because it has a status of {intent['status']}. Only a SetupIntent "
            f"with one of the following statuses may be canceled: {', '.join(PAYABLE)}.",
            code="setup_intent_unexpected_state", setup_intent=intent,
        )  # fmt: skip
    intent.update(
        status="canceled", next_action=None, cancellation_reason=call.params.get("cancellation_reason")
    )
    call.save(intent)
    call.emit("setup_intent.canceled", intent)
    return call.shown(intent)


# The bank's answer


def finish_challenge(call: Call, intent_id: str, attempt: str, *, passed: bool) -> Body:
    """What the 3-D Secure screen decided; returns the intent as it stands then.

    An answer to a challenge that is no longer asked (tab left open, second click) changes nothing.
    """
    kind = "setup_intent" if intent_id.startswith("seti_") else "payment_intent"
    intent = call.find(kind, intent_id, "intent")
    if intent["status"] != "requires_action" or call.private(intent).get("attempt") != attempt:
        return intent
    method = call.find("payment_method", intent["payment_method"])
    if not passed:
        return _authentication_failed(call, intent, method)
    try:
        if kind == "setup_intent":
            return _set_up_done(call, intent, method)
        return _charge(call, intent, method, authenticated=True)
    except StripeError as declined:
        if not declined.keeps_changes:
            raise
        return call.find(kind, intent_id, "intent")


def _authentication_failed(call: Call, intent: Body, method: Body) -> Body:
    kind = intent["object"]
    error = StripeError(
        AUTHENTICATION_FAILED, code=f"{kind}_authentication_failure", payment_method=method
    ).body()["error"]
    slot = "last_payment_error" if kind == "payment_intent" else "last_setup_error"
    intent.update(
        {"status": "requires_payment_method", "payment_method": None, "next_action": None, slot: error}
    )
    call.save(intent)
    call.emit(
        "payment_intent.payment_failed" if kind == "payment_intent" else "setup_intent.setup_failed", intent
    )
    return intent
