"""What a request leaves on disk in each store, and what a day at 100 requests a second comes to.

The whole local stack runs with its default settings: first without a request, for what grows all the same, then with
100 GETs a second, then with 100 PUTs of 1 KiB a second. After each it is stopped in order, so that nothing waits in
memory, and the folders are measured by the blocks they take; a store that merges or compresses what it has only later
takes less in the long run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import vegeta
from benchmarks.load import METHODS, Requests, prepare
from benchmarks.options import Options
from benchmarks.report import Chart, Report, Stacks, Table
from benchmarks.stack import RunningStack, running_stack
from benchmarks.vegeta import Vegeta

RATE = 100  # requests a second
DAY_SECONDS = 86_400
# After the last request: what is in queues arrives.
SETTLE_SECONDS = 10
# Folders of the local stack, and what is in them.
STORES = {
    "jaeger": "traces",
    "victorialogs": "log lines",
    "prometheus": "metrics",
    "postgres": "records",
    "uploads": "documents",
}
BLOCK_BYTES = 512
GIB = 2**30
NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How much each store grew while so many requests of one kind were answered."""

    method: str
    requests: int
    seconds: float
    bytes: Mapping[str, int]


def run(options: Options) -> Report:
    """Let the stack stand, then load it."""
    client = vegeta.built(options)
    options.progress.step("starting the local stack with its default settings")
    with running_stack(options) as stack:
        requests = prepare(stack.url, stack.state)
        loads: dict[str, Callable[[], int]] = {
            NOTHING: partial(_wait, options.seconds),
            **{method: partial(_load, client, requests, method, options.seconds) for method in METHODS},
        }
        before = at_rest(stack)
        growths = []
        for method, load in loads.items():
            options.progress.step(f"{options.seconds} s with {method}")
            began = time.monotonic()
            answered = load()
            _wait(SETTLE_SECONDS)
            seconds, after = time.monotonic() - began, at_rest(stack)
            growths.append(growth(method, answered, seconds, before, after))
            before = after
    return Report(
        goal="footprint",
        noise=None,  # what is written does not depend on how busy the machine is
        tables=[table(growths)],
        statements=statements(growths),
        charts=[chart(growths)],
        data={"growths": growths},
    )


def growth(
    method: str, requests: int, seconds: float, before: Mapping[str, int], after: Mapping[str, int]
) -> Growth:
    """Return how much each store grew."""
    grown = {store: after[store] - before[store] for store in STORES}
    return Growth(method=method, requests=requests, seconds=seconds, bytes=grown)


def at_rest(stack: RunningStack) -> dict[str, int]:
    """Return what each store takes of the disk while nothing runs."""
    with stack.stopped():
        return sizes(stack.state)


def _load(client: Vegeta, requests: Requests, method: str, seconds: int) -> int:
    return client.attack(requests, method, seconds, rate=RATE).requests


def _wait(seconds: int) -> int:
    time.sleep(seconds)
    return 0


def sizes(state: Path) -> dict[str, int]:
    """Return the bytes that each store takes of the disk."""
    return {store: _blocks((state / store).resolve()) * BLOCK_BYTES for store in STORES}


def _blocks(folder: Path) -> int:
    found = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # merged into another one just now
            found += file.lstat().st_blocks
    return found


def per_request(growth: Growth, idle: Growth, store: str) -> float:
    """Return the bytes of a request, without what would have been written anyway."""
    return (growth.bytes[store] - per_second(idle, store) * growth.seconds) / growth.requests


def per_second(idle: Growth, store: str) -> float:
    """Return the bytes a second that are written without any request."""
    return idle.bytes[store] / idle.seconds


def per_day(growth: Growth, idle: Growth, store: str) -> float:
    """Return the bytes of a day at the steady rate."""
    return (per_request(growth, idle, store) * RATE + per_second(idle, store)) * DAY_SECONDS


def table(growths: Sequence[Growth]) -> Table:
    """Return a row for each store."""
    idle, *loaded = growths
    return Table(
        title=f"Bytes on disk, and GiB a day at {RATE} requests a second",
        head=(
            "store",
            "of",
            "bytes/s idle",
            *(f"bytes a {each.method}" for each in loaded),
            *(f"GiB a day, {each.method}" for each in loaded),
        ),
        rows=[
            (
                store,
                content,
                f"{per_second(idle, store):.0f}",
                *(f"{per_request(each, idle, store):.0f}" for each in loaded),
                *(f"{per_day(each, idle, store) / GIB:.2f}" for each in loaded),
            )
            for store, content in STORES.items()
        ],
    )


def statements(growths: Sequence[Growth]) -> list[str]:
    """Say what a request of each kind comes to."""
    idle, *loaded = growths
    return [
        f"{each.method}: {sum(per_request(each, idle, store) for store in STORES):.0f} bytes on disk a request, "
        f"{sum(per_day(each, idle, store) for store in STORES) / GIB:.1f} GiB a day at {RATE} a second"
        for each in loaded
    ]


def chart(growths: Sequence[Growth]) -> Chart:
    """Return what a request of each kind leaves where."""
    idle, *loaded = growths
    return Stacks(
        title="Bytes on disk a request",
        unit="bytes",
        parts={
            each.method: {store: max(0.0, per_request(each, idle, store)) for store in STORES}
            for each in loaded
        },
    )
