"""The WSGI entry for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from parking_site.checks import refuse_unreadable_rules, refuse_unsafe_start

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "parking_site.settings")
# Before the applications load: some of them read secrets while loading and would fail with a less helpful word.
refuse_unsafe_start()
application = get_wsgi_application()
refuse_unreadable_rules()
