"""The system's conditions as Prometheus metrics, measured when they are scraped, beside what web and workers counted."""

from __future__ import annotations

import time
from collections.abc import Iterator

from django.conf import settings
from django.db import connections
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from parking_site import system


class Conditions(Collector):
    """`parking_<condition>` with its value, `parking_condition{name}` 0 green, 1 amber, 2 red, and how many could not be read."""

    def collect(self) -> Iterator[Metric]:
        began = time.monotonic()
        try:
            readings = system.look(now=timezone.now())
        finally:
            connections.close_all()  # each scrape has a thread of its own
        states = GaugeMetricFamily("parking_condition", "0 green, 1 amber, 2 red.", labels=["name"])
        for reading in readings:
            condition = reading.condition
            family = GaugeMetricFamily(
                f"parking_{condition.name}",
                str(condition.title),
                labels=[condition.label] if condition.label else [],
            )
            for label, value in reading.values.items():
                family.add_metric([label] if condition.label else [], value)
            if reading.values:
                yield family
            if reading.state in system.SEVERITY:
                states.add_metric([condition.name], system.SEVERITY[reading.state])
        yield states
        yield GaugeMetricFamily(
            "parking_scrape_errors",
            "Conditions that could not be read.",
            value=sum(reading.state == system.UNREADABLE for reading in readings),
        )
        yield GaugeMetricFamily(
            "parking_scrape_seconds", "How long reading took.", value=time.monotonic() - began
        )
        build = GaugeMetricFamily("parking_build", "What runs here.", labels=["release", "environment"])
        build.add_metric([settings.RELEASE, settings.ENVIRONMENT], 1)
        yield build


def registry() -> CollectorRegistry:
    """Return what a scrape is answered with."""
    made = CollectorRegistry()
    made.register(Conditions())
    if settings.PROMETHEUS_MULTIPROC_DIR:
        MultiProcessCollector(made, path=settings.PROMETHEUS_MULTIPROC_DIR)
    return made
