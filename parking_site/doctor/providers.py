"""The accounts at providers: is our key taken, is it the right account, and do they tell us what happens?"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from datetime import UTC
from email.utils import parseaddr, parsedate_to_datetime
from typing import Any

import requests
from django.conf import settings
from django.urls import reverse

from parking_site.doctor import FAIL, OK, WARN, Finding, verdict
from parking_site.doctor.here import clock_finding

TIMEOUT = (3, 6)
STRIPE_EVENTS = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.processing",
        "payment_intent.canceled",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
        "refund.created",
        "refund.updated",
        "refund.failed",
        "setup_intent.succeeded",
        "payment_method.attached",
        "payment_method.detached",
        "payment_method.updated",
    }
)
PAYPAL_EVENTS = frozenset(
    {
        "CHECKOUT.ORDER.APPROVED",
        "PAYMENT.CAPTURE.COMPLETED",
        "PAYMENT.CAPTURE.PENDING",
        "PAYMENT.CAPTURE.DENIED",
        "PAYMENT.CAPTURE.REFUNDED",
        "PAYMENT.CAPTURE.REVERSED",
        "CUSTOMER.DISPUTE.CREATED",
        "CUSTOMER.DISPUTE.UPDATED",
        "CUSTOMER.DISPUTE.RESOLVED",
        "VAULT.PAYMENT-TOKEN.CREATED",
        "VAULT.PAYMENT-TOKEN.DELETED",
    }
)
MAIL_EVENTS = ("delivered", "deferred", "bounce", "dropped", "spam_report")


class Refused(Exception):
    """A provider did not answer as hoped; `status` is 0 when it did not answer at all."""

    def __init__(self, status: int, told: str = "") -> None:
        self.status, self.told = status, told
        super().__init__(f"{status} {told}".strip())


def _ask(method: str, url: str, **more: Any) -> requests.Response:
    """Call, and raise Refused for everything but success. What providers say is not repeated: it may quote a key."""
    try:
        answer = requests.request(method, url, timeout=TIMEOUT, allow_redirects=False, **more)
    except requests.RequestException as error:
        raise Refused(0, type(error).__name__) from None
    if answer.status_code >= 300:
        raise Refused(answer.status_code)
    return answer


def _unreachable(part: str, error: Refused, *, key: str, where: str) -> Finding:
    if error.status in {401, 403}:
        return Finding(part, "key", FAIL, f"refused with {error.status}", f"Copy {key} again from {where}.")
    if error.status:
        return Finding(
            part,
            "answer",
            FAIL,
            f"HTTP {error.status}",
            f"See the provider's status page; if it lasts, check {key}.",
        )
    return Finding(
        part,
        "answer",
        FAIL,
        f"no answer ({error.told})",
        "Look at the network, the firewall and the provider's status page.",
    )


def _clock(part: str, answer: requests.Response) -> Iterator[Finding]:
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"])
    except (KeyError, ValueError, TypeError):
        return
    yield clock_finding(part, theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))


def _mode(part: str, *, is_live: bool) -> Finding:
    if settings.PRODUCTION and not is_live:
        return Finding(part, "mode", FAIL, "test", "Production takes live keys.")
    return Finding(part, "mode", OK, "live" if is_live else "test")


def look_at_stripe() -> Iterator[Finding]:
    """Key, mode, account, endpoint with our address and events, its secret and version."""
    base, key = f"{settings.STRIPE_API_BASE}/v1", settings.STRIPE_SECRET_KEY
    if not key:
        yield Finding("stripe", "key", FAIL, "missing", "Set STRIPE_SECRET_KEY.")
        return
    login = {"auth": (key, ""), "headers": {"Stripe-Version": settings.STRIPE_API_VERSION}}
    try:
        answer = _ask("GET", f"{base}/account", **login)
    except Refused as error:
        yield _unreachable("stripe", error, key="STRIPE_SECRET_KEY", where="Stripe, Developers, API keys")
        return
    account = answer.json()
    yield Finding("stripe", "key", OK, f"taken, account {account.get('id')}")
    yield _mode("stripe", is_live=settings.STRIPE_LIVE_MODE)
    charges = bool(account.get("charges_enabled"))
    told = f"{account.get('country')}, settles in {str(account.get('default_currency')).upper()}"
    yield verdict(
        "stripe",
        "charges",
        charges,
        f"{told}, charges {'enabled' if charges else 'disabled'}",
        "Finish the account's verification at Stripe.",
    )
    payouts = bool(account.get("payouts_enabled"))
    yield verdict(
        "stripe",
        "payouts",
        payouts,
        "enabled" if payouts else "disabled",
        "Add a bank account at Stripe.",
        otherwise=WARN,
    )
    matches = key.split("_")[1:2] == settings.STRIPE_PUBLISHABLE_KEY.split("_")[1:2]
    yield verdict(
        "stripe",
        "publishable key",
        matches,
        "same mode" if matches else "of the other mode",
        "Set both keys from the same page.",
    )
    yield from _clock("stripe", answer)
    yield from _stripe_endpoint(base, login)


def _stripe_endpoint(base: str, login: dict[str, Any]) -> Iterator[Finding]:
    secret = settings.STRIPE_WEBHOOK_SECRET
    plausible = secret.startswith("whsec_") and len(secret) >= 20
    yield verdict(
        "stripe",
        "signing secret",
        plausible,
        "well formed" if plausible else "not a whsec_… secret",
        "Copy STRIPE_WEBHOOK_SECRET from the endpoint's page at Stripe.",
    )
    try:
        uuid.UUID(settings.STRIPE_WEBHOOK_UUID)
    except ValueError:
        yield Finding("stripe", "endpoint", FAIL, "STRIPE_WEBHOOK_UUID is no UUID", "Make one with uuidgen.")
        return
    url = f"{settings.SITE_URL}/stripe/webhook/{settings.STRIPE_WEBHOOK_UUID}/"
    try:
        known = _ask("GET", f"{base}/webhook_endpoints?limit=100", **login).json()["data"]
    except Refused as error:
        yield Finding(
            "stripe",
            "endpoint",
            WARN,
            f"cannot be asked ({error})",
            "Give the restricted key the right to read webhook endpoints.",
        )
        return
    mine = next((one for one in known if one["url"].rstrip("/") == url.rstrip("/")), None)
    if mine is None:
        yield Finding(
            "stripe",
            "endpoint",
            FAIL,
            f"none for {url}",
            "Add it at Stripe, Developers, Webhooks, then copy its signing secret.",
        )
        return
    on = mine.get("status", "enabled") == "enabled"
    yield verdict(
        "stripe", "endpoint", on, f"{mine['id']}, {mine.get('status', 'enabled')}", "Enable it at Stripe."
    )
    events = set(mine.get("enabled_events") or ())
    missing = set() if "*" in events else STRIPE_EVENTS - events
    yield _events("stripe", missing)
    version = mine.get("api_version") or settings.STRIPE_API_VERSION
    same = version == settings.STRIPE_API_VERSION
    yield verdict(
        "stripe",
        "API version",
        same,
        version,
        f"Make the endpoint with {settings.STRIPE_API_VERSION}; events are only a reason to look, so this is no emergency.",
        otherwise=WARN,
    )


def _events(part: str, missing: Collection[str]) -> Finding:
    if missing:
        return Finding(
            part,
            "events",
            FAIL,
            f"missing: {', '.join(sorted(missing))}",
            "Add them to the endpoint; until then reconciliation notices late.",
        )
    return Finding(part, "events", OK, "all that we need")


def look_at_paypal() -> Iterator[Finding]:
    """Token, mode, and the webhook with our address and events."""
    if not settings.PAYPAL_CLIENT_ID:
        yield Finding("paypal", "use", OK, "off: no PAYPAL_CLIENT_ID")
        return
    base = settings.PAYPAL_API_BASE
    try:
        answer = _ask(
            "POST",
            f"{base}/v1/oauth2/token",
            auth=(settings.PAYPAL_CLIENT_ID, settings.PAYPAL_CLIENT_SECRET),
            data={"grant_type": "client_credentials"},
        )
    except Refused as error:
        yield _unreachable(
            "paypal",
            error,
            key="PAYPAL_CLIENT_ID and PAYPAL_CLIENT_SECRET",
            where="PayPal, Apps & Credentials",
        )
        return
    token = answer.json()
    yield Finding("paypal", "token", OK, "given")
    yield _mode("paypal", is_live=settings.PAYPAL_LIVE_MODE)
    reporting = "reporting/search/read" in str(token.get("scope", ""))
    yield verdict(
        "paypal",
        "reporting",
        reporting,
        "allowed" if reporting else "not allowed",
        "Switch Transaction Search on for the app: reconciliation needs it.",
    )
    yield from _clock("paypal", answer)
    login = {"headers": {"Authorization": f"Bearer {token['access_token']}"}}
    try:
        hook = _ask("GET", f"{base}/v1/notifications/webhooks/{settings.PAYPAL_WEBHOOK_ID}", **login).json()
    except Refused as error:
        yield Finding(
            "paypal",
            "webhook",
            FAIL,
            f"PAYPAL_WEBHOOK_ID is unknown ({error})",
            "Copy the id of the app's webhook from PayPal.",
        )
        return
    url = settings.SITE_URL + reverse("paypal-webhook")
    same = str(hook.get("url", "")).rstrip("/") == url.rstrip("/")
    yield Finding(
        "paypal", "webhook", OK if same else FAIL, str(hook.get("url")), "" if same else f"Point it at {url}"
    )
    names = {str(one.get("name")) for one in hook.get("event_types", [])}
    yield _events("paypal", set() if "*" in names else PAYPAL_EVENTS - names)


def look_at_mail() -> Iterator[Finding]:
    """The mail provider that is chosen."""
    if settings.EMAIL_PROVIDER == "postmark":
        yield from _look_at_postmark()
    else:
        yield from _look_at_sendgrid()


def _look_at_sendgrid() -> Iterator[Finding]:
    base = settings.SENDGRID_API_URL.rstrip("/")
    login = {"headers": {"Authorization": f"Bearer {settings.SENDGRID_API_KEY}"}}
    try:
        answer = _ask("GET", f"{base}/scopes", **login)
    except Refused as error:
        yield _unreachable("mail", error, key="SENDGRID_API_KEY", where="SendGrid, Settings, API Keys")
        return
    scopes = set(answer.json().get("scopes", ()))
    may = "mail.send" in scopes
    yield verdict(
        "mail",
        "key",
        may,
        "SendGrid, may send" if may else "SendGrid, may not send",
        "Make a key with the scope mail.send.",
    )
    yield from _clock("mail", answer)
    sender = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].lower()
    domain = sender.rpartition("@")[2]
    try:
        listed = _ask("GET", f"{base}/whitelabel/domains", **login).json()
        domains = {str(one["domain"]).lower() for one in listed if one.get("valid")}
        known = _ask("GET", f"{base}/verified_senders", **login).json().get("results", ())
        senders = {str(one.get("from_email", "")).lower() for one in known if one.get("verified")}
        verified = sender in senders or any(domain == one or domain.endswith("." + one) for one in domains)
        yield verdict(
            "mail",
            "sender",
            verified,
            f"{sender} is {'verified' if verified else 'not verified'}",
            "Authenticate the domain at SendGrid, Settings, Sender Authentication.",
        )
    except Refused as error:
        yield Finding(
            "mail",
            "sender",
            WARN,
            f"cannot be asked ({error})",
            "Look at SendGrid, Settings, Sender Authentication.",
        )
    try:
        hooks = _ask("GET", f"{base}/user/webhooks/event/settings/all", **login).json().get("webhooks", ())
    except Refused as error:
        yield Finding(
            "mail",
            "webhook",
            WARN,
            f"cannot be asked ({error})",
            "Look at SendGrid, Settings, Mail Settings, Event Webhooks.",
        )
        return
    url = settings.SITE_URL + reverse("sendgrid_events")
    mine = next((one for one in hooks if str(one.get("url", "")).rstrip("/") == url.rstrip("/")), None)
    if mine is None or not mine.get("enabled"):
        yield Finding(
            "mail",
            "webhook",
            FAIL,
            f"none for {url}" if mine is None else "disabled",
            "Add it at SendGrid with signature verification, and enable it.",
        )
        return
    yield Finding("mail", "webhook", OK, url)
    yield _events("mail", {name for name in MAIL_EVENTS if not mine.get(name)})
    ours = settings.SENDGRID_WEBHOOK_VERIFICATION_KEY
    if not ours and not settings.PRODUCTION:
        yield Finding(
            "mail", "webhook key", WARN, "not set here", "The quickstart gives it to the site itself."
        )
    else:
        same = mine.get("public_key") == ours
        yield verdict(
            "mail",
            "webhook key",
            same,
            "ours" if same else "another",
            "Copy the verification key of this webhook into SENDGRID_WEBHOOK_VERIFICATION_KEY.",
        )


def _look_at_postmark() -> Iterator[Finding]:
    base = settings.POSTMARK_API_URL.rstrip("/")
    login = {
        "headers": {"X-Postmark-Server-Token": settings.POSTMARK_SERVER_TOKEN, "Accept": "application/json"}
    }
    try:
        answer = _ask("GET", f"{base}/server", **login)
        hooks = _ask("GET", f"{base}/webhooks", **login).json().get("Webhooks", ())
    except Refused as error:
        yield _unreachable(
            "mail", error, key="POSTMARK_SERVER_TOKEN", where="Postmark, the server's API Tokens"
        )
        return
    yield Finding("mail", "key", OK, f"Postmark, server {answer.json().get('Name')}")
    yield from _clock("mail", answer)
    url = settings.SITE_URL + reverse("postmark_events")
    mine = next((one for one in hooks if _bare(one.get("Url")) == _bare(url)), None)
    yield verdict(
        "mail",
        "webhook",
        mine is not None,
        url if mine else f"none for {url}",
        "Add it at Postmark with the name and password of POSTMARK_WEBHOOK_SECRET.",
    )


def _bare(url: Any) -> str:
    """An address without scheme, name and password."""
    return str(url or "").partition("://")[2].rpartition("@")[2].rstrip("/")


def look_at_twilio() -> Iterator[Finding]:
    """Account, number, and where answers go."""
    sid = settings.TWILIO_ACCOUNT_SID
    base = f"{settings.TWILIO_API_BASE or 'https://api.twilio.com'}/2010-04-01/Accounts/{sid}"
    login = {"auth": (sid, settings.TWILIO_AUTH_TOKEN)}
    try:
        answer = _ask("GET", f"{base}.json", **login)
        numbers = _ask(
            "GET",
            f"{base}/IncomingPhoneNumbers.json",
            params={"PhoneNumber": settings.TWILIO_FROM_NUMBER},
            **login,
        ).json()
    except Refused as error:
        yield _unreachable(
            "twilio", error, key="TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", where="the Twilio console"
        )
        return
    account = answer.json()
    active = account.get("status") == "active"
    yield verdict(
        "twilio",
        "account",
        active,
        f"{account.get('status')}, {account.get('type')}",
        "Settle it with Twilio: nothing is sent.",
    )
    if settings.PRODUCTION and account.get("type") == "Trial":
        yield Finding(
            "twilio", "plan", FAIL, "a trial texts only numbers that you verified", "Upgrade the account."
        )
    yield from _clock("twilio", answer)
    mine = next(iter(numbers.get("incoming_phone_numbers", ())), None)
    if mine is None:
        yield Finding(
            "twilio",
            "number",
            FAIL,
            f"{settings.TWILIO_FROM_NUMBER} is not this account's",
            "Set TWILIO_FROM_NUMBER to a number of the account.",
        )
        return
    capable = bool((mine.get("capabilities") or {}).get("sms"))
    yield verdict(
        "twilio",
        "number",
        capable,
        f"{settings.TWILIO_FROM_NUMBER}, {'can' if capable else 'cannot'} send SMS",
        "Buy a number with SMS.",
    )
    url = settings.SITE_URL + reverse("twilio_inbound")
    same = str(mine.get("sms_url", "")).rstrip("/") == url.rstrip("/")
    yield verdict(
        "twilio",
        "answers",
        same,
        mine.get("sms_url") or "go nowhere",
        f"Set the number's messaging webhook to {url} (POST): STOP must reach us.",
    )
