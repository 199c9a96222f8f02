"""Closed-loop load by wrk: one thread, 32 connections, each with one request under way at any time."""

import json
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.errors import BenchmarkError

METHODS = ("GET", "PUT")
CONNECTIONS = 32
SCRIPT = Path(__file__).with_name("load.lua")
CLIENT = "benchmark"
CONTENT_BYTES = 1024
SENTENCE = b"The quick brown fox number %d jumps over the lazy dog of the benchmark. "
BOUNDARY = "benchmark-boundary"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
HEAD = (
    f"--{BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="file"; filename="benchmark.txt"\r\n'
    "Content-Type: text/plain\r\n\r\n"
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class Load:
    """What the client saw in one round."""

    requests: int
    seconds: float
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    client_cpu_seconds: float
    abandoned: int = 0  # under way when the load ended: served, but nobody waited for the answer

    @property
    def served(self) -> int:
        """What the services had to do."""
        return self.requests + self.abandoned

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Requests:
    """The two requests of a side: a GET of a document of its own, and a PUT of 1 KiB."""

    url: str
    document: str
    body: Path
    client: str = CLIENT

    def command(self, method: str) -> tuple[str, Sequence[str]]:
        """Return the address and the script's arguments of a method."""
        if method == "GET":
            return self.document, ["GET"]
        return f"{self.url}/clients/{self.client}/upload-document", [method, str(self.body), CONTENT_TYPE]


def content() -> bytes:
    """Return a text of exactly 1 KiB whose sentences differ."""
    sentences = b"".join(SENTENCE % number for number in range(CONTENT_BYTES // len(SENTENCE) + 2))
    return sentences[:CONTENT_BYTES]


def multipart(data: bytes) -> bytes:
    """Return the body of an upload."""
    return HEAD + data + TAIL


def prepare(
    url: str, folder: Path, *, client: str = CLIENT, headers: Mapping[str, str] | None = None
) -> Requests:
    """Upload one document, read it back, and return the requests that a side is loaded with."""
    body = folder / "upload.body"
    body.write_bytes(multipart(content()))
    with httpx.Client(base_url=url, timeout=30, trust_env=False, headers=headers) as http:
        uploaded = http.put(
            f"/clients/{client}/upload-document",
            content=body.read_bytes(),
            headers={"Content-Type": CONTENT_TYPE},
        )
        uploaded.raise_for_status()
        document = f"/clients/{client}/documents/{uploaded.json()['document_id']}"
        found = http.get(document)
        found.raise_for_status()
    if found.json()["file_size"] != CONTENT_BYTES:
        raise BenchmarkError(f"{url} does not know the document it was given: {found.text}")
    return Requests(url, f"{url}{document}", body, client)


def load(requests: Requests, method: str, seconds: int) -> Load:
    """Load a side for so long with one of its requests."""
    url, arguments = requests.command(method)
    return attack(url, arguments, seconds)


def attack(url: str, arguments: Sequence[str], seconds: int) -> Load:
    """Run wrk for so long, or until its script stops it; a round with a failed request is no measurement."""
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    before = children_cpu()
    done = subprocess.run(
        [wrk(), *options, url, "--", *arguments], capture_output=True, text=True, check=False
    )
    cpu = children_cpu() - before
    if done.returncode != 0:
        raise BenchmarkError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    seen = json.loads(done.stdout.splitlines()[-1])
    return believed(Load(**seen, client_cpu_seconds=cpu, abandoned=CONNECTIONS), url)


def believed(measured: Load, url: str) -> Load:
    """Return what was measured, unless a request failed."""
    if measured.failed or not measured.requests:
        raise BenchmarkError(
            f"{url}: {measured.failed} of {measured.requests} requests failed: see .robin/benchmarks/logs"
        )
    return measured


def wrk() -> str:
    """Return where wrk is."""
    path = shutil.which("wrk")
    if path is None:
        raise BenchmarkError("wrk is missing: install it (Debian, Ubuntu: apt install wrk)")
    return path


def children_cpu() -> float:
    """Return the CPU seconds of all programs that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
