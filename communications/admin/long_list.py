"""What keeps a list of millions of rows quick: no count of them all, a search that an index answers, and a way to go on after the last page."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import F, Func, QuerySet, TextField
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

MOST_ROWS = 5_000
MOST_FOUND = 1_000  # by a search, for which each row has to be read
SHORTEST_WORD = 3  # the index knows words by three letters
_PHONE = re.compile(r"[+0-9 ()./-]+")
_PROVIDER_REF = re.compile(r"[A-Za-z0-9._-]{24,}")


class CappedPaginator(Paginator):
    """Counts to MOST_ROWS, or MOST_FOUND in a search, and offers no page beyond: nobody leafs further, and counting millions takes seconds."""

    @property
    def most(self) -> int:
        rows: Any = self.object_list
        return (
            MOST_FOUND if isinstance(rows, QuerySet) and "haystack" in rows.query.annotations else MOST_ROWS
        )

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return rows[: self.most + 1].count() if isinstance(rows, QuerySet) else len(rows)

    @property
    def is_capped(self) -> bool:
        return self.count > self.most

    @cached_property
    def num_pages(self) -> int:
        return max(1, -(-min(self.count, self.most) // self.per_page))


def haystack() -> Func:
    """What a message is found by, as the index message_found has it."""
    return Func(
        F("to"), F("to_name"), F("reference"), F("variables"),
        function="communications_haystack", output_field=TextField(),
    )  # fmt: skip


def find(request: HttpRequest, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Return the messages with every word of the text in address, name, reference or plate; a long code is the provider's reference."""
    text = text.strip()
    if _PROVIDER_REF.fullmatch(text) and "@" not in text:
        return queryset.filter(provider_ref=text)
    digits = re.sub(r"[^0-9]", "", text).lstrip("0")
    words = [digits] if _PHONE.fullmatch(text) and len(digits) >= 6 else text.upper().split()[:6]
    if words and all(len(word) < SHORTEST_WORD for word in words):
        messages.warning(request, _("Give at least three letters of one word."))
        return queryset.none()
    for word in words:
        queryset = queryset.alias(haystack=haystack()).filter(haystack__contains=word)
    return queryset


def older(request: HttpRequest, changelist: Any) -> str:
    """Return the query that goes on where the last offered page ends; nothing elsewhere."""
    paginator = changelist.paginator
    if not getattr(paginator, "is_capped", False) or changelist.page_num < paginator.num_pages:
        return ""
    rows = list(changelist.result_list)
    if not rows:
        return ""
    query = request.GET.copy()
    query.pop("p", None)
    # Not to lose one of the same instant, it is shown twice.
    query["queued_at__lt"] = (rows[-1].queued_at + timedelta(microseconds=1)).isoformat(sep=" ")
    return query.urlencode()
