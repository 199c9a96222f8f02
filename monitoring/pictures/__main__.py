"""Draws docs/pictures/*.png from a running stack: the boards, one upload, and the log store's page of it."""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import httpx
from matplotlib.figure import Figure
from PIL import Image

from document_api import SERVICE_NAME
from monitoring.pictures import board, request
from monitoring.pictures.sources import Sources, Window
from observability.signals import Attribute, Span
from observability_checks.options import Targets, local_stack_endpoints, state_dir, targets
from observability_checks.preflight import reach_back_ends
from telemetry_queries.story import StoryTeller
from telemetry_queries.victorialogs import VictoriaLogs, by_correlation_id

ROOT: Final = Path(__file__).parents[2]
DASHBOARDS: Final = ROOT / "monitoring" / "grafana" / "dashboards"
PICTURES: Final = ROOT / "docs" / "pictures"
_COLORS: Final = 224
_MICROSECONDS: Final = 1_000_000
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
_BROWSER_SECONDS: Final = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw everything; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.pictures", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, help="how much time to show (default: 30)")
    parser.add_argument(
        "--end", type=datetime.fromisoformat, help="when it ends, such as 2026-11-25T03:30+00:00 (now)"
    )
    parser.add_argument("--correlation-id", help="of the request to show (the slowest upload in that time)")
    parser.add_argument("--folder", type=Path, default=PICTURES, help="where to (docs/pictures)")
    options = parser.parse_args(arguments)
    end = options.end.timestamp() if options.end else time.time()
    window = Window(end - options.minutes * 60, end)
    addresses = targets({}, os.environ, local_stack_endpoints(state_dir()))
    options.folder.mkdir(parents=True, exist_ok=True)
    with httpx.Client(timeout=30, trust_env=False) as http:
        _draw(http, addresses, window, options.folder, options.correlation_id)
    return 0


def _draw(
    http: httpx.Client, addresses: Targets, window: Window, folder: Path, correlation_id: str | None
) -> None:
    back_ends = reach_back_ends(http, addresses)
    if not isinstance(back_ends.logs, VictoriaLogs):
        sys.exit(f"{back_ends.logs.name} is in the place of VictoriaLogs: in Docker look at Grafana itself")
    correlation_id = correlation_id or slowest_upload(http, back_ends.jaeger.url, window)
    sources = Sources(
        http,
        back_ends.prometheus.url,
        back_ends.logs.url,
        window,
        {"correlation_id": correlation_id, "search": ""},
    )
    for file in sorted(DASHBOARDS.glob("*.json")):
        _save(board.draw(file, sources), folder / f"{file.stem}.png")
    story = StoryTeller(back_ends).tell(correlation_id)
    _save(request.draw(story), folder / "request.png")
    _photograph(_page(back_ends.logs.url, correlation_id, window), folder / "victorialogs.png")


def slowest_upload(http: httpx.Client, jaeger: str, window: Window) -> str:
    """Return the correlation ID of the successful upload that took longest: there is something to be seen."""
    answer = http.get(
        f"{jaeger}/api/traces",
        params={
            "service": SERVICE_NAME,
            "operation": Span.UPLOAD_DOCUMENT,
            "tags": '{"outcome":"success"}',
            "start": int(window.start * _MICROSECONDS),
            "end": int(window.end * _MICROSECONDS),
            "limit": 500,
        },
    )
    spans = [
        span
        for trace in answer.raise_for_status().json()["data"]
        for span in trace["spans"]
        if span["operationName"] == Span.UPLOAD_DOCUMENT
    ]
    if not spans:
        sys.exit("no upload in this time")
    slowest = max(spans, key=lambda span: span["duration"])
    return str(next(tag["value"] for tag in slowest["tags"] if tag["key"] == Attribute.CORRELATION_ID))


def _page(logs: str, correlation_id: str, window: Window) -> str:
    end = datetime.fromtimestamp(window.end).astimezone().strftime("%Y-%m-%dT%H:%M:%S")
    query = {
        "query": by_correlation_id(correlation_id),
        "g0.range_input": f"{round((window.end - window.start) / 60)}m",
        "g0.end_input": end,
        "g0.relative_time": "none",
    }
    return f"{logs}/select/vmui/#/?{urlencode(query)}"


def _save(figure: Figure, file: Path) -> None:
    figure.savefig(file)
    _shrink(file)


def _photograph(url: str, file: Path) -> None:
    """Let a browser without a screen show a page."""
    browser = next((name for name in _BROWSERS if shutil.which(name)), None)
    if browser is None:
        print(f"no browser: {file.name} is not made")  # noqa: T201
        return
    command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,800"]
    command += ["--virtual-time-budget=15000", f"--screenshot={file}", url]
    subprocess.run(command, check=True, capture_output=True, timeout=_BROWSER_SECONDS)
    _shrink(file)


def _shrink(file: Path) -> None:
    """Few colours are enough for lines and letters."""
    with Image.open(file) as image:
        small = image.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    small.save(file, optimize=True)
    print(f"{file.name} {file.stat().st_size / 1000:.0f} kB")  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
