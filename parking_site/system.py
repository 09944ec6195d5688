"""Is it well? The one definition of what is watched: what is measured, from which value on it is amber or red, and what to do then.

The System page, the landing page, the metrics (`parking_condition`) and readiness read it; tests hold deploy/monitoring/alerts.yml and
docs/runbook.md against it.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection, transaction
from django.db.models import Max, Min, Q
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from bookings.models import Booking
from communications import stories
from communications.models import SmsBreaker
from communications.services import outbox
from foundation.cache import PatientRedisCache
from payments.models import (
    ANSWERABLE,
    MONEY_AT_STAKE,
    Break,
    Dispute,
    EventStatus,
    Payment,
    PaymentStatus,
    Provider,
    ProviderEvent,
    ReconciliationRun,
    Refund,
    RefundStatus,
)
from payments.services.retry import unresolved

logger = logging.getLogger(__name__)

GREEN, AMBER, RED, OFF, UNREADABLE = "green", "amber", "red", "off", "unreadable"
SEVERITY = {GREEN: 0, AMBER: 1, RED: 2}
# A condition may take this long, and all together that long: watching must not become a load.
LONGEST_QUERY_MS, LONGEST_LOOK_SECONDS = 2000, 6.0
NEVER = math.inf
Value = float | dict[str, float] | None

OLDEST_DUE_JOB_SECONDS = """
    SELECT coalesce(max(extract(epoch FROM now() - greatest(event.at, job.scheduled_at))), 0)
    FROM procrastinate_jobs job
    JOIN procrastinate_events event ON event.job_id = job.id AND event.type = 'deferred'
    WHERE job.status = 'todo' AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
"""
# Finished jobs are many: of the latest, those that failed in the last day.
FAILED_JOBS = """
    SELECT count(*) FROM (SELECT id, status FROM procrastinate_jobs ORDER BY id DESC LIMIT 50000) job
    WHERE job.status = 'failed' AND EXISTS (
        SELECT FROM procrastinate_events event
        WHERE event.job_id = job.id AND event.type = 'failed' AND event.at > now() - interval '1 day')
"""
WEBHOOK_LAG = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM received_at - occurred_at)),
           max(extract(epoch FROM received_at - occurred_at))
    FROM payments_providerevent WHERE received_at > now() - interval '1 hour' AND occurred_at IS NOT NULL
"""


@dataclass(frozen=True)
class Condition:
    """One thing that is watched. Amber and red are beyond the thresholds: above them, or below where `is_low_bad`.

    `measure(now)` returns a number in `unit`, one per `label`, or None where there is nothing to watch. The unit is seconds, days, count
    or down (0 or 1); NEVER stands for "has not happened". `link` is the admin list where one acts, with its query.
    """

    name: str
    area: Any
    title: Any
    unit: str
    measure: Callable[[datetime], Value]
    means: Promise
    remedy: Promise
    amber: float | None = None
    red: float | None = None
    is_low_bad: bool = False
    asks_database: bool = True
    label: str = ""
    link: tuple[str, str] | None = None

    def state_of(self, value: float) -> str:
        sign = -1 if self.is_low_bad else 1
        for state, limit in ((RED, self.red), (AMBER, self.amber)):
            if limit is not None and sign * value > sign * limit:
                return state
        return GREEN


@dataclass(frozen=True)
class Reading:
    """A condition as it is now: its values by label ("" where it has only one), and the worst one's state."""

    condition: Condition
    state: str
    values: dict[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float | None:
        pick = min if self.condition.is_low_bad else max
        return pick(self.values.values()) if self.values else None


def look(*, now: datetime) -> list[Reading]:
    """Read every condition. One that fails, or comes too late, is unreadable and does not lose the others."""
    deadline = time.monotonic() + LONGEST_LOOK_SECONDS
    try:
        connection.ensure_connection()
        database_answers = True
    except DatabaseError as error:  # asked once, not once per condition
        logger.warning("no condition of the database can be read: %s", type(error).__name__)
        database_answers = False
    return [
        _read(condition, now=now)
        if time.monotonic() < deadline and (database_answers or not condition.asks_database)
        else Reading(condition, UNREADABLE)
        for condition in CONDITIONS
    ]


def _read(condition: Condition, *, now: datetime) -> Reading:
    try:
        if condition.asks_database:
            with transaction.atomic():
                _limit_queries()
                found = condition.measure(now)
        else:
            found = condition.measure(now)
    except Exception as error:  # whatever it is, the others are still to be read
        logger.warning("condition %s cannot be read: %s", condition.name, type(error).__name__)
        return Reading(condition, UNREADABLE)
    if found is None:
        return Reading(condition, OFF)
    values = found if isinstance(found, dict) else {"": found}
    states = [condition.state_of(value) for value in values.values()]
    return Reading(condition, max(states, key=SEVERITY.__getitem__, default=GREEN), values)


def _limit_queries() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(LONGEST_QUERY_MS)])


# --- What is measured -------------------------------------------------------------------------------------------


def _one(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def oldest_due_job_seconds(now: datetime) -> float:
    """Return for how long the longest waiting job that is due has waited; 0 for none."""
    return max(float(_one(OLDEST_DUE_JOB_SECONDS)[0]), 0)


def _since(instant: datetime | None, now: datetime, *, otherwise: float = 0) -> float:
    return max((now - instant).total_seconds(), 0) if instant else otherwise


def _worker(now: datetime) -> float:
    seconds = _one("SELECT extract(epoch FROM now() - max(last_heartbeat)) FROM procrastinate_workers")[0]
    return NEVER if seconds is None else max(float(seconds), 0)


def _failed_jobs(now: datetime) -> float:
    return _one(FAILED_JOBS)[0]


def _inbox(now: datetime) -> float:
    waiting = ProviderEvent.objects.filter(status=EventStatus.RECEIVED)
    return _since(waiting.aggregate(at=Min("received_at"))["at"], now)


def _unknown_payment(now: datetime) -> float:
    unknown = Payment.objects.filter(status=PaymentStatus.UNKNOWN)
    return _since(unknown.aggregate(at=Min("submitted_at"))["at"], now)


def _oldest_break(now: datetime) -> float:
    return _since(Break.objects.filter(resolved_at=None).aggregate(at=Min("opened_at"))["at"], now)


def _stuck_refunds(now: datetime) -> float:
    """Those that nothing holds back but that no provider has taken."""
    ago = now - timedelta(minutes=10)
    held = Q(needs_approval=True, approved_by=None) | Q(payment__disputes__status__in=MONEY_AT_STAKE)
    unsent = Q(status=RefundStatus.REQUESTED, created_at__lt=ago) & ~held
    unanswered = Q(status__in=[RefundStatus.SUBMITTED, RefundStatus.UNKNOWN], submitted_at__lt=ago)
    return Refund.objects.filter(unsent | unanswered).distinct().count()


def _reconciled(now: datetime) -> dict[str, float]:
    """Before the first comparison: since there has been anything to compare."""
    names = [Provider.STRIPE] if settings.STRIPE_SECRET_KEY else []
    names += [Provider.PAYPAL] if settings.PAYPAL_CLIENT_ID else []
    done = ReconciliationRun.objects.filter(finished_at__isnull=False, error="", provider__in=names)
    last = dict(done.order_by().values_list("provider").annotate(at=Max("finished_at")))
    first = Payment.objects.aggregate(at=Min("created_at"))["at"] if len(last) < len(names) else None
    return {str(name): _since(last.get(name, first), now) for name in names}


def _provider_skew(now: datetime) -> dict[str, float]:
    runs = ReconciliationRun.objects.filter(
        finished_at__isnull=False, started_at__gte=now - timedelta(days=1)
    )
    return {
        run.provider: float(abs(run.clock_skew_seconds))
        for run in runs.order_by("started_at").only("provider", "clock_skew_seconds")
    }


def _lag(column: int) -> Callable[[datetime], Value]:
    def measure(now: datetime) -> Value:
        lag = _one(WEBHOOK_LAG)[column]
        return None if lag is None else float(lag)

    return measure


def _answerable(now: datetime) -> Any:
    return Dispute.objects.filter(
        status__in=ANSWERABLE, answered_at=None, accepted_at=None, due_by__isnull=False
    )


def _disputes_due(now: datetime) -> float:
    return _answerable(now).filter(due_by__lt=now + timedelta(hours=72)).count()


def _dispute_time(now: datetime) -> Value:
    due_by = _answerable(now).aggregate(at=Min("due_by"))["at"]
    return None if due_by is None else (due_by - now).total_seconds()


def _hold_lag(now: datetime) -> float:
    overdue = Booking.objects.filter(status=Booking.Status.HELD, hold_expires_at__lte=now)
    return _since(overdue.aggregate(at=Min("hold_expires_at"))["at"], now)


def _providers_down(now: datetime) -> dict[str, float]:
    down = {outage.channel for outage in stories.outages()}
    return {channel: float(channel in down) for channel in ("email", "sms")}


def _cache(now: datetime) -> Value:
    cache = caches["default"]
    return float(not cache.answers()) if isinstance(cache, PatientRedisCache) else None


def _database(now: datetime) -> float:
    began = time.monotonic()
    _one("SELECT 1")
    return time.monotonic() - began


def _clock_skew(now: datetime) -> float:
    before = time.time()
    theirs = float(_one("SELECT extract(epoch FROM clock_timestamp())")[0])
    return abs(theirs - (before + time.time()) / 2)


def _certificate(now: datetime) -> Value:
    if not settings.CERTIFICATE_FILE:
        return None
    certificate = x509.load_pem_x509_certificate(Path(settings.CERTIFICATE_FILE).read_bytes())
    return (certificate.not_valid_after_utc - now).total_seconds() / 86400


def _last(name: str) -> Callable[[datetime], Value]:
    """Since the last good run that the deployment's scripts noted in STATE_DIR. Laptops are not backed up."""

    def measure(now: datetime) -> Value:
        try:
            told = json.loads((settings.STATE_DIR / name).read_text())
        except FileNotFoundError:
            return None if settings.ENVIRONMENT in {"development", "test"} else NEVER
        finished_at = datetime.fromisoformat(told["finished_at"])
        return _since(finished_at, now) if told["ok"] is True else NEVER

    return measure


# --- What is watched --------------------------------------------------------------------------------------------

MINUTE, HOUR, DAY = 60, 3600, 86400
MONEY, MESSAGES, WORK, MACHINE = _("Money"), _("Messages"), _("Work"), _("Machine")
CONDITIONS: tuple[Condition, ...] = (
    Condition(
        "jobs_due_oldest_seconds", WORK, _("Oldest job that is due"), "seconds", oldest_due_job_seconds,
        _("Work waits: messages, refunds and provider events are late."),
        _("Look whether workers run and what the oldest job is. Start more workers if they are all busy."),
        amber=MINUTE, red=settings.QUEUE_AGE_LIMIT_SECONDS, link=("procrastinate.ProcrastinateJob", "status__exact=todo"),
    ),
    Condition(
        "worker_heartbeat_seconds", WORK, _("Worker's last sign of life"), "seconds", _worker,
        _("No worker runs: nothing is sent, refunded, expired or reconciled."),
        _("Start the worker and read its log for why it ended."),
        amber=45, red=2 * MINUTE, link=("procrastinate.ProcrastinateJob", ""),
    ),
    Condition(
        "jobs_failed", WORK, _("Jobs that failed in 24 hours"), "count", _failed_jobs,
        _("A job gave up. Most are taken up by the next sweep; a growing number is a fault of ours."),
        _("Open the failed jobs, then find the job's id in the log: the traceback stands there."),
        amber=0, red=20, link=("procrastinate.ProcrastinateJob", "status__exact=failed"),
    ),
    Condition(
        "hold_expiry_lag_seconds", WORK, _("Overdue hold not yet given back"), "seconds", _hold_lag,
        _("Spaces that nobody pays for stay taken."),
        _("The job bookings.expire_holds does not run or fails: look at the worker and its log."),
        amber=3 * MINUTE, red=15 * MINUTE, link=("bookings.Booking", "status__exact=held"),
    ),
    Condition(
        "inbox_oldest_seconds", MONEY, _("Oldest provider event not yet looked at"), "seconds", _inbox,
        _("A provider told us something, and we have not looked: a paid booking may still look unpaid."),
        _("Look at the event's last error and whether its provider answers. It is tried again each minute."),
        amber=2 * MINUTE, red=10 * MINUTE, link=("payments.ProviderEvent", "status__exact=received"),
    ),
    Condition(
        "events_dead", MONEY, _("Provider events given up"), "count",
        lambda now: ProviderEvent.objects.filter(status=EventStatus.DEAD).count(),
        _("Looking at an event failed again and again. Reconciliation heals the payment; the cause remains."),
        _("Read the event's last error, mend the cause, then let staff try the event again."),
        red=0, link=("payments.ProviderEvent", "status__exact=dead"),
    ),
    Condition(
        "payments_unknown_oldest_seconds", MONEY, _("Oldest payment with unknown outcome"), "seconds", _unknown_payment,
        _("A customer may have paid without a booking, or wait for an answer."),
        _("It is looked up each minute. If the provider answers others, open the payment and look at the provider's dashboard."),
        amber=5 * MINUTE, red=30 * MINUTE, link=("payments.Payment", "status__exact=unknown"),
    ),
    Condition(
        "refunds_stuck", MONEY, _("Refunds that no provider took for 10 minutes"), "count", _stuck_refunds,
        _("Customers wait for money that no provider has confirmed."),
        _("Open each refund. If its provider is in trouble it goes by itself; else look for its error in the log."),
        amber=0, red=5, link=("payments.Refund", ""),
    ),
    Condition(
        "refunds_failed", MONEY, _("Failed refunds that nobody took up"), "count", lambda now: unresolved().count(),
        _("A bank returned a refund, or a provider refused it: the customer is still owed."),
        _("Send it again, or note how the customer got the money otherwise."),
        amber=0, red=10, link=("payments.Refund", "todo=failed"),
    ),
    Condition(
        "breaks_open", MONEY, _("Open breaks"), "count", lambda now: Break.objects.filter(resolved_at=None).count(),
        _("Our books and a provider's disagree about something that a person must decide."),
        _("Open each break; its page says what differs and what can be done."),
        amber=0, red=10, link=("payments.Break", ""),
    ),
    Condition(
        "breaks_oldest_seconds", MONEY, _("Oldest open break"), "seconds", _oldest_break,
        _("A question about money has been waiting for a person."),
        _("Decide the oldest breaks first."),
        amber=4 * HOUR, red=DAY, link=("payments.Break", ""),
    ),
    Condition(
        "reconciliation_age_seconds", MONEY, _("Last good comparison with the provider"), "seconds", _reconciled,
        _("Lost webhooks are no longer healed, and differences are no longer found."),
        _("Read the last run's error. Check the provider's keys and status page; then start a run by hand."),
        amber=35 * MINUTE, red=HOUR, label="provider", link=("payments.ReconciliationRun", ""),
    ),
    Condition(
        "webhook_lag_median_seconds", MONEY, _("Webhooks' delay in the last hour, median"), "seconds", _lag(0),
        _("Providers tell us late, or our clock is wrong. Payments still settle when the customer returns."),
        _("Look at the provider's webhook page for failing deliveries to us, and at our clock."),
        amber=MINUTE, red=10 * MINUTE, link=("payments.ProviderEvent", ""),
    ),
    Condition(
        "webhook_lag_max_seconds", MONEY, _("Webhooks' delay in the last hour, longest"), "seconds", _lag(1),
        _("At least one notice came late: a delivery had failed before."),
        _("Look whether we were down, or the provider was. Reconciliation has done the work meanwhile."),
        amber=30 * MINUTE, link=("payments.ProviderEvent", ""),
    ),
    Condition(
        "disputes_due", MONEY, _("Disputes to be answered within 72 hours"), "count", _disputes_due,
        _("Without an answer by its deadline a dispute is lost."),
        _("Open the dispute, check the evidence and answer it, or give in."),
        amber=0, link=("payments.Dispute", "todo=answer"),
    ),
    Condition(
        "dispute_seconds_left", MONEY, _("Time left for the next dispute's answer"), "seconds", _dispute_time,
        _("The next unanswered dispute is lost when this reaches zero."),
        _("Answer it today."),
        red=DAY, is_low_bad=True, link=("payments.Dispute", "todo=answer"),
    ),
    Condition(
        "outbox_oldest_seconds", MESSAGES, _("Oldest message waiting to leave"), "seconds",
        lambda now: stories.oldest_waiting_seconds(now=now),
        _("Confirmations and warnings are late."),
        _("Look whether a provider is down and whether workers run. Waiting messages go by themselves."),
        amber=2 * MINUTE, red=5 * MINUTE, link=("communications.Message", "status__exact=queued"),
    ),
    Condition(
        "providers_down", MESSAGES, _("Message provider"), "down", _providers_down,
        _("Five failures in a row were the provider's. Its messages wait; one tries from time to time."),
        _("Check its status page, our key, sender and balance. What waits goes when it answers."),
        red=0, label="channel", link=("communications.Message", "todo=provider"),
    ),
    Condition(
        "messages_need_person", MESSAGES, _("Messages that need a person"), "count",
        lambda now: outbox.needs_person().count(),
        _("They did not arrive, or may not have, and nothing will mend that by itself."),
        _("Send them again, to a corrected address if need be, or take them off the list."),
        amber=0, red=50, link=("communications.Message", "todo=person"),
    ),
    Condition(
        "sms_ranges_cut_off", MESSAGES, _("Number ranges cut off"), "count",
        lambda now: SmsBreaker.objects.filter(reset_at=None).count(),
        _("So many numbers of one block were texted at once that it looks like fraud."),
        _("Look who texted them; reset the breaker if it was honest."),
        amber=0, link=("communications.SmsBreaker", "reset_at__isempty=1"),
    ),
    Condition(
        "database_answer_seconds", MACHINE, _("The database answers within"), "seconds", _database,
        _("Every page waits for it."),
        _("Look at the load of the database's machine and at its longest queries."),
        amber=0.1, red=1,
    ),
    Condition(
        "cache_down", MACHINE, _("Shared cache"), "down", _cache,
        _("Rate limits count nobody. Customers notice nothing."),
        _("Start Redis and read its log. Nothing is lost with it."),
        red=0, asks_database=False,
    ),
    Condition(
        "clock_skew_seconds", MACHINE, _("Our clock differs from the database's by"), "seconds", _clock_skew,
        _("Holds end too early or too late, and signatures are refused."),
        _("Look whether the time service runs on both machines (timedatectl)."),
        amber=2, red=10,
    ),
    Condition(
        "provider_clock_skew_seconds", MACHINE, _("Our clock differs from the provider's by"), "seconds", _provider_skew,
        _("Webhooks are refused when it is more than five minutes."),
        _("Look whether the time service runs (timedatectl)."),
        amber=MINUTE, red=2 * MINUTE, label="provider", link=("payments.ReconciliationRun", ""),
    ),
    Condition(
        "certificate_days_left", MACHINE, _("The certificate's remaining days"), "days", _certificate,
        _("It should have been renewed at 30 days. When it ends, browsers refuse the site."),
        _("Renew it by hand and read the renewal's log."),
        amber=21, red=7, is_low_bad=True, asks_database=False,
    ),
    Condition(
        "backup_age_seconds", MACHINE, _("Last good backup"), "seconds", _last("backup.json"),
        _("What is lost with the machine grows."),
        _("Run the backup by hand and read its log: disk, network, key."),
        amber=26 * HOUR, red=50 * HOUR, asks_database=False,
    ),
    Condition(
        "restore_test_age_seconds", MACHINE, _("Last good restore test"), "seconds", _last("restore-test.json"),
        _("Nobody knows whether the backups can be restored."),
        _("Run the restore test by hand and read its log."),
        amber=8 * DAY, red=15 * DAY, asks_database=False,
    ),
)  # fmt: skip
BY_NAME = {condition.name: condition for condition in CONDITIONS}


def red(name: str) -> float:
    """Return the value from which on a condition is red."""
    limit = BY_NAME[name].red
    assert limit is not None
    return limit
