"""Who may do what at which door: the table that test_access.py holds every route of the URL map against.

A route without a rule fails that test. Where a rule goes:
- a page or a webhook: PAGES; a call of the API: API, with a way to call it in `bodies` when it names its object in the body;
- a model with staff pages: STAFF_MODELS, and a row of it in cast.a_row_of_each;
- a staff page of our own: STAFF_PAGES, with the permission that it needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.utils import timezone

from bookings.services.cancel import preview_cancellation
from communications.services import unsubscribe
from parking_site.tests.cast import Cast

NO_ID = UUID("00000000-0000-4000-8000-000000000000")
NO_REFERENCE = "AP-ZZZZZZ"
Answers = dict[str, set[int]]


def answers(text: str) -> Answers:
    """Read "GET 200; POST 302|303"."""
    return {
        verb: {int(status) for status in statuses.split("|")}
        for verb, statuses in (part.split() for part in text.split(";") if part.strip())
    }


@dataclass(frozen=True)
class Door:
    """`who` may come in, and what they are answered, verb by verb; a verb that is not named is answered 405.

    `stranger` is what those are answered who may not: not allowed to know (404), to sign in (302, 401), not allowed (403).
    `live`: the answer asks a provider, which is never done inside the transaction that the other cells are rolled back with.
    """

    who: str
    ok: str
    signed_in: str = ""  # what somebody who is signed in already is answered, where that differs
    live: bool = False
    held: bool = False  # tried with a booking that waits for its payment
    ordered: bool = False  # tried with a booking for which there is an order at PayPal
    permission: str = ""
    needs_caller: bool = False  # without any token the answer is 401, not 404
    reads_token: bool = True  # a bad one is refused also where none is needed
    wrong_verb: set[int] = field(default_factory=lambda: {405})

    def allowed(self, *, is_signed_in: bool = False) -> Answers:
        return answers(self.signed_in if is_signed_in and self.signed_in else self.ok)


LIBRARY = {200, 302, 400, 403, 405}  # allauth's own views take other verbs as GET or POST
SIGN_IN = "GET 200; POST 200|302"
TO_BOOKINGS = "GET 302; POST 302"

PAGES: dict[str, Door] = {
    "health": Door("anybody", "GET 200"),
    "": Door("anybody", "GET 200"),
    "search": Door("anybody", "GET 200|302|400"),
    "book/<int:product_id>": Door("product", "GET 200|302; POST 200|302|400|422"),
    "bookings": Door("anybody", "GET 200|302", signed_in="GET 200"),
    "bookings/find": Door("anybody", "GET 200; POST 200|400|404|422"),
    "bookings/<str:reference>": Door("booking", "GET 200"),
    "bookings/<str:reference>/change": Door("booking to change", "GET 200; POST 200|302|400|422"),
    "bookings/<str:reference>/change/withdraw": Door("booking to change", "POST 302"),
    "bookings/<str:reference>/cancel": Door("booking to change", "GET 200; POST 200|302|400|409|422"),
    "bookings/<str:reference>/calendar.ics": Door("booking", "GET 200"),
    "bookings/<str:reference>/qr.svg": Door("booking", "GET 200"),
    "bookings/<str:reference>/confirmed": Door("booking", "GET 200"),
    "bookings/<str:reference>/documents/<str:number>.pdf": Door("booking", "GET 200"),
    "bookings/<str:reference>/send-again": Door("booking to change", "POST 302"),
    "b/<str:reference>/<str:token>": Door("guest link", "GET 302"),
    "pay/<str:reference>": Door("booking to change", "GET 200|302|503", live=True, held=True),
    "pay/<str:reference>/charge": Door("booking to change", "POST 302", held=True),
    # Whether a card is kept is asked of who is signed in.
    "pay/<str:reference>/keep": Door(
        "booking to change", "POST 403", signed_in="POST 204|205|409", live=True, held=True
    ),
    "pay/<str:reference>/paypal": Door("booking to change", "POST 302|503", live=True, held=True),
    "pay/<str:reference>/return": Door("booking", "GET 302|200", live=True, held=True),
    "account": Door("signed in", "GET 200; POST 200|302|400|422"),
    "account/payment-methods": Door("signed in", "GET 200"),
    "account/payment-methods/add": Door("signed in", "GET 200|302|503", live=True),
    "account/payment-methods/add-paypal": Door("signed in", "POST 302", live=True),
    "account/payment-methods/<uuid:method_id>/default": Door("card", "POST 302"),
    "account/payment-methods/<uuid:method_id>/remove": Door("card", "GET 200; POST 302", live=True),
    # After the card's own pages: it leaves a notice in the session, which the next page shows.
    "account/payment-methods/added": Door("signed in", "GET 302", live=True),
    "account/data": Door("signed in", "GET 200"),
    "account/data/download": Door("signed in", "POST 422"),  # without the password
    "account/data/erase": Door("signed in", "POST 422"),
    "account/sign-ins": Door("signed in", "GET 200; POST 302"),
    "your-data": Door("anybody", "GET 200; POST 200"),
    "your-data/mine": Door("anybody", TO_BOOKINGS),  # no address was proven: to the page that sends a letter
    "your-data/<str:token>": Door("anybody", "GET 302"),  # likewise
    "messages/unsubscribe/<str:token>": Door("mail link", "GET 200; POST 200|302"),
    "messages/preferences/<str:token>": Door("mail link", "GET 200; POST 302"),
    # allauth's
    "accounts/login/": Door("anybody", SIGN_IN, signed_in=TO_BOOKINGS, wrong_verb=LIBRARY),
    "accounts/logout/": Door("anybody", "GET 302; POST 302", signed_in="GET 200; POST 302", wrong_verb=LIBRARY),
    "accounts/inactive/": Door("anybody", "GET 200", wrong_verb=LIBRARY),
    "accounts/signup/": Door("anybody", SIGN_IN, signed_in=TO_BOOKINGS, wrong_verb=LIBRARY),
    "accounts/reauthenticate/": Door("signed in", SIGN_IN, wrong_verb=LIBRARY),
    "accounts/email/": Door("signed in", SIGN_IN, wrong_verb=LIBRARY),
    "accounts/confirm-email/": Door("anybody", "GET 200", wrong_verb=LIBRARY),
    "accounts/^confirm-email/(?P<key>[-:\\w]+)/$": Door("anybody", "GET 200; POST 404", wrong_verb=LIBRARY | {404}),
    "accounts/password/change/": Door("signed in", SIGN_IN, wrong_verb=LIBRARY),
    "accounts/password/set/": Door("signed in", "GET 302; POST 302", wrong_verb=LIBRARY),
    "accounts/password/reset/": Door("anybody", SIGN_IN, wrong_verb=LIBRARY),
    "accounts/password/reset/done/": Door("anybody", "GET 200", wrong_verb=LIBRARY),
    "accounts/password/reset/key/done/": Door("anybody", "GET 200", wrong_verb=LIBRARY),
    "accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$": Door("anybody", SIGN_IN, wrong_verb=LIBRARY),
    "accounts/login/code/confirm/": Door("anybody", "GET 302; POST 302", wrong_verb=LIBRARY),
    "accounts/sessions/": Door("anybody", TO_BOOKINGS, wrong_verb={302}),  # leads to account/sign-ins, whatever the verb
    "accounts/2fa/": Door("signed in", "GET 200", wrong_verb=LIBRARY),
    "accounts/2fa/authenticate/": Door("anybody", TO_BOOKINGS, wrong_verb=LIBRARY),
    "accounts/2fa/reauthenticate/": Door("signed in", "GET 200|302; POST 200|302", wrong_verb=LIBRARY),
    # Nobody here has a second factor; all of these ask first for the password once more.
    "accounts/2fa/totp/activate/": Door("signed in", "GET 302; POST 302", wrong_verb=LIBRARY),
    "accounts/2fa/totp/deactivate/": Door("signed in", "GET 302|404; POST 302|404", wrong_verb=LIBRARY | {404}),
    "accounts/2fa/recovery-codes/": Door("signed in", "GET 302|404", wrong_verb=LIBRARY | {404}),
    "accounts/2fa/recovery-codes/generate/": Door("signed in", "GET 302|404; POST 302|404", wrong_verb=LIBRARY | {404}),
    "accounts/2fa/recovery-codes/download/": Door("signed in", "GET 302|404; POST 302|404", wrong_verb=LIBRARY | {404}),
    # Webhooks: whoever calls, an unsigned call is refused.
    "webhooks/sendgrid/": Door("anybody", "POST 403"),
    "webhooks/postmark/": Door("anybody", "POST 503"),  # no secret is set here
    "webhooks/twilio/status/": Door("anybody", "POST 403"),
    "webhooks/twilio/inbound/": Door("anybody", "POST 403"),
    "webhooks/paypal/": Door("anybody", "POST 400"),
    "webhooks/paypal/ipn/": Door("anybody", "POST 400"),
    "stripe/webhook/<uuid:uuid>/": Door("anybody", "POST 400"),
}  # fmt: skip
# dj-stripe's own view stands behind ours at the same address, and is never reached by it.
SHADOWED = {"stripe/webhook/<uuid:uuid>/"}

API: dict[str, Door] = {
    "api/health": Door("anybody", "GET 200|503", reads_token=False),
    "api/schema": Door("anybody", "GET 200", reads_token=False),
    "api/docs": Door("anybody", "GET 200", reads_token=False),
    r"^api(/[\s\S]*)?$": Door(
        "anybody",
        "GET 404; POST 404; PUT 404; PATCH 404; DELETE 404; HEAD 404; OPTIONS 404",
        reads_token=False,
    ),
    "api/auth/register": Door("anybody", "POST 400", reads_token=False),
    "api/auth/token": Door("anybody", "POST 400", reads_token=False),
    "api/auth/refresh": Door("anybody", "POST 400", reads_token=False),
    "api/auth/logout": Door("anybody", "POST 400", reads_token=False),
    "api/auth/me": Door("signed in", "GET 200; PATCH 200"),
    "api/airports": Door("anybody", "GET 200"),
    "api/search": Door("anybody", "GET 400"),  # no question was asked
    "api/quotes": Door("anybody", "POST 201"),
    "api/bookings": Door("quote", "GET 200; POST 201"),
    "api/bookings/<slug:reference>": Door("booking", "GET 200"),
    "api/bookings/<slug:reference>/amend": Door("booking to change", "POST 200"),
    "api/bookings/<slug:reference>/cancellation": Door("booking", "GET 200"),
    "api/bookings/<slug:reference>/cancel": Door("booking to change", "POST 200"),
    "api/communication/booking-confirmation": Door("booking to change", "POST 202"),
    "api/communication/booking-reminder": Door("booking to change", "POST 202"),
    "api/communication/payment-confirmation": Door("booking to change", "POST 202"),
    "api/communication/send-email": Door("staff", "POST 202", permission="communications.send_email"),
    "api/communication/send-sms": Door("staff", "POST 202", permission="communications.send_sms"),
    "api/communication/analytics": Door("staff", "GET 200", permission="communications.view_message"),
    "api/payments/create-intent": Door(
        "booking to change", "POST 201", live=True, held=True, needs_caller=True
    ),
    "api/payments/confirm-stripe": Door("booking to change", "POST 200", live=True, needs_caller=True),
    "api/payments/confirm-paypal": Door(
        "booking to change", "POST 200", live=True, ordered=True, needs_caller=True
    ),
    "api/payments/save-method": Door("signed in", "POST 201", live=True),
    "api/payments/methods": Door("signed in", "GET 200"),
    "api/payments/methods/<uuid:method_id>/default": Door("card", "POST 200"),
    "api/payments/methods/<uuid:method_id>": Door(
        "card", "DELETE 204", live=True
    ),  # last: it takes the card away
    "api/payments/refund": Door("refund", "POST 202", permission="payments.refund_payment"),
    "api/payments/transactions": Door("signed in", "GET 200"),
    "api/payments/transactions/<uuid:transaction_id>": Door("transaction", "GET 200"),
}


def addresses(cast: Cast, owner: str, *, held: bool) -> dict[str, str]:
    """What the placeholders of an address become for this owner's things; "nobody" owns what does not exist."""
    if owner == "nobody":
        return {
            "reference": NO_REFERENCE, "method_id": str(NO_ID), "transaction_id": str(NO_ID), "number": "NO-2026-1",
            "token": "x" * 26, "product_id": "999999", "uuid": str(NO_ID), "key": "x", "uidb36": "zz",
        }  # fmt: skip
    card = cast.card.get(owner)
    booking = cast.booking(owner, held=held)
    return {
        "reference": booking.reference,
        "method_id": str(card.pk if card else NO_ID),
        "transaction_id": str(cast.paid[owner].pk),
        "number": cast.document[owner].number,
        "token": cast.guest_token[f"{owner} held" if held else owner],
        "product_id": str(cast.product.pk),
        "uuid": str(NO_ID),
        "key": "x",
        "uidb36": "zz",
    }


def mail_link(path: str, owner: str) -> str:
    made = unsubscribe.token_for("email", f"{owner}@example.com") if owner != "nobody" else "x" * 40
    return path.replace("<str:token>", made)


def bodies(cast: Cast, path: str, owner: str) -> dict[str, Any]:
    """A right body for a call about this owner's things."""
    exists = owner != "nobody"
    booking = cast.booking(owner) if exists else None
    reference = booking.reference if booking else NO_REFERENCE
    now = timezone.now()
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "api/auth/me": lambda: {"name": "Somebody"},
        "api/quotes": lambda: {
            "productId": cast.product.pk, "dropOff": f"{now:%Y}-12-30T10:00", "return": f"{now:%Y}-12-31T10:00",
        },
        "api/bookings": lambda: {
            "quoteId": str(cast.quote[owner].pk) if owner in cast.quote else str(NO_ID),
            "driver": {"name": "A", "email": "a@example.com", "phone": "+447700900123"},
            "vehicle": {"plate": "AB12CDE"},
        },
        "api/bookings/<slug:reference>/amend": lambda: {"preview": True, "plate": "ZZ99ZZZ"},
        "api/bookings/<slug:reference>/cancel": lambda: {
            "previewToken": preview_cancellation(booking, now=now).token if booking else "x"
        },
        "api/communication/booking-confirmation": lambda: {"bookingId": reference},
        "api/communication/booking-reminder": lambda: {"bookingId": reference},
        "api/communication/payment-confirmation": lambda: {"bookingId": reference},
        "api/communication/send-email": lambda: {
            "to": "x@example.com", "templateKey": "welcome", "variables": {"customer_name": "X"},
        },
        "api/communication/send-sms": lambda: {"to": "+447700900123", "message": "Hello"},
        "api/payments/create-intent": lambda: {
            "bookingId": cast.booking(owner, held=True).reference if exists else NO_REFERENCE
        },
        "api/payments/confirm-stripe": lambda: {
            "paymentIntentId": cast.paid[owner].provider_ref if exists else "pi_nothing"
        },
        "api/payments/confirm-paypal": lambda: {"orderId": cast.order[owner] if exists else "0AB12345CD678901E"},
        "api/payments/refund": lambda: {
            "paymentId": str(cast.paid[owner].pk if exists else NO_ID), "amount": "1.00", "reason": "r",
        },
    }  # fmt: skip
    return ways[path]() if path in ways else {}


# What a superuser may do with the rows of each model in the admin: add, change, delete.
STAFF_MODELS = {
    "foundation.choice": "", "payments.cardbreaker": "", "accounts.erasure": "",
    "foundation.auditentry": "", "procrastinate.procrastinatejob": "", "payments.dispute": "", "payments.document": "",
    "payments.providerevent": "", "payments.ledgertransaction": "", "payments.storedmethod": "", "payments.payment": "",
    "payments.break": "", "payments.refund": "", "payments.reconciliationrun": "", "payments.payout": "",
    "bookings.promocode": "acd", "bookings.airport": "acd", "bookings.operator": "acd", "bookings.carpark": "acd",
    "bookings.tariff": "acd", "bookings.cancellationpolicy": "acd", "bookings.booking": "c", "accounts.user": "ac",
    "auth.group": "acd", "account.emailaddress": "", "communications.campaign": "acd", "communications.recipient": "",
    "communications.emergencyalert": "a", "communications.messagecount": "", "communications.smsspend": "",
    "communications.smsbreaker": "", "communications.consententry": "", "communications.suppression": "",
    "communications.inboundtext": "", "communications.message": "", "communications.messagetemplate": "c",
}  # fmt: skip

# Our own staff pages: what one needs besides being staff, then what GET and an empty POST are answered to who has it. "view": whoever may
# view the model; "superuser": nobody else.
STAFF_PAGES: dict[str, tuple[str, str]] = {
    "payments_dispute_answer": ("payments.answer_dispute", "GET 200; POST 400"),
    "payments_dispute_accept": ("payments.accept_dispute", "GET 200; POST 400"),
    "payments_dispute_pack": ("view", "GET 200; POST 200"),
    "payments_document_pdf": ("view", "GET 200; POST 200"),
    "payments_ledgertransaction_export": ("view", "GET 200; POST 200|400"),
    "payments_payment_refund": ("payments.refund_payment", "GET 200; POST 200|400"),
    "payments_break_look": ("payments.change_break", "GET 200; POST 200|302|400"),
    "payments_break_refund": ("payments.refund_payment", "GET 302; POST 302"),
    "payments_break_approve": ("payments.approve_refund", "GET 302; POST 302"),
    "payments_break_reject": ("payments.refund_payment", "GET 302; POST 302"),
    "payments_break_not_ours": ("payments.change_break", "GET 302; POST 302"),
    "payments_break_confirm": ("payments.refund_payment", "GET 302; POST 302"),
    "payments_break_resolve": ("payments.change_break", "GET 200; POST 200|302|400"),
    "payments_refund_decide": ("payments.approve_refund", "GET 200|302; POST 200|302|400"),
    "payments_refund_take_up": ("payments.refund_payment", "GET 200|302; POST 200|302|400"),
    "payments_reconciliationrun_start": ("payments.start_reconciliation", "GET 200; POST 200|302|400"),
    "bookings_booking_amend": ("bookings.change_booking", "GET 200; POST 200|400"),
    "accounts_user_messages": ("communications.export_person", "GET 200; POST 200"),
    "accounts_user_messages_export": ("communications.export_person", "GET 302; POST 302"),
    "accounts_user_messages_erase": ("communications.erase_person", "GET 302; POST 200|400"),
    "accounts_user_personal": ("communications.export_person", "GET 200; POST 200"),
    "accounts_user_personal_export": ("communications.export_person", "GET 302; POST 200"),
    "accounts_user_personal_erase": ("communications.erase_person", "GET 302; POST 400"),
    "accounts_user_second_factor": ("superuser", "GET 302; POST 302"),  # there is none to take away
    "accounts_erasure_carry_out": ("communications.erase_person", "GET 200; POST 400"),
    "foundation_choice_choose": ("foundation.choose_rule", "GET 200; POST 200|400"),
    "payments_cardbreaker_reset": ("payments.reset_cardbreaker", "GET 200; POST 400"),
    "auth_user_password_change": ("accounts.change_user", "GET 200; POST 200"),
    "communications_campaign_page": ("view", "GET 200; POST 200"),
    "communications_campaign_words": ("view", "GET 200; POST 403|422"),
    "communications_campaign_schedule": ("communications.run_campaign", "GET 200; POST 200|400|422"),
    "communications_campaign_step": ("communications.run_campaign", "GET 200; POST 422"),
    "communications_campaign_export": ("communications.run_campaign", "GET 200; POST 200"),
    "communications_emergencyalert_page": ("view", "GET 200; POST 200"),
    "communications_emergencyalert_resend": (
        "communications.send_emergencyalert",
        "GET 200|302; POST 200|302|422",
    ),
    "communications_smsbreaker_reset": ("communications.reset_breaker", "GET 200; POST 200|400|422"),
    "communications_suppression_lift": ("communications.lift_suppression", "GET 200; POST 200|400|422"),
    "communications_message_take_up": ("communications.change_message", "GET 200|302; POST 200|302|400"),
    "communications_messagetemplate_preview": ("view", "GET 200; POST 200"),
    "communications_messagetemplate_test": (
        "communications.change_messagetemplate",
        "GET 302; POST 302",
    ),  # both lead back to the words
    "communications_messagetemplate_versions": ("view", "GET 200; POST 200"),
    "communications_messagetemplate_back": (
        "communications.change_messagetemplate",
        "GET 200|302|405; POST 200|302|400|404",
    ),
}
# What the admin itself has besides its models: what staff are answered. None of these names an object.
STAFF_SITE = {
    "admin/": "GET 200", "admin/search/": "GET 200", "admin/system/": "GET 200; POST 405", "admin/login/": "GET 302; POST 302",
    "admin/logout/": "GET 405; POST 200|302", "admin/password_change/": "GET 302; POST 302", "admin/password_change/done/": "GET 200",
    "admin/autocomplete/": "GET 403", "admin/jsi18n/": "GET 200", "admin/r/<path:content_type_id>/<path:object_id>/": "GET 404",
    "admin/(?P<url>.*)$": "GET 404",
}  # fmt: skip
# Those of them that ask for a permission; who looks at everything has it, new staff do not.
STAFF_SITE_VIEWS = {"admin/system/"}
# Those that others than staff are answered as well.
STAFF_SITE_OPEN = {"admin/login/", "admin/logout/", "admin/jsi18n/", "admin/password_change/"}


def missing_rules(found: Iterable[tuple[str, str]], registered: Iterable[str]) -> list[str]:
    """Say for each (path, name) of the URL map, and each model with staff pages, that has no rule where to write one."""
    missing = [
        f"{label}: say in access_rules.STAFF_MODELS what staff may do"
        for label in registered
        if label not in STAFF_MODELS
    ]
    for path, name in found:
        if not path.startswith("admin/"):
            table, rules = ("API", API) if path.startswith(("api/", "^api")) else ("PAGES", PAGES)
            if path not in rules:
                missing.append(
                    f"{path}: say in access_rules.{table} who may come in and what they are answered"
                )
            continue
        if path in STAFF_SITE or path.startswith("admin/^(?P<app_label>") or name in STAFF_PAGES:
            continue
        if not any(path.startswith(f"admin/{label.replace('.', '/')}/") for label in STAFF_MODELS):
            missing.append(f"{path} ({name}): say in access_rules.STAFF_SITE or STAFF_MODELS who may open it")
        elif not re.search(r"_(changelist|add|history|delete|change|action)$|^$", name):
            missing.append(f"{path} ({name}): say in access_rules.STAFF_PAGES who may open it")
    return missing
