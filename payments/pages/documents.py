"""A booking's receipts and credit notes, for whoever may open the booking."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from bookings.pages.access import booking_from
from payments import queries
from payments.models import Document
from payments.paper import receipt


@never_cache
@require_safe
def document(request: HttpRequest, reference: str, number: str) -> HttpResponse:
    """Return the document as a PDF. Somebody else's is not found, whether or not it exists."""
    found = queries.documents_for(booking_from(request, reference)).filter(number=number).first()
    if found is None:
        raise Http404(_("There is no such document here."))
    return pdf(found)


def pdf(found: Document) -> HttpResponse:
    """Answer with the document's paper, shown in the browser and saved under its number."""
    response = HttpResponse(receipt.render(found), content_type="application/pdf")
    response["Content-Disposition"] = f'inline; filename="{found.number}.pdf"'
    return response
