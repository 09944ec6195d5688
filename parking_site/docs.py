"""The API's documentation page, served whole from our own host so that it works offline and under our CSP."""

from __future__ import annotations

from typing import Any

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.negotiation import DefaultContentNegotiation


class _OnlyFirst(DefaultContentNegotiation):
    """A page or a schema has one form; whatever the Accept header says, that form is the answer."""

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


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

    url_name = "api-schema"
    content_negotiation_class = _OnlyFirst
