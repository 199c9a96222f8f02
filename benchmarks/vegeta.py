"""Load by vegeta: at a fixed rate, whatever the answers take, or closed-loop with every request accounted for."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.load import CONNECTIONS, CONTENT_TYPE, Load, Requests, believed, children_cpu
from benchmarks.options import Options
from local_stack.build import Program, build, cache_dir

PROGRAM = Program("vegeta", ("github.com/tsenart/vegeta/v12",), sources=Path(__file__).with_name("programs"))
NANOSECONDS = 1e9


@dataclass(frozen=True)
class Vegeta:
    """The program."""

    binary: Path

    def attack(self, requests: Requests, method: str, seconds: int, *, rate: int | None = None) -> Load:
        """Send so many requests a second; without a rate, each of 32 workers one after the other."""
        url, arguments = requests.command(method)
        results = requests.body.with_name("vegeta.bin")
        pace = [f"-rate={rate}/1s"] if rate else ["-rate=0", f"-max-workers={CONNECTIONS}"]
        before = children_cpu()
        self._run(
            ["attack", f"-duration={seconds}s", "-timeout=10s", "-max-body=0", f"-output={results}", *pace],
            target(url, arguments),
        )
        cpu = children_cpu() - before
        return believed(read(self._run(["report", "-type=json", str(results)]), cpu), url)

    def _run(self, arguments: Sequence[str], stdin: str = "") -> str:
        done = subprocess.run(
            [str(self.binary), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.defpath},
        )
        if done.returncode != 0:
            raise BenchmarkError(f"vegeta failed: {done.stderr.strip()}")
        return done.stdout


def built(options: Options) -> Vegeta:
    """Return the program, built first where it is missing."""
    log = options.home / "logs" / "build-vegeta.log"
    return Vegeta(build(PROGRAM, cache_dir(options.environment), log=log)[0])


def target(url: str, arguments: Sequence[str]) -> str:
    """Return vegeta's description of a request, out of what wrk's script is told."""
    method, *body = arguments
    return "\n".join(
        [f"{method} {url}", *([f"Content-Type: {CONTENT_TYPE}", f"@{body[0]}"] if body else []), ""]
    )


def read(report: str, cpu_seconds: float) -> Load:
    """Read vegeta's report; every time in it is in nanoseconds."""
    found = json.loads(report)
    latencies = {name: value / NANOSECONDS * 1e3 for name, value in found["latencies"].items()}
    return Load(
        requests=found["requests"],
        seconds=(found["duration"] + found["wait"]) / NANOSECONDS,
        failed=round(found["requests"] * (1 - found["success"])),
        p50_ms=latencies["50th"],
        p95_ms=latencies["95th"],
        p99_ms=latencies["99th"],
        client_cpu_seconds=cpu_seconds,
    )
