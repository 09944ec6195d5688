"""Payment facts for the templates of lower floors."""

from __future__ import annotations

from typing import Any

from django import template
from django.db.models import QuerySet

from payments import queries
from payments.models import Document

register = template.Library()


@register.simple_tag
def payment_summary(booking: Any) -> queries.PaymentSummary:
    """{% payment_summary booking as summary %}"""
    return queries.payment_summary(booking)


@register.simple_tag
def payment_documents(booking: Any) -> QuerySet[Document]:
    """{% payment_documents booking as documents %}"""
    return queries.documents_for(booking)
