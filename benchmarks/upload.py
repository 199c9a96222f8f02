"""Goal 5: an upload of 1 GiB adds less than 32 MiB to document_api's memory, at half the speed of a plain write.

In turn: the upload through nginx and robin, which hashes, syncs and records it; the same request to an nginx that writes
the body to a file and forgets it; `dd conv=fsync` of the same file. The client sends by sendfile: it costs next to nothing.
"""

import hashlib
import http.client
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import psutil

from benchmarks.errors import BenchmarkError
from benchmarks.figures import at_least, at_most, noise, ratio
from benchmarks.load import CLIENT, CONTENT_TYPE, HEAD, SENTENCE, TAIL, children_cpu, prepare
from benchmarks.options import Options
from benchmarks.processes import running, usage
from benchmarks.report import Bars, Chart, Report, Table
from benchmarks.rounds import Others, loop_ms
from benchmarks.sides import ROBIN
from benchmarks.system import RunningSide, System, running_system
from local_stack.health import HttpProbe
from local_stack.nginx import binary, user_directive
from local_stack.services import Service

MIB = 2**20
BYTES = 1024 * MIB
SIDE = replace(ROBIN, environment={"MAX_UPLOAD_BYTES": str(BYTES)})
ROBIN_NAME, NGINX, DD = "robin", "nginx", "dd"
GOAL_GROWTH_MIB = 32.0
GOAL_SPEED = 0.5  # of a plain write
TIMEOUT_SECONDS = 600.0
# nginx writes the body down as it does for whom it serves, and asks itself for an answer without it.
PLAIN_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        client_body_buffer_size 128k;
        location = /health {{ return 200; }}
        location / {{
            client_body_in_file_only clean;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass http://127.0.0.1:{port}/health;
        }}
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Write:
    """One gibibyte, written by one of the three."""

    number: int
    side: str
    seconds: float
    growth_mib: float | None  # document_api's peak over its RSS before
    cpu_seconds: Mapping[str, float]
    foreign_cpu: float
    loop_ms: float

    @property
    def mib_per_second(self) -> float:
        """The speed."""
        return BYTES / MIB / self.seconds


def run(options: Options) -> Report:
    """Write in turn, round after round."""
    with ExitStack() as stack:
        system = stack.enter_context(running_system((SIDE,), options.home, options.environment))
        (side,) = system.sides
        prepare(side.url, side.folder)
        file = side.folder / "gibibyte.txt"
        sha256 = make_file(file)
        port = next(system.ports)
        nginx = stack.enter_context(
            running(_plain_nginx(side.folder / "plain", port), side.folder / "plain-nginx.log")
        )
        writers: Mapping[str, Callable[[], object]] = {
            ROBIN_NAME: lambda: _upload(side, file, sha256),
            NGINX: lambda: send(port, "/", file),
            DD: lambda: _dd(file, side.folder / "dd.out"),
        }
        writes = []
        for number in range(options.rounds):
            for name, write in writers.items():
                one = _measure(system, side, nginx, number=number, name=name, write=write)
                writes.append(one)
                options.progress.step(f"round {number + 1}: {name}: {one.mib_per_second:.0f} MiB/s")
    return Report(
        goal="upload",
        noise=noise(
            {name: [one.seconds for one in writes if one.side == name] for name in writers},
            [one.foreign_cpu for one in writes],
            [one.loop_ms for one in writes],
        ),
        tables=[table(writes)],
        statements=statements(writes),
        charts=charts(writes),
        data={"writes": writes},
    )


def make_file(file: Path) -> str:
    """Write a text of a gibibyte, and return its SHA-256."""
    digest, block = hashlib.sha256(), b""
    with file.open("wb") as stream:
        for number in range(BYTES // MIB):
            block = (SENTENCE % number) * (MIB // len(SENTENCE % number) + 1)
            stream.write(block[:MIB])
            digest.update(block[:MIB])
    return digest.hexdigest()


def send(port: int, path: str, file: Path) -> bytes:
    """PUT a file as the only part of a form, and return the answer's body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.putrequest("PUT", path)
        connection.putheader("Content-Type", CONTENT_TYPE)
        connection.putheader("Content-Length", str(len(HEAD) + file.stat().st_size + len(TAIL)))
        connection.endheaders(HEAD)
        with file.open("rb") as stream:
            connection.sock.sendfile(stream)
        connection.sock.sendall(TAIL)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise BenchmarkError(f"the upload was answered with {answer.status}: {body.decode(errors='replace')}")
    return body


def _upload(side: RunningSide, file: Path, sha256: str) -> None:
    port = urlsplit(side.url).port or 0
    stored = json.loads(send(port, f"/clients/{CLIENT}/upload-document", file))
    if stored["metadata"]["sha256"] != sha256:
        raise BenchmarkError(f"robin has another hash than the file: {stored}")


def _dd(file: Path, out: Path) -> None:
    subprocess.run(["dd", f"if={file}", f"of={out}", "bs=1M", "conv=fsync"], check=True, capture_output=True)


def _measure(
    system: System,
    side: RunningSide,
    nginx: psutil.Process,
    *,
    number: int,
    name: str,
    write: Callable[[], object],
) -> Write:
    os.sync()  # what an earlier round left to be written is not this one's
    loop = loop_ms()
    api = side.processes["api"].pid
    watched = {"api": side.processes["api"], "nginx": side.processes["nginx"], "plain nginx": nginx}
    before = {role: usage(process).cpu_seconds for role, process in watched.items()}
    own_before = time.process_time() + children_cpu()
    rss_before = forget_peak(api)
    others = Others([*system.processes(), nginx])
    began = time.monotonic()
    write()
    seconds = time.monotonic() - began
    client = time.process_time() + children_cpu() - own_before
    growth = memory_kib(api, "VmHWM") - rss_before
    foreign = others.share(client)
    _remove_gibibytes(side)
    return Write(
        number=number,
        side=name,
        seconds=seconds,
        growth_mib=growth / 1024 if name == ROBIN_NAME else None,
        cpu_seconds={
            "client": client,
            **{role: usage(process).cpu_seconds - before[role] for role, process in watched.items()},
        },
        foreign_cpu=foreign,
        loop_ms=loop,
    )


def forget_peak(pid: int) -> int:
    """Let the kernel forget a process's highest RSS, and return what it is now, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory_kib(pid, "VmRSS")


def memory_kib(pid: int, name: str) -> int:
    """Return a figure of a process's memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchmarkError(f"/proc/{pid}/status has no {name}")


def _remove_gibibytes(side: RunningSide) -> None:
    for file in [*(side.folder / "uploads").rglob("*"), side.folder / "dd.out"]:
        if file.is_file() and file.stat().st_size == BYTES:
            file.unlink()


def _plain_nginx(folder: Path, port: int) -> Service:
    folder.mkdir()
    configuration = folder / "nginx.conf"
    configuration.write_text(PLAIN_NGINX.format(user=user_directive(), folder=folder, port=port))
    return Service(
        name="plain-nginx",
        command=(str(binary()), "-e", "stderr", "-p", f"{folder}/", "-c", str(configuration)),
        directory=folder,
        probe=HttpProbe(port, "/health"),
        priority=0,
        url="",
        stop_signal="QUIT",
    )


def table(writes: Sequence[Write]) -> Table:
    """Return a row for each of the three."""
    rows = []
    for name in dict.fromkeys(one.side for one in writes):
        own = [one for one in writes if one.side == name]
        growths = [one.growth_mib for one in own if one.growth_mib is not None]
        rows.append(
            (
                name,
                f"{median(one.seconds for one in own):.2f}",
                f"{median(one.mib_per_second for one in own):.0f}",
                f"{max(growths):.1f}" if growths else "-",
                *(f"{median(one.cpu_seconds[role] for one in own):.2f}" for role in own[0].cpu_seconds),
            )
        )
    return Table(
        title="1 GiB: CPU seconds by process",
        head=("written by", "seconds", "MiB/s", "RSS growth MiB", *writes[0].cpu_seconds),
        rows=rows,
    )


def speed(writes: Sequence[Write], base: str) -> float | None:
    """Return robin's speed over that of a plain write, the median of the rounds."""
    seconds = {(one.number, one.side): one.seconds for one in writes}
    ratios = [
        ratio(seconds[number, base], value) for (number, name), value in seconds.items() if name == ROBIN_NAME
    ]
    known = [each for each in ratios if each is not None]
    return median(known) if known else None


def statements(writes: Sequence[Write]) -> list[str]:
    """Say how near both goals are."""
    growth = max(one.growth_mib for one in writes if one.growth_mib is not None)
    reached = {base: speed(writes, base) for base in (NGINX, DD)}
    return [
        (
            f"document_api's RSS grows by at most {growth:.1f} MiB, goal {GOAL_GROWTH_MIB:.0f} MiB: "
            f"{at_most(growth, GOAL_GROWTH_MIB)}"
        ),
        (
            f"{reached[NGINX] or 0:.2f}x the speed of nginx's write, which is not synced, goal {GOAL_SPEED}x: "
            f"{at_least(reached[NGINX], GOAL_SPEED)}"
        ),
        (
            f"{reached[DD] or 0:.2f}x the speed of dd's write, which is synced, goal {GOAL_SPEED}x: "
            f"{at_least(reached[DD], GOAL_SPEED)}"
        ),
    ]


def charts(writes: Sequence[Write]) -> list[Chart]:
    """Return the speeds, and the memory."""
    return [
        Bars(
            title="1 GiB written",
            unit="MiB/s",
            values={
                name: [one.mib_per_second for one in writes if one.side == name]
                for name in dict.fromkeys(one.side for one in writes)
            },
        ),
        Bars(
            title="Growth of document_api's RSS during the upload",
            unit="MiB",
            values={"document_api": [one.growth_mib for one in writes if one.growth_mib is not None]},
            bound=GOAL_GROWTH_MIB,
        ),
    ]
