"""Staff door to money: read everything, refund with a preview, retry dead letters, resolve breaks. Nothing else is written."""

import djstripe.admin
import paypal.standard.ipn.admin  # noqa: F401 as above
from django.apps import apps
from django.contrib import admin
from paypal.standard.ipn.models import PayPalIPN

from payments.admin import (  # noqa: F401 register on import
    breaker,
    dispute,
    document,
    inbox,
    ledger,
    method,
    payment,
    reconciliation,
    refund,
    run,
)

# dj-stripe's own pages show API keys and can write at Stripe past our ledger; django-paypal's send postbacks to addresses that the
# caller chose. Both register on import: import, then remove.
for _model in (*apps.get_app_config(djstripe.admin.__name__.split(".")[0]).get_models(), PayPalIPN):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)
