"""Payment facts for the templates of lower floors."""

from __future__ import annotations

from typing import Any

from django import template

from payments import queries

register = template.Library()


@register.simple_tag
def payment_summary(booking: Any) -> queries.PaymentSummary:
    """{% payment_summary booking as summary %}"""
    return queries.payment_summary(booking)
