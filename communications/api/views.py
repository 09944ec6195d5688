"""Sending by hand, for staff's programs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from communications.api import serializers as s
from communications.models import Message
from communications.services import budget, by_hand
from foundation import audit
from foundation.api import idempotent, limit_rate, problem, valid
from foundation.errors import NotAllowed

OPTIONAL_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description=_("Optional. A repeat with the same key gets the same answer and sends nothing new."),
)


NOT_ALLOWED = _("Only staff with the permission may send messages.")


def queued(message: Message) -> dict[str, Any]:
    return {"messageId": str(message.pk), "status": message.status}


def demand(request: Request, permission: str, *, words: Any = NOT_ALLOWED) -> None:
    """Raise NotAllowed (403) for anybody but staff with the permission, and leave the attempt in the audit log."""
    user = request.user
    if user.is_staff and user.has_perm(permission):
        return
    audit.record(actor=user, action=f"{permission}.denied", subject=f"user:{user.pk}", reason="")
    raise NotAllowed(words)


class SendEmailView(APIView):
    @extend_schema(
        request=s.EmailInput, responses={202: s.QueuedAnswer}, parameters=[OPTIONAL_KEY], tags=["messages"]
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Send an e-mail from a template. Staff with the permission; the words are the template's, the variables the template's own."""
        demand(request, "communications.send_email")
        limit_rate(request, "messages", account=str(request.user.pk))
        given = valid(s.EmailInput, request)
        message = by_hand.send_email(
            to=given["to"],
            template_key=given["templateKey"],
            variables=given.get("variables", {}),
            language=given.get("language", settings.LANGUAGE_CODE),
            by=request.user,
            now=timezone.now(),
        )
        return Response(queued(message), status=202)


class SendSmsView(APIView):
    @extend_schema(
        request=s.SmsInput, responses={202: s.QueuedAnswer}, parameters=[OPTIONAL_KEY], tags=["messages"]
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Send an SMS. Staff with the permission, within the budgets."""
        demand(request, "communications.send_sms")
        limit_rate(request, "messages", account=str(request.user.pk))
        given = valid(s.SmsInput, request)
        try:
            message = by_hand.send_sms(
                to=given["to"], text=given["message"], by=request.user, now=timezone.now()
            )
        except budget.BudgetExceeded as error:
            return problem(422 if error.code in budget.NEVER else 429, error.code, str(error.message))
        return Response(queued(message), status=202)
