"""Paying for a held booking, coming back from the bank, and the confirmation."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from bookings.models import Amendment, Booking
from bookings.pages.access import booking_from
from bookings.pages.limits import limit_posts
from bookings.pages.manage import pass_context
from foundation import features
from foundation.errors import DomainError, NotFound
from foundation.middleware import client_address
from payments import queries
from payments.gateways import offered
from payments.models import Payment, PaymentStatus, Provider
from payments.pages.methods import shown
from payments.services import checkout, settle
from payments.services.charge import MethodDeclined, pay_with_saved
from payments.services.checkout import CheckoutSession
from payments.services.declines import TooManyDeclines
from payments.services.due import Due, due_for
from payments.services.methods import MethodRemoved, own_method

PAID = (Booking.Status.CONFIRMED, Booking.Status.ARRIVED, Booking.Status.COMPLETED)
# The bank is at work, or nobody knows yet: paying again could pay twice.
WAITING = (PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN)
# What a card holder can do about a decline, by the provider's code. Anything else gets the general sentence.
ADVICE = {
    "insufficient_funds": gettext_lazy("The card has not enough money available. Use another card."),
    "expired_card": gettext_lazy("The card has expired. Use another card."),
    "incorrect_cvc": gettext_lazy("The security code does not match. Check it and try again."),
    "lost_card": gettext_lazy("Your bank declined the card. Use another card."),
    "INSTRUMENT_DECLINED": gettext_lazy(
        "PayPal could not take the money from what you chose there. Nothing was taken. Choose something else at PayPal, or pay by card."
    ),
    "PAYER_CANNOT_PAY": gettext_lazy(
        "PayPal says that you cannot pay this way. Nothing was taken. Pay by card."
    ),
    "processing_error": gettext_lazy("The bank could not process the card just now. Try again in a minute."),
    "authentication_required": gettext_lazy(
        "Your bank wants to check that it is you. Try again and follow its steps."
    ),
    "payment_intent_authentication_failure": gettext_lazy(
        "Your bank could not check that it was you. Try again, or use another card."
    ),
}


@never_cache
@require_safe
def pay(request: HttpRequest, reference: str) -> HttpResponse:
    """Show the card form for what the booking has to pay now, and the other ways to pay below it.

    Opening it twice, or refreshing it, finds the same payment. Who comes back from PayPal without having agreed has left it.
    """
    booking = booking_from(request, reference, to_change=True)
    session = _session(request, booking, provider=Provider.STRIPE)
    if isinstance(session, HttpResponse):
        return session
    due = due_of(session.payment, booking)
    now = timezone.now()
    stored = _stored(request, booking)
    chosen = next((one for one in stored if one["id"] == session.payment.stored_method_id), None)
    # The bank's question about a saved card is open. Without it, or past it, the customer chooses how to pay.
    bank_asks = session.truth.bank_asks and chosen is not None and "another" not in request.GET
    return render(
        request,
        "payments/bank_asks.html" if bank_asks else "payments/pay.html",
        pass_context(booking)
        | {
            "session": session,
            "due": due,
            "others": _others(due, Provider.STRIPE),
            "given_up": request.GET.get("given_up") == "1",
            "methods": stored,
            "has_wallet": any(one["provider"] == Provider.PAYPAL for one in stored),
            "chosen": chosen or (stored[0] if stored else None),
            "stripe_js_url": settings.STRIPE_JS_URL,
            "return_url": request.build_absolute_uri(reverse("payments:return", args=[booking.reference])),
            "locale": get_language() or "en",
            "declined": _decline_reason(booking) if request.GET.get("declined") == "1" else "",
            "seconds_left": max(0, int((due.expires_at - now).total_seconds())),
        },
    )


@never_cache
@require_POST
@limit_posts(group="charge", rate="20/m")
def charge(request: HttpRequest, reference: str) -> HttpResponse:
    """Pay with the saved card or wallet that was chosen, and go on as the payment then stands."""
    booking = booking_from(request, reference, to_change=True)
    payment_page = reverse("payments:pay", args=[booking.reference])
    try:
        stored = own_method(request.user, uuid.UUID(request.POST.get("stored", "")))
        if stored.provider not in _offered(booking):
            raise NotFound
        session = pay_with_saved(booking, method=stored, address=client_address(request), now=timezone.now())
    except MethodDeclined:
        return redirect(f"{payment_page}?declined=1")
    except (ValueError, NotFound, MethodRemoved):
        messages.error(request, _("What you saved can no longer be used. Choose something else."))
        return redirect(payment_page)
    except (checkout.HoldExpired, TooManyDeclines):  # the page says so
        return redirect(payment_page)
    except DomainError:
        pass  # paid before, or nobody knows yet: the return page looks and tells
    else:
        if session.truth.bank_asks:
            return redirect(session.approve_url or f"{payment_page}?bank=1")
    return redirect("payments:return", reference=booking.reference)


@require_POST
def keep(request: HttpRequest, reference: str) -> HttpResponse:
    """Note whether the card that is about to pay should be kept for the customer; script asks before it confirms."""
    booking = booking_from(request, reference, to_change=True)
    if not request.user.is_authenticated:
        raise PermissionDenied
    try:
        session = checkout.start(
            booking,
            user=request.user,
            saves_method=request.POST.get("keep") == "1",
            address=client_address(request),
            now=timezone.now(),
        )
    except DomainError as error:
        return HttpResponse(str(error.message), status=409, content_type="text/plain; charset=utf-8")
    if request.POST.get("payment", "") not in ("", str(session.payment.pk)):
        messages.info(
            request,
            _(
                "Somebody else had opened this payment too, so it was made anew to save the card for you alone. Enter the card again."
            ),
        )
        return HttpResponse(status=205)
    return HttpResponse(status=204)


def _offered(booking: Booking) -> list[str]:
    due = due_for(booking)
    return offered(due.amount if due else booking.total)


def _stored(request: HttpRequest, booking: Booking) -> list[dict[str, Any]]:
    """The saved cards and wallets that this visitor may pay this booking with, the default first."""
    if not request.user.is_authenticated or not features.is_on("saved_methods"):
        return []
    providers = _offered(booking)
    mine = map(shown, queries.stored_methods(request.user))
    return [one for one in mine if one["provider"] in providers and not one["has_expired"]]


@never_cache
@require_POST
def pay_with_paypal(request: HttpRequest, reference: str) -> HttpResponse:
    """Lead the customer to PayPal's own page, where they agree; they come back to `returned`. Who is signed in may have the wallet kept."""
    booking = booking_from(request, reference, to_change=True)
    due = due_for(booking)
    if due is None or Provider.PAYPAL not in offered(due.amount):
        return redirect("payments:pay", reference=booking.reference)
    keep = request.POST.get("keep") == "1" if request.user.is_authenticated else None
    session = _session(request, booking, provider=Provider.PAYPAL, saves_method=keep)
    if isinstance(session, HttpResponse):
        return session
    return redirect(session.approve_url or reverse("payments:return", args=[booking.reference]))


def _session(
    request: HttpRequest, booking: Booking, *, provider: str, saves_method: bool | None = None
) -> CheckoutSession | HttpResponse:
    """Start paying, or say on a page why that is not possible or not needed any more."""
    due = due_for(booking)
    if due is None and booking.status in PAID:
        return redirect("payments:confirmed", reference=booking.reference)
    if booking.status == Booking.Status.CANCELLED:
        return redirect("bookings:detail", reference=booking.reference)
    now = timezone.now()
    context = pass_context(booking)
    if due is None or due.expires_at <= now:
        latest = _latest(booking)
        if latest is not None and latest.status in WAITING:
            return redirect("payments:return", reference=booking.reference)
        return _too_late(request, booking, context)
    user = request.user if request.user.is_authenticated else None
    try:
        return checkout.start(
            booking,
            provider=provider,
            user=user,
            saves_method=saves_method,
            address=client_address(request),
            now=now,
        )
    except checkout.HoldExpired:
        return _too_late(request, booking, context)
    except checkout.AlreadyPaid:
        return redirect("payments:return", reference=booking.reference)
    except DomainError as error:
        latest = _latest(booking)
        if latest is not None and latest.provider_ref and latest.status in WAITING:
            return redirect("payments:return", reference=booking.reference)
        context |= {"reason": error.message, "others": _others(due, provider), "due": due}
        status = 429 if isinstance(error, TooManyDeclines) else 503
        return render(request, "payments/unavailable.html", context, status=status)


def due_of(payment: Payment, booking: Booking) -> Due:
    """Return what a payment that was just started is for, also if its time ran out this second."""
    if payment.amendment is None or payment.amendment.hold_expires_at is None:
        return Due(payment.amount, booking.hold_expires_at)
    return Due(payment.amount, payment.amendment.hold_expires_at, payment.amendment)


def _others(due: Due, provider: str) -> list[str]:
    return [name for name in offered(due.amount) if name != provider]


def _too_late(request: HttpRequest, booking: Booking, context: dict[str, Any]) -> HttpResponse:
    """A change that was not paid in time leaves the booking as it was; a hold is offered again."""
    if booking.status not in PAID:
        return hold_expired(request, booking, context)
    messages.info(request, str(checkout.ChangeExpired.message))
    return redirect("bookings:detail", reference=booking.reference)


def hold_expired(request: HttpRequest, booking: Booking, context: dict[str, Any]) -> HttpResponse:
    """Say that the space was let go, with one button that books again with the same details."""
    again = {
        "drop_off": f"{booking.local_start:%Y-%m-%dT%H:%M}",
        "return": f"{booking.local_end:%Y-%m-%dT%H:%M}",
        "name": booking.driver_name,
        "email": booking.driver_email,
        "phone": str(booking.driver_phone),
        "plate": booking.plate,
        "outbound_flight": booking.outbound_flight,
        "return_flight": booking.return_flight,
        "shown_total_minor": str(booking.total_minor),
    }
    search = urlencode(
        {"airport": context["airport"].iata, "drop_off": again["drop_off"], "return": again["return"]}
    )
    context |= {"again": again.items(), "search_url": f"{reverse('bookings:search')}?{search}"}
    return render(request, "payments/hold_expired.html", context, status=410)


@never_cache
@require_safe
def returned(request: HttpRequest, reference: str) -> HttpResponse:
    """Ask the provider how the payment went and go on: confirmed, back to the card form, or waiting.

    Whoever booked in another program comes back in a browser that may not see the booking: what they agreed to is settled all the same.
    """
    try:
        booking = booking_from(request, reference)
    except Http404:
        elsewhere = _named(request, Payment.objects.filter(booking__reference=reference))
        if elsewhere is None:
            raise
        with contextlib.suppress(DomainError):  # the janitor asks again
            settle.settle(elsewhere.pk)
        return render(request, "payments/returned_elsewhere.html")
    # The one that the provider names, which is not the latest when another was begun in a second tab.
    payment = _named(request, queries.payments_for(booking)) or _latest(booking)
    if payment is None:
        return redirect("payments:pay", reference=booking.reference)
    unreachable = False
    try:
        payment = settle.settle(payment.pk)
    except DomainError:
        unreachable = True  # the janitor asks again; the page keeps polling
    booking = booking_from(request, reference)
    if booking.status in PAID and payment.amendment_id is None:
        return _go(request, "payments:confirmed", booking)
    if payment.captured_minor:
        # The changed booking; or paid too late, and the page tells that the money goes back.
        if payment.amendment is not None and payment.amendment.status == Amendment.Status.APPLIED:
            messages.success(request, _("Your booking is changed. The new pass is on its way to you."))
        return _go(request, "bookings:detail", booking)
    if not unreachable and payment.status not in WAITING:
        given_up = payment.status == PaymentStatus.CANCELLED
        query = "?declined=1" if payment.failure_code else "?given_up=1" if given_up else ""
        return _go(request, "payments:pay", booking, query=query)
    template = "payments/_processing.html" if request.htmx else "payments/processing.html"  # type: ignore[attr-defined]
    context = pass_context(booking) | {
        "unreachable": unreachable,
        "payment": payment,
        "due": due_of(payment, booking),
    }
    return render(request, template, context)


def _go(request: HttpRequest, name: str, booking: Booking, *, query: str = "") -> HttpResponse:
    """Redirect a browser; an htmx poll is told to do the same with the whole page."""
    url = reverse(name, args=[booking.reference]) + query
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(status=204, headers={"HX-Redirect": url})
    return redirect(url)


@never_cache
@require_safe
def confirmed(request: HttpRequest, reference: str) -> HttpResponse:
    """Show the boarding pass and what happens next. A booking that is not confirmed goes to its own page."""
    booking = booking_from(request, reference)
    if booking.status not in PAID:
        name = "payments:pay" if booking.status == Booking.Status.HELD else "bookings:detail"
        return redirect(name, reference=booking.reference)
    return render(request, "payments/confirmed.html", pass_context(booking))


def _named(request: HttpRequest, payments: QuerySet[Payment]) -> Payment | None:
    """The payment whose reference the provider wrote into the address, each under a name of its own."""
    said = [str(value)[:255] for value in request.GET.values() if str(value).isprintable()]
    return payments.filter(provider_ref__in=said).first() if said else None


def _latest(booking: Booking) -> Payment | None:
    return queries.payments_for(booking).order_by("-created_at").first()


def _decline_reason(booking: Booking) -> str:
    """Say what to do about the last payment that failed; "" when none did."""
    payment = queries.payments_for(booking).exclude(failure_code="").order_by("-created_at").first()
    if payment is None:
        return ""
    general = _("Your bank declined the payment. Nothing was taken. Use another card, or ask your bank.")
    return str(ADVICE.get(payment.failure_code, general))
