"""Brings up what is measured: one PostgreSQL, one collector, and for each side an nginx and its two services."""

import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.processes import running
from benchmarks.sides import Side
from local_stack import postgres
from local_stack.back_ends import BackEnds
from local_stack.build import PROGRAMS, build, cache_dir
from local_stack.health import HttpProbe
from local_stack.nginx import LoadBalancer
from local_stack.progress import Progress
from local_stack.services import Service
from local_stack.settings import CHECKOUT, Settings
from local_stack.state import State

FIRST_PORT = 21_000  # below those that the kernel gives to clients
COLLECTED = "robin"  # the side whose nginx the collector reads: a stock set-up has no such pipeline
SINK = Path(__file__).with_name("sink.yaml")


@dataclass(frozen=True)
class RunningSide:
    """A side that serves."""

    side: Side
    url: str
    processes: dict[str, psutil.Process]  # nginx, api, store
    folder: Path


@dataclass(frozen=True)
class System:
    """Everything that runs: what the sides share, and the sides."""

    shared: dict[str, psutil.Process]  # postgres, collector, sink
    sides: tuple[RunningSide, ...]
    collector_metrics_url: str

    def processes(self) -> list[psutil.Process]:
        """Return every process that was started."""
        return [*self.shared.values(), *(each for side in self.sides for each in side.processes.values())]


@contextmanager
def running_system(sides: Sequence[Side], home: Path, environment: dict[str, str]) -> Iterator[System]:
    """Run everything in a folder of its own below `home`, of which the logs alone stay."""
    home.mkdir(parents=True, exist_ok=True)
    state = State(Path(tempfile.mkdtemp(prefix="run-", dir=home)))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, state.root)
        stack.callback(_keep_logs, state, home / "logs")
        stack.callback(shutil.rmtree, postgres.outside_home(state), ignore_errors=True)
        state.create()
        yield _Starter(stack, state, environment).start(sides)


class _Starter:
    """Starts one thing after the other; the stack stops them in the opposite order."""

    def __init__(self, stack: ExitStack, state: State, environment: dict[str, str]) -> None:
        self._stack = stack
        self._state = state
        self._progress = Progress()
        self._ports = _free_ports()
        self._environment = environment
        sink = next(self._ports)
        self._settings = Settings(
            robin_state_dir=state.root,
            postgres_port=next(self._ports),
            otlp_grpc_port=next(self._ports),
            collector_health_port=next(self._ports),
            collector_metrics_port=next(self._ports),
            jaeger_otlp_port=next(self._ports),
            prometheus_port=sink,
            victorialogs_port=sink,
        )

    def start(self, sides: Sequence[Side]) -> System:
        """Start everything."""
        cluster = postgres.place(self._state, self._settings.postgres_port)
        cluster.initialise(postgres.database_password(self._state))
        program = next(program for program in PROGRAMS if program.name == "otelcol")
        self._progress.step("starting PostgreSQL and the collector")
        collector = build(program, cache_dir(self._environment), log=self._state.logs / "build-otelcol.log")[
            0
        ]
        return System(
            {
                "postgres": self._run(cluster.service()),
                "sink": self._run(self._sink(collector)),
                "collector": self._run(BackEnds(self._settings, self._state).service("otelcol", collector)),
            },
            tuple(self._start_side(side) for side in sides),
            f"http://127.0.0.1:{self._settings.collector_metrics_port}/metrics",
        )

    def _start_side(self, side: Side) -> RunningSide:
        self._progress.step(f"starting {side.title}")
        folder = self._state.root / side.name
        folder.mkdir()
        store, api, http = (next(self._ports) for _ in range(3))
        return RunningSide(
            side,
            f"http://127.0.0.1:{http}",
            {
                "store": self._run(self._service(side, "store", side.store, store)),
                "api": self._run(
                    self._service(
                        side, "api", side.api, api, data_store_url=f"http://127.0.0.1:{store}", folder=folder
                    )
                ),
                "nginx": self._run(self._nginx(side, folder, listen=http, upstream=api)),
            },
            folder,
        )

    def _service(
        self,
        side: Side,
        role: str,
        module: str,
        port: int,
        *,
        data_store_url: str = "",
        folder: Path | None = None,
    ) -> Service:
        """Return a service of a side; all of them read the same variables."""
        url = postgres.database_url(self._settings.postgres_port, postgres.database_password(self._state))
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._settings.otlp_grpc_port}",
            "OTEL_SDK_DISABLED": str(not side.telemetry).lower(),
            "PORT": str(port),
            "DATABASE_URL": url,
            "DATA_STORE_URL": data_store_url,
            "UPLOAD_DIR": str(folder / "uploads") if folder else "",
        }
        return Service(
            name=f"{side.name}-{role}",
            command=(sys.executable, "-m", module),
            environment=environment,
            directory=CHECKOUT,
            probe=HttpProbe(port, "/health"),
            priority=0,
            url=f"http://127.0.0.1:{port}",
        )

    def _nginx(self, side: Side, folder: Path, *, listen: int, upstream: int) -> Service:
        collected = side.name == COLLECTED
        balancer = LoadBalancer(
            listen=f"127.0.0.1:{listen}",
            upstream_ports=[upstream],
            max_upload_bytes=self._settings.max_upload_bytes,
            access_log=self._state.access_log if collected else folder / "access.json",
            config_dir=folder / "nginx",
            run_dir=folder,
        )
        balancer.write()
        return Service(
            name=f"{side.name}-nginx",
            command=balancer.command,
            directory=folder,
            probe=HttpProbe(listen, "/nginx-health"),
            priority=0,
            url=f"http://127.0.0.1:{listen}",
            stop_signal="QUIT",
        )

    def _sink(self, collector: Path) -> Service:
        health = next(self._ports)
        return Service(
            name="sink",
            command=(str(collector), "--config", str(SINK)),
            environment={
                "SINK_GRPC_PORT": str(self._settings.jaeger_otlp_port),
                "SINK_HTTP_PORT": str(self._settings.prometheus_port),
                "SINK_HEALTH_PORT": str(health),
            },
            directory=CHECKOUT,
            probe=HttpProbe(health, "/"),
            priority=0,
            url="",
        )

    def _run(self, service: Service) -> psutil.Process:
        return self._stack.enter_context(running(service, self._state.logs / f"{service.name}.log"))


def _keep_logs(state: State, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(state.logs, folder)


def _free_ports() -> Iterator[int]:
    for port in range(FIRST_PORT, 2**16):
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            yield port
