"""How long accounts keep things."""

from django.utils.translation import gettext_lazy as _

from accounts.models import TokenFamily
from foundation.retention import Rule, delete_oldest

RULES = [
    Rule(
        "API sign-ins",
        _("sign-ins of programs after their last token's end"),
        0,
        lambda before, most: delete_oldest(TokenFamily.objects.filter(expires_at__lt=before), most),
    ),
]
