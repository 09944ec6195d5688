"""A customer's saved payment methods, for programs. No card data passes here: cards go straight to the provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer, extend_schema
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from foundation.api import CursorPagination, idempotent, limit_rate, valid
from foundation.errors import InvalidInput
from foundation.middleware import client_address
from payments import queries
from payments.api import serializers as s
from payments.gateways import savable
from payments.models import StoredMethod
from payments.services import methods

KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="A repeat with the same key gets the same answer.",
)


def body(method: StoredMethod) -> dict[str, Any]:
    """A method as its owner may see it."""
    return dict(
        s.MethodAnswer(
            {
                "methodId": method.pk,
                "provider": method.provider,
                "label": method.label,
                "brand": method.brand,
                "last4": method.last4,
                "expMonth": method.exp_month,
                "expYear": method.exp_year,
                "isDefault": method.is_default,
                "createdAt": method.created_at,
            }
        ).data
    )


class CustomersOwnView(APIView):
    permission_classes = [IsAuthenticated]


class SaveMethodView(CustomersOwnView):
    @extend_schema(
        request=s.SaveMethodInput,
        responses={
            201: PolymorphicProxySerializer(
                component_name="SaveMethodAnswer",
                serializers=[s.MethodAnswer, s.StripeSetupAnswer, s.PayPalSetupAnswer],
                resource_type_field_name=None,
            )
        },
        parameters=[KEY],
        tags=["payment methods"],
    )
    @idempotent(required=False)
    def post(self, request: Request) -> Response:
        """Save a card, or a PayPal wallet with `provider: "paypal"`. First without `setupIntentId` (`setupTokenId`): the answer lets the
        customer enter a card at the provider (agree on PayPal's page). Then with it: the provider is asked, and the method stored if this
        very customer has saved it there. Repeating it does no harm.
        """
        limit_rate(request, "methods", account=str(request.user.pk))
        asked = valid(s.SaveMethodInput, request)
        provider = asked["provider"]
        if provider not in savable():
            raise InvalidInput(_("This provider is not offered here."), field="provider")
        setup_ref = asked.get("setupIntentId") or asked.get("setupTokenId")
        if setup_ref:
            stored = methods.save_method(request.user, setup_ref=setup_ref, provider=provider)
            return Response(body(stored), status=201)
        setup = methods.begin_setup(request.user, provider=provider, address=client_address(request._request))
        return Response({"provider": provider, **WAY_OF[provider](setup)}, status=201)


# What the customer's side needs to save a method at each provider.
WAY_OF: dict[str, Callable[[methods.SetupSession], dict[str, str]]] = {
    "stripe": lambda setup: {
        "setupIntentId": setup.setup_ref,
        "clientSecret": setup.client_secret,
        "publishableKey": setup.publishable_key,
    },
    "paypal": lambda setup: {"setupTokenId": setup.setup_ref, "approveUrl": setup.approve_url},
}


class NewestFirst(CursorPagination):
    ordering = ("-created_at", "-pk")  # type: ignore[assignment]  # DRF takes several; the stubs know one


class MethodsView(CustomersOwnView):
    @extend_schema(
        operation_id="payments_methods_list", responses={200: s.MethodsAnswer}, tags=["payment methods"]
    )
    def get(self, request: Request) -> Response:
        """List the caller's own saved methods, masked, newest first."""
        paginator = NewestFirst()
        page = paginator.paginate_queryset(queries.stored_methods(request.user), request, view=self)
        return paginator.get_paginated_response([body(method) for method in page or []])


class MethodView(CustomersOwnView):
    @extend_schema(responses={204: None}, tags=["payment methods"])
    def delete(self, request: Request, method_id: Any) -> Response:
        """Remove a saved method. Nobody can pay with it from now on; the provider is told to forget it."""
        methods.remove(request.user, method_id, now=timezone.now())
        return Response(status=204)


class DefaultMethodView(CustomersOwnView):
    @extend_schema(request=None, responses={200: s.MethodAnswer}, parameters=[KEY], tags=["payment methods"])
    @idempotent(required=False)
    def post(self, request: Request, method_id: Any) -> Response:
        """Offer this method first from now on."""
        return Response(body(methods.make_default(request.user, method_id)))
