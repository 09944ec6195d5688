"""Features and business rules in the hands of staff: what holds, what it means, and who chose it why."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _

from foundation import features, overrides, rules
from foundation.admin import ReadOnlyAdmin, ReasonForm
from foundation.errors import InvalidInput
from foundation.models import Choice

FEATURE, RULE = "foundation.choose_feature", "foundation.choose_rule"


class ChoiceForm(ReasonForm):
    """Another value, and why; `default` goes back to what the environment says."""

    value = forms.CharField(
        label=_("New value"),
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"class": "ops-input"}),
    )
    default = forms.BooleanField(label=_("Back to the default"), required=False)
    field_order = ("value", "default", "reason")

    def __init__(self, *args: Any, rule: rules.BusinessRule | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = rule
        if rule is None:
            self.fields["value"] = forms.ChoiceField(
                label=_("New value"),
                choices=[("on", _("on")), ("off", _("off"))],
                required=False,
                widget=forms.Select(attrs={"class": "ops-input"}),
            )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("default"):
            cleaned["chosen"] = None
        elif self.rule is None:
            if not cleaned.get("value"):
                self.add_error("value", _("Choose on or off."))
            cleaned["chosen"] = cleaned.get("value") == "on"
        else:
            try:
                cleaned["chosen"] = rules.clean(self.rule, cleaned.get("value") or "")
            except InvalidInput as error:
                self.add_error("value", str(error.message))
        return cleaned


@admin.register(Choice)
class ChoiceAdmin(ReadOnlyAdmin):
    """The list shows what holds now, then the history of choices."""

    list_display = ["at", "key", "shown_value", "by", "reason"]
    list_select_related = ["by"]
    list_filter = ["key"]
    fields = ["at", "key", "shown_value", "by", "reason"]
    list_fullwidth = True
    show_full_result_count = False
    list_before_template = "foundation/admin/choices.html"
    empty_text = _("Nobody has chosen anything here: every feature and rule is as the environment says.")

    @admin.display(description=_("value"))
    def shown_value(self, row: Choice) -> str:
        if row.value is None:
            return str(_("back to the default"))
        if isinstance(row.value, bool):
            return str(_("on") if row.value else _("off"))
        return rules.shown(row.value)

    def get_urls(self) -> list[Any]:
        page = path(
            "choose/<str:kind>/<str:name>/",  # without the word it would take the place of <id>/change/ and the like
            self.admin_site.admin_view(self.choose_view),
            name="foundation_choice_choose",
        )
        return [page, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {**(extra_context or {}), **_state(request)})

    def choose_view(self, request: HttpRequest, kind: str, name: str) -> HttpResponseBase:
        """First a preview of what it means, then the same again with a confirmation writes it."""
        rule = rules.RULES.get(name) if kind == "rule" else None
        feature = features.FEATURES.get(name) if kind == "feature" else None
        if not self.has_view_permission(request):
            raise PermissionDenied
        if rule is None and feature is None:
            raise Http404
        if not request.user.has_perm(RULE if rule else FEATURE):
            raise PermissionDenied
        key = f"{kind}:{name}"
        if rule:
            now, default = rules.shown(rules.value(name)), getattr(settings, name)
        else:
            assert feature is not None
            now = "on" if features.is_on(name) else "off"
            default = features.default_of(feature)
        form = ChoiceForm(request.POST or None, rule=rule, initial={"value": now})
        preview = None
        if request.method == "POST" and form.is_valid():
            chosen = form.cleaned_data["chosen"]
            if request.POST.get("confirm"):
                overrides.choose(
                    key, chosen, default=default, by=request.user, reason=form.cleaned_data["reason"]
                )
                self.message_user(
                    request, _("Changed. Every process follows within seconds."), messages.SUCCESS
                )
                return HttpResponseRedirect(reverse("admin:foundation_choice_changelist"))
            after = default if chosen is None else chosen
            preview = {"before": now, "after": _written(after), "means": _meaning(rule, feature, after)}
        history = list(Choice.objects.filter(key=key).select_related("by")[:10])
        for row in history:
            row.words = self.shown_value(row)  # type: ignore[attr-defined]
        context = {
            **self.admin_site.each_context(request),
            "title": rule.title if rule else feature.what if feature else "",
            "opts": self.opts,
            "media": self.media,
            "form": form,
            "preview": preview,
            "now": rules.in_words(rule, rules.value(name)) if rule else now,
            "default": rules.in_words(rule, default) if rule else _written(default),
            "rule": rule,
            "page": reverse("admin:foundation_choice_changelist"),
            "history": history,
        }
        return TemplateResponse(
            request, "foundation/admin/choose.html", context, status=400 if form.errors else 200
        )


def _written(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else rules.shown(value)


def _meaning(rule: rules.BusinessRule | None, feature: features.Feature | None, value: Any) -> str:
    if rule is not None:
        return str(rule.means) % {"value": rules.shown(value) or "-"}
    assert feature is not None
    if value:
        return str(_("Shown and usable everywhere: %(what)s.") % {"what": feature.what})
    return str(
        _("Gone from pages, links and API: %(what)s. What was begun goes on.") % {"what": feature.what}
    )


def _state(request: HttpRequest) -> dict[str, Any]:
    chosen = overrides.current()
    return {
        "feature_rows": [
            {
                "name": one.name,
                "what": one.what,
                "is_on": features.is_on(one.name),
                "is_chosen": f"feature:{one.name}" in chosen,
                "url": reverse("admin:foundation_choice_choose", args=["feature", one.name]),
            }
            for one in features.FEATURES.values()
        ],
        "rule_rows": [
            {
                "name": one.name,
                "what": one.title,
                "value": rules.in_words(one, rules.value(one.name)),
                "is_chosen": f"rule:{one.name}" in chosen,
                "url": reverse("admin:foundation_choice_choose", args=["rule", one.name]),
            }
            for one in rules.RULES.values()
        ],
        "may_feature": request.user.has_perm(FEATURE),
        "may_rule": request.user.has_perm(RULE),
    }
