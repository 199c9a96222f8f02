"""Load by vegeta: at a fixed rate, whatever the answers take, or closed-loop with every request accounted for."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.load import CONNECTIONS, CONTENT_TYPE, Load, Requests, believed, children_cpu
from benchmarks.options import Options
from local_stack.build import Program, build, cache_dir

PROGRAM = Program("vegeta", ("github.com/tsenart/vegeta/v12",), sources=Path(__file__).with_name("programs"))
NANOSECONDS = 1e9


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Requests, in turn, and how they are sent."""

    targets: str  # as `target` describes them
    results: Path  # a file that may be overwritten
    seconds: int
    rate: int | None = None  # a second, open-loop; None: each of the workers one after the other
    workers: int = CONNECTIONS
    address: str | None = None  # of this machine, where they come from
    niceness: int = 0


@dataclass(frozen=True)
class Vegeta:
    """The program."""

    binary: Path

    def attack(self, requests: Requests, method: str, seconds: int, *, rate: int | None = None) -> Load:
        """Send so many requests a second; without a rate, each of 32 workers one after the other."""
        url, arguments = requests.command(method)
        before = children_cpu()
        report = self.send(
            Attack(
                targets=target(url, arguments),
                results=requests.body.with_name("vegeta.bin"),
                seconds=seconds,
                rate=rate,
            )
        )
        return believed(read(report, children_cpu() - before), url)

    def send(self, attack: Attack) -> str:
        """Send requests and return vegeta's report of what became of them."""
        pace = [f"-rate={attack.rate}/1s"] if attack.rate else ["-rate=0", f"-max-workers={attack.workers}"]
        address = [f"-laddr={attack.address}"] if attack.address else []
        output = f"-output={attack.results}"
        self._run(
            [
                "attack",
                f"-duration={attack.seconds}s",
                "-timeout=10s",
                "-max-body=0",
                output,
                *address,
                *pace,
            ],
            attack.targets,
            niceness=attack.niceness,
        )
        return self._run(["report", "-type=json", str(attack.results)], niceness=attack.niceness)

    def _run(self, arguments: Sequence[str], stdin: str = "", *, niceness: int = 0) -> str:
        with subprocess.Popen(
            ["nice", f"-n{niceness}", str(self.binary), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.defpath},
            start_new_session=True,
        ) as process:
            _yield_to_others(process.pid, niceness)
            output, errors = process.communicate(stdin)
        if process.returncode != 0:
            raise BenchmarkError(f"vegeta failed: {errors.strip()}")
        return output


def _yield_to_others(pid: int, niceness: int) -> None:
    """Give a process' session its niceness: Linux shares the processors among sessions first (sched(7), autogroup)."""
    autogroup = Path(f"/proc/{pid}/autogroup")
    if niceness and autogroup.exists():
        autogroup.write_text(str(niceness))


def built(options: Options) -> Vegeta:
    """Return the program, built first where it is missing."""
    log = options.home / "logs" / "build-vegeta.log"
    return Vegeta(build(PROGRAM, cache_dir(options.environment), log=log)[0])


def target(url: str, arguments: Sequence[str], headers: Sequence[str] = ()) -> str:
    """Return vegeta's description of a request, out of what wrk's script is told and further headers."""
    method, *body = arguments
    content = [f"Content-Type: {CONTENT_TYPE}", *headers, f"@{body[0]}"] if body else headers
    return "\n".join([f"{method} {url}", *content, ""])


def statuses(report: str) -> Mapping[str, int]:
    """Return how many answers had each status in vegeta's report; 0 is no answer."""
    counts: dict[str, int] = json.loads(report)["status_codes"]
    return counts


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
