"""The story of one request on a terminal. Only rendering: everything shown stands in the structure."""

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.text import Text

from telemetry_queries.story import MetricPoint, Statement, Story, StoryLine, StorySpan

# Shown with a span; the rest is one click away in Jaeger.
_HIDDEN_PREFIXES = ("otel.", "span.", "network.", "url.", "server.", "internal.")
# The statement's text has a section of its own.
_HIDDEN = {"db.query.text", "correlation_id", "client_id", "error", "http.request.method", "http.route"}
_LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}


def render(story: Story, console: Console) -> None:
    """Write the story."""
    _heading(console, f"Request {story.correlation_id}")
    for trace_id in story.trace_ids:
        _line(console, f"  trace {trace_id}")
    _section(console, "Spans (begin after the request's begin, duration)", map(_span, story.spans))
    _section(console, "Log lines", map(_log_line, story.lines))
    _section(console, "SQL statements", map(_statement, story.statements))
    _section(console, "Metric points (exemplars)", map(_metric_point, story.metric_points))
    _section(console, "Links", (Text(f"{name}: {url}") for name, url in story.links.items()))
    _section(console, "Not found", (Text(gap) for gap in story.gaps))


def _section(console: Console, title: str, lines: Iterator[Text]) -> None:
    found = list(lines)
    if found:
        _heading(console, f"\n{title}")
    for line in found:
        _line(console, Text("  ") + line)


def _heading(console: Console, text: str) -> None:
    console.print(text, style="bold", markup=False, soft_wrap=True)


def _line(console: Console, text: str | Text) -> None:
    console.print(text, markup=False, soft_wrap=True)


def _span(span: StorySpan) -> Text:
    text = Text(f"{span.offset_ms:8.1f} {span.duration_ms:8.1f} ms  {'  ' * span.depth}")
    text.append(span.name, style="bold red" if span.failed else "bold")
    text.append(f" [{span.service} {span.kind}]" + (" ERROR" if span.failed else ""))
    return text.append(f" {_shown(span.attributes)}", style="dim")


def _shown(attributes: Mapping[str, object]) -> str:
    return " ".join(
        f"{name}={_value(value)}"
        for name, value in attributes.items()
        if name not in _HIDDEN and not name.startswith(_HIDDEN_PREFIXES)
    )


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _log_line(line: StoryLine) -> Text:
    offset = "        " if line.offset_ms is None else f"{line.offset_ms:8.1f}"
    text = Text(f"{offset} ms  ")
    text.append(f"{line.level:8}", style=_LEVEL_STYLES.get(line.level, ""))
    return text.append(f" {line.service:12} {line.message}")


def _statement(statement: Statement) -> Text:
    text = " ".join((statement.text or statement.summary).split())
    return Text(f"{statement.duration_ms:8.1f} ms  [{statement.service}] {text} /*{statement.comment}*/")


def _metric_point(point: MetricPoint) -> Text:
    labels = ",".join(f"{name}={value}" for name, value in point.labels.items())
    return Text(f"{point.metric}{{{labels}}} {point.value:.6g}")
