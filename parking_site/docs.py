"""The API's documentation page, served whole from our own host so that it works offline and under our CSP."""

from __future__ import annotations

from typing import Any

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.utils.decorators import method_decorator
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation


class _OnlyFirst(DefaultContentNegotiation):
    """A page or a schema has one form; whatever the Accept header says, that form is the answer."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `code` is for programs, `detail` tells a person what to do, `errors` names fields.",
    "required": ["type", "title", "status", "code", "detail", "errors", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "requestId": {"type": "string"},
    },
}


def describe_problems(result: dict[str, Any], **_more: Any) -> dict[str, Any]:
    """Say of every call what it answers when it cannot do what was asked: all doors share one form."""
    result["components"]["schemas"]["Problem"] = PROBLEM
    answer = {
        "description": "The request cannot be carried out.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    failed = answer | {
        "description": "Something went wrong on our side. Quote `requestId` when you ask for help."
    }
    away = answer | {
        "description": "We or the payment provider cannot answer now. Try again after `Retry-After`."
    }
    for path in result["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and "responses" in operation:
                operation["responses"] |= {"4XX": answer, "500": failed, "503": away}
    return result


class StrictSerializerShape(OpenApiSerializerExtension):
    """What a strict serializer takes: the named fields and no other."""

    target_class = "foundation.api.StrictSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        shape = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**shape, "additionalProperties": False}


class SchemaView(SpectacularJSONAPIView):
    """OpenAPI 3.1, as JSON."""

    content_negotiation_class = _OnlyFirst


# Swagger UI writes <style> elements of its own and shows data: images; its scripts come from our host only.
@method_decorator(
    csp_replace({"style-src": [SELF, "'unsafe-inline'"], "script-src": [SELF], "object-src": [NONE]}),
    name="dispatch",
)
class DocsView(SpectacularSwaggerSplitView):
    """A page that lists every call and tries it."""

    http_method_names = ["get", "head"]  # its only form is HTML, which describes no options

    url_name = "api-schema"
    content_negotiation_class = _OnlyFirst
