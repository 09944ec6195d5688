"""The one settings file. Everything that differs between machines comes from the environment.

`.env.production.example` lists every variable. In development every variable has a default that points at the
built-in sandbox; in production `parking_site.checks` refuses to start on such defaults and names each.
"""

import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from foundation.database import url_of_private_server
from foundation.logs import logging_settings
from parking_site.supervisor import ports_of_demo

BASE_DIR = Path(__file__).resolve().parent.parent


class Env(environ.Env):
    """The environment, which says in one line what is wrong with a value that cannot be read."""

    def get_value(self, var: str, *arguments: Any, **options: Any) -> Any:
        try:
            return super().get_value(var, *arguments, **options)
        except ValueError:
            raise ImproperlyConfigured(
                f'{var} is "{self.ENVIRON.get(var, "")[:40]}", which is no number. .env.production.example shows how it is written.'
            ) from None


env = Env()
if env.bool("READ_DOT_ENV", default=True) and (BASE_DIR / ".env").exists():
    environ.Env.read_env(BASE_DIR / ".env")

# --- Where we run -----------------------------------------------------------------------------------------------
ENVIRONMENT = env.str("ENVIRONMENT", default="development")
PRODUCTION = ENVIRONMENT == "production"
# A rehearsal server: as hardened as production, with secrets of its own, but test keys and a sandbox are welcome.
DEPLOYED = PRODUCTION or ENVIRONMENT == "staging"
DEBUG = env.bool("DEBUG", default=False)
RELEASE = env.str("RELEASE", default="development")


def _port(variable: str, written: str) -> int:
    """The port that the environment names. Raises ImproperlyConfigured, which manage.py prints in one line."""
    if not (written.isascii() and written.isdigit() and len(written) <= 5 and 1 <= int(written) <= 65535):
        raise ImproperlyConfigured(
            f'{variable} is "{written[:40]}"; it must be a port, a whole number from 1 to 65535, for example '
            f"{variable}=9000."
        )
    return int(written)


VAR_DIR = Path(env.str("VAR_DIR", default=str(BASE_DIR / "var")))
# A command beside a running demo finds its database (below), hence its ports too; who names a database names the ports.
_demo = {} if DEPLOYED or "DATABASE_URL" in env.ENVIRON else ports_of_demo(VAR_DIR / "demo")
PORT = _port("PORT", env.str("PORT", default=str(_demo.get("PORT", 8000))))
SANDBOX_PORT = _port("SANDBOX_PORT", env.str("SANDBOX_PORT", default=str(_demo.get("SANDBOX_PORT", 8001))))
SANDBOX_URL = env.str("SANDBOX_URL", default="" if DEPLOYED else f"http://127.0.0.1:{SANDBOX_PORT}").rstrip(
    "/"
)
SITE_URL = env.str("SITE_URL", default="" if DEPLOYED else f"http://127.0.0.1:{PORT}").rstrip("/")
SITE_NAME = env.str("SITE_NAME", default="Runway Parking")

SECRET_KEY = env.str(
    "SECRET_KEY", default="" if DEPLOYED else "development-only-session-secret-not-for-production"
)
JWT_SIGNING_KEY = env.str(
    "JWT_SIGNING_KEY", default="" if DEPLOYED else "development-only-jwt-signing-secret-not-for-production"
)
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=[] if DEPLOYED else ["127.0.0.1", "localhost", "[::1]", "testserver"]
)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
CORS_ALLOWED_ORIGINS = env.list("CORS_ALLOWED_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/.*$"

# --- Applications -----------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "parking_site",
    "payments",
    "bookings",
    "accounts",
    "communications",
    "foundation",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
    "csp",
    "anymail",
    "djstripe",
    "payments.apps.InstantNotificationsConfig",  # django-paypal's
    "procrastinate.contrib.django",
    "phonenumber_field",
]

MIDDLEWARE = [
    "foundation.middleware.RequestIdMiddleware",
    # Not by the proxy: this one adds random bytes, so that lengths tell nothing of a page's secrets (BREACH).
    "django.middleware.gzip.GZipMiddleware",
    "parking_site.middleware.HeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "foundation.middleware.RejectUnstorableTextMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.middleware.SecondFactorMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "foundation.features.FeatureMiddleware",
]

ROOT_URLCONF = "parking_site.urls"
WSGI_APPLICATION = "parking_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "parking_site.context.site",
                "foundation.features.context",
            ],
        },
    }
]

# --- Database ---------------------------------------------------------------------------------------------------
# `make demo` and `make test` start an embedded server and set DATABASE_URL; a server sets its own. A command beside a running
# demo finds the demo's.
DEMO_DATABASE = VAR_DIR / "postgresql"
DATABASES = {
    "default": env.db(
        "DATABASE_URL",
        default=(None if DEPLOYED else url_of_private_server(DEMO_DATABASE))
        or "postgres://parking@127.0.0.1:5432/parking",
    )
}
DATABASES["default"]["ENGINE"] = "django.db.backends.postgresql"
DATABASES["default"]["CONN_MAX_AGE"] = 0
# The pool tries each connection before it hands it out, so a restarted server costs nobody an error: one round trip.
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"].setdefault("OPTIONS", {})
if _pool_max := env.int("DATABASE_POOL_MAX", default=4):  # 0: no pool, for commands that end (manage.py)
    DATABASES["default"]["OPTIONS"]["pool"] = {
        "min_size": env.int("DATABASE_POOL_MIN", default=1),
        "max_size": _pool_max,
        "timeout": env.int("DATABASE_POOL_TIMEOUT_SECONDS", default=5),
    }
# Web and worker processes of all machines together: what the doctor holds against max_connections.
DATABASE_PROCESSES = env.int("DATABASE_PROCESSES", default=4)
DATABASES["default"]["TEST"] = {"NAME": env.str("TEST_DATABASE_NAME", default="test_parking")}

REDIS_URL = env.str("REDIS_URL", default="")
REDIS_BACKEND = "foundation.cache.PatientRedisCache"
CACHES = {
    "default": {
        "BACKEND": REDIS_BACKEND,
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            "socket_connect_timeout": 1,
            "socket_timeout": 1,
        },  # a server that is gone may not hold up pages
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
SILENCED_SYSTEM_CHECKS = [
    "anymail.W003",  # anymail calls SendGrid "unsupported" since mid 2025; it works, and senders/base.py keeps the ESP replaceable
]
if not REDIS_URL:
    # django-ratelimit wants a shared cache. Development is one process, where local memory is shared enough.
    SILENCED_SYSTEM_CHECKS += ["django_ratelimit.E003", "django_ratelimit.W001"]

# --- People -----------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "bookings:list"
LOGOUT_REDIRECT_URL = "bookings:home"
ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "accounts.forms.SignupForm"
ACCOUNT_FORMS = {
    "login": "accounts.pages.forms.LoginForm",
    "signup": "accounts.pages.forms.SignupForm",
    "reset_password": "accounts.pages.forms.ResetPasswordForm",
    "add_email": "accounts.pages.forms.AddEmailForm",
}
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGIN_ON_EMAIL_CONFIRMATION = False
ACCOUNT_PREVENT_ENUMERATION = "strict"
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_NOTIFICATIONS = True  # accounts.adapter turns them into audit entries and letters of our own
# By address, and by the e-mail address that was typed. Failed sign-ins are counted in accounts/throttle.py; "login_failed" counts codes.
ACCOUNT_RATE_LIMITS = (
    {
        "login": "60/m/ip",
        "login_failed": "20/m/ip,5/5m/key",
        "reset_password": "20/m/ip,5/h/key",
        "signup": "20/m/ip",
        "reauthenticate": "10/m/user",
    }
    if env.bool("RATE_LIMITS_ENABLED", default=True)
    else False
)
MFA_ADAPTER = "accounts.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_FORMS = {
    "authenticate": "accounts.pages.forms.AuthenticateForm",
    "reauthenticate": "accounts.pages.forms.ReauthenticateForm",
    "activate_totp": "accounts.pages.forms.ActivateTOTPForm",
}
# Staff do nothing as staff, in the admin or over the API, without a second factor.
STAFF_MFA_REQUIRED = env.bool("STAFF_MFA_REQUIRED", default=DEPLOYED)
# What cannot be undone (refunds, approvals, disputes, persons' data, rights) asks who it is again after so many minutes. 0: never.
RECENT_SIGN_IN_MINUTES = env.int("RECENT_SIGN_IN_MINUTES", default=30 if DEPLOYED else 0)
ACCOUNT_REAUTHENTICATION_TIMEOUT = 60 * (RECENT_SIGN_IN_MINUTES or 15)
# Failed sign-ins in 15 minutes: from one address; of one account from one address; of one account, before each further try has to wait.
SIGN_IN_FAILURES = env.list("SIGN_IN_FAILURES", cast=int, default=[60, 5, 20])
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "https" if SITE_URL.startswith("https") else "http"

SESSION_COOKIE_AGE = env.int("SESSION_LIFETIME_SECONDS", default=14 * 24 * 3600)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = DEPLOYED
SESSION_COOKIE_NAME = "__Host-session" if DEPLOYED else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if DEPLOYED else "csrftoken"
CSRF_COOKIE_HTTPONLY = True
# In the session and not in a cookie of their own, which would lack the prefix that no neighbouring host can forge.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

# --- Language and time ------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English"))]
# Of messages. Pages are in English; whoever adds a language to them adds it above.
MESSAGE_LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_I18N = True
USE_TZ = True
FORMAT_MODULE_PATH = ["parking_site.formats"]
TIME_ZONE = "UTC"
PHONENUMBER_DEFAULT_REGION = env.str("PHONE_DEFAULT_REGION", default="GB")

# --- Static files -----------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(VAR_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if DEPLOYED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not DEPLOYED
WHITENOISE_AUTOREFRESH = DEBUG

# --- API --------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["foundation.api.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "foundation.api.problem_response",
    "DEFAULT_PAGINATION_CLASS": "foundation.api.CursorPagination",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "PAGE_SIZE": 25,
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Airport parking API",
    "DESCRIPTION": "Search, quote, book, pay, cancel and refund. JSON in camelCase; errors are application/problem+json.",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api",
    "COMPONENT_SPLIT_REQUEST": True,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False},
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "parking_site.docs.describe_problems",
    ],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "ProviderEnum": "payments.models.Provider",
        "StripeOnlyEnum": [("stripe", "stripe")],
        "PayPalOnlyEnum": [("paypal", "paypal")],
    },
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=env.int("JWT_ACCESS_LIFETIME_SECONDS", default=15 * 60)),
    "REFRESH_TOKEN_LIFETIME": timedelta(
        seconds=env.int("JWT_REFRESH_LIFETIME_SECONDS", default=14 * 24 * 3600)
    ),
    # Rotation and revocation: accounts.services; what ends a token at once: User.standing.
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "UPDATE_LAST_LOGIN": False,
}

# --- Payments ---------------------------------------------------------------------------------------------------
STRIPE_API_BASE = env.str(
    "STRIPE_API_BASE", default="https://api.stripe.com" if not SANDBOX_URL else f"{SANDBOX_URL}/stripe"
)
STRIPE_JS_URL = env.str(
    "STRIPE_JS_URL",
    default="https://js.stripe.com/v3/" if not SANDBOX_URL else f"{SANDBOX_URL}/stripe-js/v3/",
)
STRIPE_SECRET_KEY = env.str(
    "STRIPE_SECRET_KEY", default="" if DEPLOYED else "sk_test_sandboxsandboxsandboxsandbox"
)
STRIPE_PUBLISHABLE_KEY = env.str(
    "STRIPE_PUBLISHABLE_KEY", default="" if DEPLOYED else "pk_test_sandboxsandboxsandboxsandbox"
)
STRIPE_WEBHOOK_SECRET = env.str(
    "STRIPE_WEBHOOK_SECRET", default="" if DEPLOYED else "whsec_sandboxsandboxsandboxsandbox"
)
# The path of our endpoint at Stripe: /stripe/webhook/<this uuid>/. Public, but not guessable by scanners.
STRIPE_WEBHOOK_UUID = env.str(
    "STRIPE_WEBHOOK_UUID", default="" if DEPLOYED else "3f8a1b7c-52d4-4e0b-9a6e-0d1c2b3a4f5e"
)
# Threads of one process that may wait for a payment provider at once; keep it under GUNICORN_THREADS.
PROVIDER_CALLS_AT_ONCE = env.int("PROVIDER_CALLS_AT_ONCE", default=2)
STRIPE_TIMEOUT_SECONDS = env.int("STRIPE_TIMEOUT_SECONDS", default=20)
STRIPE_API_VERSION = "2026-08-26.dahlia"
STRIPE_LIVE_MODE = STRIPE_SECRET_KEY.startswith(("sk_live_", "rk_live_"))
if SANDBOX_URL:  # dj-stripe wants it unset where the real Stripe answers
    STRIPE_API_HOST = STRIPE_API_BASE
    SILENCED_SYSTEM_CHECKS.append("djstripe.W002")  # it says just that, before the output of every command
STRIPE_LIVE_SECRET_KEY = STRIPE_SECRET_KEY if STRIPE_LIVE_MODE else ""
STRIPE_TEST_SECRET_KEY = "" if STRIPE_LIVE_MODE else STRIPE_SECRET_KEY
STRIPE_LIVE_PUBLIC_KEY = STRIPE_PUBLISHABLE_KEY if STRIPE_LIVE_MODE else ""
STRIPE_TEST_PUBLIC_KEY = "" if STRIPE_LIVE_MODE else STRIPE_PUBLISHABLE_KEY
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_USE_NATIVE_JSONFIELD = True
DJSTRIPE_WEBHOOK_EVENT_CALLBACK = "payments.webhooks.stripe.enqueue"
DJSTRIPE_WEBHOOK_VALIDATION = "verify_signature"
# PayPal is optional: without a client id it is offered nowhere.
PAYPAL_CLIENT_ID = env.str("PAYPAL_CLIENT_ID", default="" if DEPLOYED else "sandbox-paypal-client-id")
PAYPAL_CLIENT_SECRET = env.str(
    "PAYPAL_CLIENT_SECRET", default="" if DEPLOYED else "sandbox-paypal-client-secret"
)
PAYPAL_WEBHOOK_ID = env.str("PAYPAL_WEBHOOK_ID", default="" if DEPLOYED else "WH-SANDBOX-PARKING")
PAYPAL_RECEIVER_EMAIL = env.str("PAYPAL_RECEIVER_EMAIL", default="" if DEPLOYED else "seller@runway.example")
PAYPAL_API_BASE = env.str(
    "PAYPAL_API_BASE", default="https://api-m.paypal.com" if not SANDBOX_URL else f"{SANDBOX_URL}/paypal"
)
PAYPAL_IPN_URL = env.str(
    "PAYPAL_IPN_URL",
    default="https://ipnpb.paypal.com/cgi-bin/webscr"
    if not SANDBOX_URL
    else f"{SANDBOX_URL}/paypal/cgi-bin/webscr",
)
PAYPAL_TIMEOUT_SECONDS = env.int("PAYPAL_TIMEOUT_SECONDS", default=20)
PAYPAL_LIVE_MODE = PAYPAL_API_BASE in ("https://api-m.paypal.com", "https://api.paypal.com")
CURRENCIES = env.list("CURRENCIES", default=["USD", "GBP", "EUR", "CAD", "AUD"])

# --- Messages ---------------------------------------------------------------------------------------------------
# Who sends e-mail: sendgrid or postmark. EMAIL_BACKEND may name another backend of Django's; then nobody reports what became of a mail.
EMAIL_PROVIDER = env.str("EMAIL_PROVIDER", default="sendgrid")
# The same as anymail.W003 above, said again by each process that sends.
warnings.filterwarnings("ignore", message="django-anymail has dropped official support for SendGrid")
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default=f"anymail.backends.{EMAIL_PROVIDER}.EmailBackend")
SENDGRID_API_KEY = env.str("SENDGRID_API_KEY", default="" if DEPLOYED else "SG.sandbox.sandbox")
SENDGRID_API_URL = env.str(
    "SENDGRID_API_URL",
    default="https://api.sendgrid.com/v3/" if not SANDBOX_URL else f"{SANDBOX_URL}/sendgrid/v3/",
)
# Empty in development: the sandbox's public key is fetched from it and kept by the quickstart.
SENDGRID_WEBHOOK_VERIFICATION_KEY = env.str("SENDGRID_WEBHOOK_VERIFICATION_KEY", default="")
POSTMARK_SERVER_TOKEN = env.str("POSTMARK_SERVER_TOKEN", default="")
POSTMARK_API_URL = env.str("POSTMARK_API_URL", default="https://api.postmarkapp.com/")
# "name:password", as they stand in the address of the webhook that Postmark calls.
POSTMARK_WEBHOOK_SECRET = env.str("POSTMARK_WEBHOOK_SECRET", default="")
MAIL_TIMEOUT_SECONDS = env.int("MAIL_TIMEOUT_SECONDS", default=20)
ANYMAIL = {
    "SENDGRID_API_KEY": SENDGRID_API_KEY,
    "SENDGRID_API_URL": SENDGRID_API_URL,
    "SENDGRID_TRACKING_WEBHOOK_VERIFICATION_KEY": SENDGRID_WEBHOOK_VERIFICATION_KEY,
    "POSTMARK_SERVER_TOKEN": POSTMARK_SERVER_TOKEN,
    "POSTMARK_API_URL": POSTMARK_API_URL,
    "REQUESTS_TIMEOUT": MAIL_TIMEOUT_SECONDS,
}
DEFAULT_FROM_EMAIL = env.str(
    "DEFAULT_FROM_EMAIL", default="" if DEPLOYED else "Runway Parking <hello@runway.example>"
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="" if DEPLOYED else "help@runway.example")
SUPPORT_PHONE = env.str("SUPPORT_PHONE", default="" if DEPLOYED else "+44 20 7946 0123")
# The sender's postal address, which the law wants in the foot of every offer. One line.
POSTAL_ADDRESS = env.str(
    "POSTAL_ADDRESS", default="" if DEPLOYED else "1 Perimeter Road, Hounslow TW6 2GA, United Kingdom"
)
TWILIO_API_BASE = env.str("TWILIO_API_BASE", default=f"{SANDBOX_URL}/twilio" if SANDBOX_URL else "")
TWILIO_ACCOUNT_SID = env.str("TWILIO_ACCOUNT_SID", default="" if DEPLOYED else "AC" + "5a" * 16)
TWILIO_AUTH_TOKEN = env.str("TWILIO_AUTH_TOKEN", default="" if DEPLOYED else "sandbox-twilio-auth-token")
TWILIO_FROM_NUMBER = env.str("TWILIO_FROM_NUMBER", default="" if DEPLOYED else "+15005550006")
TWILIO_TIMEOUT_SECONDS = env.int("TWILIO_TIMEOUT_SECONDS", default=20)
# Consent is remembered by a keyed hash of the address, which outlives the person's erasure. Never change it: every no would be forgotten.
ADDRESS_KEY = env.str(
    "ADDRESS_KEY", default="" if DEPLOYED else "development-only-address-key-not-for-production"
)
# Where the operator is: quiet hours of people whose zone is unknown, and the clock of campaigns.
HOME_TIMEZONE = env.str("HOME_TIMEZONE", default="Europe/London")
# When no promotion is sent, by the recipient's clock. The same time twice: never quiet.
QUIET_HOURS = env.str("QUIET_HOURS", default="21:00-08:00")
# Segments a UTC day: to one number, one prefix, one country, in all. Bookings and payments have a purse of their own.
SMS_LIMITS = {
    "bookings": env.list("SMS_LIMITS_BOOKINGS", cast=int, default=[100, 3000, 30000, 50000]),
    "offers": env.list("SMS_LIMITS_OFFERS", cast=int, default=[6, 50000, 100000, 200000]),
    "other": env.list("SMS_LIMITS_OTHER", cast=int, default=[5, 500, 5000, 20000]),
}
# So many different numbers of one block of 10,000 in so many minutes, in staff's own texts, look like somebody who earns by it.
SMS_BREAKER = env.str("SMS_BREAKER", default="25/10")
# Where SMS outside bookings may go. Premium numbers are never texted.
SMS_COUNTRIES = env.list(
    "SMS_COUNTRIES",
    default="AT AU BE CA CH CZ DE DK ES FI FR GB GR HU IE IT LU NL NO NZ PL PT SE US".split(),  # noqa: SIM905
)
# What a segment costs until the provider says what it did cost.
SMS_PRICE_ESTIMATE = env.str("SMS_PRICE_ESTIMATE", default="USD:0.05")
# What a message may bring along, made when it is sent: the maker's name on the message -> the function that gets the rest.
MESSAGE_ATTACHMENTS = {"document": "payments.queries.documents_for_message"}
# Who campaigns and emergency alerts write to, and what a campaign's promo code brought: asked by name, for the post office knows no bookings.
CAMPAIGN_AUDIENCE = "bookings.audience.customers"
CAMPAIGN_PROMO_CODES = "bookings.audience.promo_codes"
ALERT_AUDIENCE = "bookings.audience.cars"
# Jobs that send one campaign side by side. Each is short and comes after every other message.
CAMPAIGN_LANES = env.int("CAMPAIGN_LANES", default=2)
# Who gives a booking's own values for a preview of a message: (kind, reference, user=, language=) -> variables, or None.
MESSAGE_PREVIEW_VARIABLES = "payments.preview.variables_of_booking"
# Who says whether a queued message is still true when it leaves: the checker's name on the message -> the function that gets the rest.
MESSAGE_CONDITIONS = {"reminder": "bookings.services.remind.still_due"}
# Who answers for what is kept about people (foundation.personal), the highest floor first: what stands on accounts goes before them.
PERSONAL_DATA = ["payments.personal", "bookings.personal", "communications.personal", "accounts.personal"]
# How many days things are kept; what stands in no rule stays. Bounds: each app's module `retention`.
RETENTION = [
    "payments.retention",
    "bookings.retention",
    "communications.retention",
    "accounts.retention",
    "foundation.retention",
]
RETENTION_DAYS = {
    "quotes": env.int("KEEP_QUOTES_DAYS", default=90),
    "lapsed_holds": env.int("KEEP_LAPSED_HOLDS_DAYS", default=30),
    "provider_events": env.int("KEEP_PROVIDER_EVENTS_DAYS", default=90),
    "webhook_deliveries": env.int("KEEP_WEBHOOK_DELIVERIES_DAYS", default=7),
    "message_texts": env.int("KEEP_MESSAGE_TEXTS_DAYS", default=730),
    "jobs": env.int("KEEP_JOBS_DAYS", default=14),
    "audit_log": env.int("KEEP_AUDIT_LOG_DAYS", default=2555),
}

# What is switched on or off here, such as paypal:off; staff may overrule it (foundation.features).
FEATURES = dict(part.strip().partition(":")[::2] for part in env.list("FEATURES", default=[]) if part.strip())

# --- Business rules ---------------------------------------------------------------------------------------------
QUOTE_LIFETIME_MINUTES = env.int("QUOTE_LIFETIME_MINUTES", default=30)
HOLD_LIFETIME_MINUTES = env.int("HOLD_LIFETIME_MINUTES", default=15)
STAFF_CHANGE_HOLD_HOURS = env.int("STAFF_CHANGE_HOLD_HOURS", default=24)
BOOKABLE_FROM_HOURS_AHEAD = env.int("BOOKABLE_FROM_HOURS_AHEAD", default=1)
BOOKABLE_UP_TO_DAYS_AHEAD = env.int("BOOKABLE_UP_TO_DAYS_AHEAD", default=365)
LONGEST_STAY_DAYS = env.int("LONGEST_STAY_DAYS", default=90)
# A refund that staff ask for above this ("USD:200.00", "JPY:30000") waits for another person; a currency not named never does.
REFUND_APPROVAL_ABOVE = env.list("REFUND_APPROVAL_ABOVE", default=[])
# How many hours before drop-off, and before return, a customer is reminded.
REMINDER_HOURS = env.list("REMINDER_HOURS", cast=int, default=[24, 2])
# Open holds from one internet address: in all, and in one car park. A partner who books for many from one address needs more.
OPEN_HOLDS_PER_ADDRESS = env.list("OPEN_HOLDS_PER_ADDRESS", cast=int, default=[30, 12])
# So many declined cards in so many minutes stop further ones: from one address, of one customer, of one card.
CARD_DECLINES = env.list("CARD_DECLINES", cast=int, default=[15, 8, 6])
CARD_DECLINE_MINUTES = env.int("CARD_DECLINE_MINUTES", default=60)
OPEN_HOLDS_PER_CUSTOMER = env.int("OPEN_HOLDS_PER_CUSTOMER", default=5)
RATE_LIMITS_ENABLED = env.bool("RATE_LIMITS_ENABLED", default=True)
# The header that our own proxy overwrites with the caller's address. Empty: the socket's address is the caller's.
CLIENT_ADDRESS_HEADER = env.str("CLIENT_ADDRESS_HEADER", default="")
RATELIMIT_IP_META_KEY = "foundation.middleware.client_address"
RATELIMIT_ENABLE = RATE_LIMITS_ENABLED
# "a per address, b per account (or e-mail address)"; a shared office has one address and many accounts.
RATE_LIMITS = {
    "token": env.list("RATE_LIMIT_TOKEN", default=["60/m", "10/m"]),
    "register": env.list("RATE_LIMIT_REGISTER", default=["20/h", "5/h"]),
    "quotes": env.list("RATE_LIMIT_QUOTES", default=["240/m", "120/m"]),
    "bookings": env.list("RATE_LIMIT_BOOKINGS", default=["60/m", "20/m"]),
    "messages": env.list("RATE_LIMIT_MESSAGES", default=["60/m", "30/m"]),
    # Taking one's data along or asking to be erased: each asks for the password or writes to an address.
    "personal_data": env.list("RATE_LIMIT_PERSONAL_DATA", default=["20/h", "10/h"]),
    "methods": env.list(
        "RATE_LIMIT_METHODS", default=["60/m", "10/m"]
    ),  # saving cards: where stolen ones are tried
}
# /api/health answers 503 when the oldest job that is due has waited longer than this.
QUEUE_AGE_LIMIT_SECONDS = env.int("QUEUE_AGE_LIMIT_SECONDS", default=300)

# --- Security ---------------------------------------------------------------------------------------------------
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if DEPLOYED else None
SECURE_SSL_REDIRECT = DEPLOYED
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^api/health$"]
SECURE_HSTS_SECONDS = 31536000 if DEPLOYED else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = DEPLOYED
SECURE_REFERRER_POLICY = "strict-origin-when-cross-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500
_stripe_sources = (
    ["https://js.stripe.com", "https://*.js.stripe.com", "https://hooks.stripe.com"]
    if not SANDBOX_URL
    else [SANDBOX_URL]
)
# Browsers hold the redirect that follows a form to the same rule as the form.
_paypal_pages = [] if SANDBOX_URL or not PAYPAL_CLIENT_ID else ["https://*.paypal.com"]
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/"],  # ADMIN_CONTENT_SECURITY_POLICY
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE, *_stripe_sources],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF, SANDBOX_URL or "https://api.stripe.com"],
        "frame-src": [SELF, *_stripe_sources],
        "frame-ancestors": [NONE],
        "form-action": [SELF, *_stripe_sources, *_paypal_pages],
        "base-uri": [NONE],
        "object-src": [NONE],
    },
}

# No inline script, and nothing from elsewhere. Two things of Unfold's stand in the way of the shop's strictness: it is built on Alpine, which
# compiles the expressions in its attributes (unsafe-eval), and its colours and widths are <style> elements and style attributes without a
# nonce (unsafe-inline, for styles only).
ADMIN_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'self'; form-action 'self'; base-uri 'none'; object-src 'none'"
)
PERMISSIONS_POLICY = (
    "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), usb=(), "
    + ('payment=(self "https://js.stripe.com")' if not SANDBOX_URL else "payment=(self)")
)

# --- Jobs -------------------------------------------------------------------------------------------------------
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "tasks"
PROCRASTINATE_ON_APP_READY = "foundation.jobs.prepare"

# --- Logs and metrics -------------------------------------------------------------------------------------------
# json: an object a line; line: for people.
LOG_FORMAT = env.str("LOG_FORMAT", default="line" if ENVIRONMENT in ("development", "test") else "json")
LOGGING = logging_settings(format=LOG_FORMAT, level=env.str("LOG_LEVEL", default="INFO"))
# The folder in which web and worker processes keep their counts for `manage.py serve_metrics`; prometheus_client reads the variable
# itself. Empty: each process keeps its own, and nobody sees them.
PROMETHEUS_MULTIPROC_DIR = env.str("PROMETHEUS_MULTIPROC_DIR", default="")
if not PROMETHEUS_MULTIPROC_DIR:
    env.ENVIRON.pop("PROMETHEUS_MULTIPROC_DIR", None)  # to prometheus_client an empty one is a folder too
# Where `manage.py serve_metrics` listens.
METRICS_BIND = env.str("METRICS_BIND", default="127.0.0.1:9464")
# Where the deployment's scripts leave backup.json and restore-test.json.
STATE_DIR = Path(env.str("STATE_DIR", default=str(VAR_DIR / "state")))
# The site's certificate (PEM), whose last day is watched. Empty: somebody else watches it.
CERTIFICATE_FILE = env.str("CERTIFICATE_FILE", default="")

# --- Admin ------------------------------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": SITE_NAME,
    "SITE_HEADER": SITE_NAME,
    "SITE_SUBHEADER": _("Operations"),
    "SITE_SYMBOL": "local_parking",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "parking_site.dashboards.browser_tab_icon"}
    ],
    "SITE_URL": "/",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": True,
    "SHOW_BACK_BUTTON": True,
    "BORDER_RADIUS": "6px",
    "ENVIRONMENT": "parking_site.dashboards.environment_badge",
    "DASHBOARD_CALLBACK": "parking_site.dashboards.landing",
    "STYLES": ["parking_site.dashboards.stylesheet"],
    "SIDEBAR": {
        "show_search": True,
        "show_all_applications": False,
        "navigation": "parking_site.dashboards.navigation",
    },
    # Charcoal, and signal yellow (#FFC72C). Shades from 600 on are text on white, so they are dark enough to read there;
    # static/operations/operations.css puts the true yellow, with charcoal text, on every filled button.
    "COLORS": {
        "base": {
            "50": "#fafaf9",
            "100": "#f4f4f5",
            "200": "#e4e4e7",
            "300": "#d1d1d6",
            "400": "#a1a1aa",
            "500": "#6e6e76",
            "600": "#515158",
            "700": "#3a3a3f",
            "800": "#2a2a2d",
            "900": "#1c1c1e",
            "950": "#111112",
        },
        "primary": {
            "50": "#fff9e6",
            "100": "#fff0c2",
            "200": "#ffe38a",
            "300": "#ffd95e",
            "400": "#ffd044",
            "500": "#ffc72c",
            "600": "#8a5a00",
            "700": "#734b00",
            "800": "#5c3c00",
            "900": "#452d00",
            "950": "#2b1c00",
        },
    },
}
