"""Receipts, credit notes and their cancellations as PDF. Everything printed was frozen when the document was issued."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.utils import translation
from django.utils.translation import gettext as _

from bookings.services.messages import local_date, local_time
from foundation.money import Money
from payments.models import Document, DocumentKind, Provider


def title_of(document: Document) -> str:
    """Name the document as its reader does, in the active language."""
    return {
        DocumentKind.RECEIPT: _("Receipt"),
        DocumentKind.CREDIT_NOTE: _("Credit note"),
        DocumentKind.CREDIT_NOTE_CANCELLATION: _("Cancellation of credit note"),
    }[DocumentKind(document.kind)]


def render(document: Document) -> bytes:
    """Return the document as a PDF in its own language, with the airport's local times. The same document gives the same bytes."""
    from payments.paper.sheet import Sheet  # the library takes a second to import: only for whoever prints

    content = document.content
    language, stay, seller = content["language"], content["stay"], content["seller"]
    zone = ZoneInfo(stay["timezone"])

    def written(amount_minor: int) -> str:
        return Money(amount_minor, document.currency).format(language)

    def day(moment: str | datetime) -> str:
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return local_date(at.astimezone(zone), language)

    with translation.override(language):
        title = title_of(document)
        foot = " · ".join(
            filter(
                None,
                [
                    seller["name"],
                    *seller["address"].splitlines(),
                    seller["email"],
                    seller["phone"].replace(" ", "\u00a0"),
                ],
            )
        )
        sheet = Sheet(
            title=f"{title} {document.number}",
            subject=_("Parking, booking %(reference)s") % {"reference": stay["reference"]},
            language=language,
            dated=document.issued_at,
            foot=foot,
        )
        sheet.boarding_pass(stay, title=title, number=document.number, language=language)
        vat_number = (
            _("VAT number %(number)s") % {"number": seller["vat_number"]} if seller["vat_number"] else ""
        )
        sheet.columns(
            [
                (_("From"), [seller["name"], *seller["address"].splitlines(), vat_number]),
                (_("To"), [content["customer"]["name"], content["customer"]["email"]]),
                (
                    _("Issued"),
                    [day(document.issued_at), *_reference_to(document, day), _supplied(stay, day)],
                ),
            ]
        )
        sheet.set_y(sheet.get_y() + 8)
        sheet.rows(
            [_what(document), _("Amount")],
            [(line["label"], written(line["amount_minor"])) for line in content["lines"]],
            widths=(138, 40),
        )
        sheet.total(_total_label(document), written(document.total_minor))
        if content["vat"]:
            sheet.set_y(sheet.get_y() + 3)
            sheet.rows(
                [_("VAT rate"), _("Net"), _("VAT"), _("Total with VAT")],
                [
                    (
                        f"{line['percent']} %",
                        written(line["net_minor"]),
                        written(line["vat_minor"]),
                        written(line["net_minor"] + line["vat_minor"]),
                    )
                    for line in content["vat"]
                ],
                widths=(43, 45, 45, 45),
                right=3,
            )
        sheet.set_y(sheet.get_y() + 6)
        sheet.paragraph(_how_paid(document, zone))
        return sheet.finish()  # which writes the last page's foot, in the language as well


def _what(document: Document) -> str:
    stay = document.content["stay"]
    return f"{stay['product']}, {stay['address']}".replace("\n", ", ")


def _supplied(stay: dict[str, Any], day: Callable[[str], str]) -> str:
    """The date of supply, which VAT law wants beside the date of issue: the days of the stay, by the airport's calendar."""
    first, last = day(stay["start_at"]), day(stay["end_at"])
    days = first if first == last else f"{first} \u2013 {last}"
    return _("Date of supply: %(days)s") % {"days": days}


def _total_label(document: Document) -> str:
    return {
        DocumentKind.RECEIPT: _("Total paid"),
        DocumentKind.CREDIT_NOTE: _("Total credited"),
        DocumentKind.CREDIT_NOTE_CANCELLATION: _("Credit cancelled"),
    }[DocumentKind(document.kind)]


def _reference_to(document: Document, day: Callable[[str], str]) -> list[str]:
    about = document.content["about"]
    if not about:
        return []
    words = _("For receipt %(number)s")
    if document.kind == DocumentKind.CREDIT_NOTE_CANCELLATION:
        words = _("Cancels %(number)s")
    return [words % about, _("of %(day)s") % {"day": day(about["issued_at"])}]


def _how_paid(document: Document, zone: ZoneInfo) -> str:
    content = document.content
    paid, language = content["payment"], content["language"]
    provider = Provider(paid["provider"]).label
    method = " · ".join(filter(None, [paid["method_label"], provider, paid["provider_ref"]]))
    if document.kind == DocumentKind.CREDIT_NOTE:
        return _("Given back to %(method)s.") % {"method": method}
    if document.kind == DocumentKind.CREDIT_NOTE_CANCELLATION:
        return _(
            "The bank returned this refund, so the money has not reached you. When it is sent again, that refund gets a credit note of "
            "its own."
        )
    at = datetime.fromisoformat(paid["captured_at"]).astimezone(zone)
    when = f"{local_date(at, language)}, {local_time(at, language)}"
    return _("Paid with %(method)s on %(when)s (%(zone)s).") % {
        "method": method,
        "when": when,
        "zone": zone.key,
    }
