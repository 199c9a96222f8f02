"""Telemetry pipeline: does what the services send arrive, how late, and what of it is lost."""

from typing import Final

from monitoring.generate.board import Board, Row
from monitoring.generate.boards.common import ANY, OF_SERVICE, OWN_SERVICE, PIPELINE, QUEUE, RUNTIME
from monitoring.generate.panels import Panel, Target, above, below, lines, stat, states
from monitoring.generate.promql import RATE, aggregate, increase, rate, series, share, zero_unless
from observability.signals import PROCESS_MEMORY_USAGE, TELEMETRY_DROPPED

# Jaeger is made of the same parts, and has metrics of the same names.
_COLLECTOR: Final = 'job="otel-collector"'
_SIGNALS: Final = {"spans": "spans", "log_records": "log records", "metric_points": "metric points"}
_UP: Final = {1: ("up", "green"), 0: ("down", "red")}
# What the collector does not try again.
_REJECTED: Final = ('handler="/api/v1/otlp/v1/metrics"', 'code!~"2..|429|502|503|504"')
_REJECTED_SCRAPES: Final = tuple(
    f"prometheus_target_scrapes_sample_{reason}_total"
    for reason in ("out_of_order", "out_of_bounds", "duplicate_timestamp")
)
_MISSED: Final = ("prometheus_notifications_errors_total", "prometheus_notifications_dropped_total")


def _per_signal(name: str) -> tuple[str, ...]:
    """Return the collector's counters of a thing, one for each signal."""
    return tuple(f"otelcol_{name}_{signal}_total" for signal in _SIGNALS)


def _collector_total(*names: str) -> str:
    counters = (counter for name in names for counter in _per_signal(name))
    return " + ".join(f"({zero_unless(increase(counter, _COLLECTOR))})" for counter in counters)


def _by_signal(name: str, label: str) -> tuple[Target, ...]:
    """Ask for a thing of the collector in a second, for each signal and receiver or exporter."""
    return tuple(
        Target(
            expr=rate(f"otelcol_{name}_{signal}_total", _COLLECTOR, by=(label,)),
            legend=f"{{{{{label}}}}} {title}",
        )
        for signal, title in _SIGNALS.items()
    )


def _trouble(title: str, description: str, *names: str, alerts: tuple[str, ...]) -> Panel:
    """Draw what should be nothing, for each signal; no series is nothing too."""
    return lines(
        title,
        description,
        *(
            Target(
                expr=" + ".join(
                    f"({zero_unless(rate(f'otelcol_{name}_{signal}_total', _COLLECTOR))})" for name in names
                ),
                legend=legend,
            )
            for signal, legend in _SIGNALS.items()
        ),
        unit="cps",
        alerts=alerts,
    )


def _queue_share(*by: str) -> str:
    size, capacity = (
        aggregate("sum", series(f"otelcol_exporter_queue_{what}", _COLLECTOR), *by)
        for what in ("size", "capacity")
    )
    return share(size, capacity)


def _delay(*by: str) -> str:
    newest = f"timestamp({series(PROCESS_MEMORY_USAGE, OF_SERVICE)})"
    # A selector by itself finds nothing older than 5 minutes.
    return f"time() - {aggregate('max', f'{newest} or max_over_time({newest}[1h:30s])', *by)}"


_NOW: Final = (
    stat(
        "Programs down",
        "Of those that Prometheus scrapes: the collector and the back ends",
        Target(expr="count(up == 0) or vector(0)", legend="down"),
        steps=ANY,
        width=4,
        alerts=("BackEndDown", "CollectorDown"),
    ),
    stat(
        "Refused by the collector",
        "Spans, log records and metric points in the time shown; the senders try again",
        Target(expr=_collector_total("receiver_refused", "receiver_failed"), legend="items"),
        over_time=False,
        defaults={"decimals": 0},
        width=4,
        steps=ANY,
        alerts=("CollectorRefusing",),
    ),
    stat(
        "Dropped by the collector",
        "Spans, log records and metric points in the time shown, lost: a queue was full, or a back end refused them for good",
        Target(expr=_collector_total("exporter_enqueue_failed", "exporter_send_failed"), legend="items"),
        over_time=False,
        defaults={"decimals": 0},
        steps=ANY,
        width=4,
        alerts=("CollectorDropping",),
    ),
    stat(
        "Fullest queue",
        "Share of its capacity: above nothing for long means that a back end does not take what it gets",
        Target(expr=aggregate("max", _queue_share("exporter")), legend="full"),
        unit="percentunit",
        steps=QUEUE,
        width=4,
        alerts=("ExportQueueFilling",),
    ),
    stat(
        "Dropped by the services",
        "Spans and log records that the services could not hand over in the time shown",
        Target(expr=zero_unless(increase(TELEMETRY_DROPPED, OF_SERVICE)), legend="items"),
        over_time=False,
        defaults={"decimals": 0},
        steps=ANY,
        width=4,
        alerts=("TelemetryDropped",),
    ),
    stat(
        "Delay of metrics",
        "Age of the newest sample of the service that is furthest behind, of those that were there in the last hour",
        Target(expr=aggregate("max", _delay("service_name")), legend="delay"),
        unit="s",
        steps=above(120),
        width=4,
        alerts=("ServiceAbsent",),
    ),
)

_COLLECTOR_ROW: Final = (
    lines(
        "Accepted by the collector",
        "In a second, by receiver and signal: from the services, and from the logs of nginx and PostgreSQL",
        *_by_signal("receiver_accepted", "receiver"),
        unit="cps",
    ),
    lines(
        "Sent by the collector",
        "In a second, by exporter and signal: it follows what is accepted, a moment later",
        *_by_signal("exporter_sent", "exporter"),
        unit="cps",
        alerts=("ExporterFailing",),
    ),
    _trouble(
        "Refused or failed on arrival",
        "In a second: memory ran short, or the queues are full; the senders try again",
        "receiver_refused",
        "receiver_failed",
        alerts=("CollectorRefusing",),
    ),
    lines(
        "Waiting in the collector",
        "Items in its queues, on disk: above nothing for long means that a back end does not take them",
        Target(
            expr=aggregate("sum", series("otelcol_exporter_queue_size", _COLLECTOR), "exporter"),
            legend="{{exporter}}",
        ),
        alerts=("ExportQueueFilling",),
    ),
    lines(
        "Queues against their capacity",
        "Share of each queue that is full: what comes when it is 100% is lost",
        Target(expr=_queue_share("exporter"), legend="{{exporter}}"),
        unit="percentunit",
        defaults={"max": 1},
        steps=QUEUE,
        alerts=("ExportQueueFilling",),
    ),
    _trouble(
        "Failed on the way out",
        "In a second: a back end refused it for good, or a queue was full; this is lost",
        "exporter_send_failed",
        "exporter_enqueue_failed",
        alerts=("ExporterFailing", "CollectorDropping"),
    ),
)

_SERVICES_ROW: Final = (
    lines(
        "Dropped by the services",
        "Spans and log records that the services could not hand over, in a second",
        Target(
            expr=zero_unless(rate(TELEMETRY_DROPPED, OF_SERVICE, by=("service_name", "signal", "reason"))),
            legend="{{service_name}} {{signal}} {{reason}}",
        ),
        unit="cps",
        alerts=("TelemetryDropped",),
    ),
    lines(
        "Delay of metrics",
        "Age of each service's newest sample: of one that has died or cannot send it grows, for an hour",
        Target(expr=_delay("service_name"), legend="{{service_name}}"),
        unit="s",
        steps=above(120),
        alerts=("ServiceAbsent",),
    ),
    lines(
        "Spans kept by Jaeger",
        "In a second: as many as the collector sends",
        Target(expr=rate("otelcol_exporter_sent_spans_total", 'job="jaeger"'), legend="spans"),
        unit="cps",
        alerts=("BackEndDown",),
    ),
)

_BACK_ENDS: Final = (
    states(
        "Programs that are scraped",
        "Whether each answers Prometheus",
        Target(expr=aggregate("min", "up", "job"), legend="{{job}}"),
        names=_UP,
        steps=below(1, 1),
        alerts=("BackEndDown", "CollectorDown"),
    ),
    lines(
        "Time to scrape",
        "Until each has answered with its metrics",
        Target(expr=aggregate("max", "scrape_duration_seconds", "job"), legend="{{job}}"),
        unit="s",
        alerts=("BackEndDown",),
    ),
    lines(
        "Memory of the pipeline",
        "Resident, of the collector and of the back ends",
        Target(expr=aggregate("sum", "otelcol_process_memory_rss_bytes", "job"), legend="{{job}}"),
        Target(expr=aggregate("sum", "process_resident_memory_bytes", "job"), legend="{{job}}"),
        unit="bytes",
        links=(RUNTIME,),
    ),
)

_PROMETHEUS: Final = (
    lines(
        "Series in Prometheus",
        "In its memory: growth without end means that a label takes ever new values",
        Target(expr="prometheus_tsdb_head_series", legend="series"),
        Target(expr="prometheus_tsdb_exemplar_exemplars_in_storage", legend="exemplars"),
    ),
    lines(
        "Samples taken in",
        "In a second, of any origin",
        Target(expr=rate("prometheus_tsdb_head_samples_appended_total"), legend="samples"),
        unit="cps",
        alerts=("PrometheusRejectingSamples",),
    ),
    lines(
        "Samples rejected",
        "Within a minute or the width of a point: batches of the services, and samples of what is scraped",
        Target(
            expr=zero_unless(increase("prometheus_http_requests_total", *_REJECTED, window=RATE)),
            legend="batches of the services",
        ),
        Target(
            expr=" + ".join(increase(metric, window=RATE) for metric in _REJECTED_SCRAPES),
            legend="scraped samples",
        ),
        bars=True,
        steps=ANY,
        alerts=("PrometheusRejectingSamples",),
    ),
    lines(
        "Time to evaluate rules",
        "Of each group, the last time",
        Target(
            expr=f"label_replace({aggregate('max', 'prometheus_rule_group_last_duration_seconds', 'rule_group')}"
            ', "group", "$1", "rule_group", ".*;(.*)")',
            legend="{{group}}",
        ),
        unit="s",
        alerts=("RuleEvaluationFailing",),
    ),
    lines(
        "Rules that failed",
        "Evaluations within a minute or the width of a point that ended in an error",
        Target(
            expr=increase("prometheus_rule_evaluation_failures_total", window=RATE),
            legend="failures",
        ),
        bars=True,
        steps=ANY,
        alerts=("RuleEvaluationFailing",),
    ),
    lines(
        "Space of Prometheus",
        "On disk: blocks, and what is not yet in a block",
        Target(expr="prometheus_tsdb_storage_blocks_bytes", legend="blocks"),
        Target(expr="prometheus_tsdb_wal_storage_size_bytes", legend="write-ahead log"),
        unit="bytes",
        stacked=True,
    ),
    lines(
        "Alerts handed to Alertmanager",
        "In a second, and those that it did not get",
        Target(expr=rate("prometheus_notifications_sent_total"), legend="sent"),
        Target(
            expr=" + ".join(f"({zero_unless(rate(metric))})" for metric in _MISSED), legend="not delivered"
        ),
        unit="cps",
        width=12,
        alerts=("NotificationsFailing",),
    ),
    lines(
        "Notifications by Alertmanager",
        "Tries to tell people, in a second and by integration; none where none is configured",
        *(
            Target(
                expr=f"{rate(f'alertmanager_notification_requests_{what}', by=('integration',))} > 0 or vector(0)",
                legend=f"{{{{integration}}}} {title}",
            )
            for what, title in (("total", "sent"), ("failed_total", "failed"))
        ),
        unit="cps",
        width=12,
        alerts=("NotificationsFailing",),
    ),
)

BOARD: Final = Board(
    uid=PIPELINE,
    title="robin: telemetry pipeline",
    description="From the services by way of the collector into the back ends, and the alerts out of them",
    variables=(OWN_SERVICE,),
    rows=(
        Row("Now", _NOW),
        Row("Collector", _COLLECTOR_ROW),
        Row("Services and Jaeger", _SERVICES_ROW),
        Row("Back ends", _BACK_ENDS),
        Row("Prometheus and Alertmanager", _PROMETHEUS),
    ),
)
