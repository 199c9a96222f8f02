"""Brings up what is measured: one PostgreSQL, one collector, and for each side an nginx and its two services."""

import random
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.errors import BenchmarkError
from benchmarks.processes import running
from benchmarks.sides import ROBIN, Side
from local_stack import postgres
from local_stack.back_ends import BackEnds
from local_stack.build import PROGRAMS, build, cache_dir
from local_stack.health import HttpProbe
from local_stack.nginx import LoadBalancer
from local_stack.progress import Progress
from local_stack.services import Service
from local_stack.settings import CHECKOUT, Settings
from local_stack.state import State

FIRST_PORTS = range(21_000, 30_000, 100)  # below those that the kernel gives to clients
ANY_NUMBER = 65_535  # of connections of one address, where all the load comes from
SINK = Path(__file__).with_name("sink.yaml")


@dataclass(frozen=True)
class Plan:
    """How a side is run, and where."""

    side: Side
    services: dict[str, Service]  # store, api, nginx: in the order of starting
    ports: dict[str, int]  # of the services: api, store
    folder: Path
    database_url: str  # of the tables' owner
    service_url: str  # of a role that policies hold

    @property
    def url(self) -> str:
        """The way in."""
        return self.services["nginx"].url


@dataclass(frozen=True)
class RunningSide(Plan):
    """A side that serves."""

    processes: dict[str, psutil.Process]  # nginx, api, store


@dataclass(frozen=True)
class System:
    """Everything that runs: what the sides share, and the sides."""

    shared: dict[str, psutil.Process]  # postgres, collector, sink, prometheus
    sides: tuple[RunningSide, ...]
    collector_metrics_url: str
    prometheus_url: str
    logs: Path
    ports: Iterator[int]  # free ones
    plan: Callable[[Side], Plan]  # of one more side, which does not run

    def processes(self) -> list[psutil.Process]:
        """Return every process that was started."""
        return [*self.shared.values(), *(each for side in self.sides for each in side.processes.values())]


@contextmanager
def running_system(
    sides: Sequence[Side],
    home: Path,
    environment: dict[str, str],
    *,
    prometheus: bool = False,
    databases: Iterable[str] = (),
) -> Iterator[System]:
    """Run everything in a folder of its own below `home`, of which the logs alone stay.

    The back ends are a sink, but for Prometheus where its answers are part of what is measured. The databases are made
    beside those of the sides.
    """
    home.mkdir(parents=True, exist_ok=True)
    state = State(Path(tempfile.mkdtemp(prefix="run-", dir=home)))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, state.root)
        stack.callback(_keep_logs, state, home / "logs")
        stack.callback(shutil.rmtree, postgres.outside_home(state), ignore_errors=True)
        state.create()
        yield _Starter(stack, state, environment, prometheus=prometheus).start(sides, databases)


class _Starter:
    """Starts one thing after the other; the stack stops them in the opposite order."""

    def __init__(
        self, stack: ExitStack, state: State, environment: dict[str, str], *, prometheus: bool
    ) -> None:
        self._stack = stack
        self._state = state
        self._progress = Progress()
        self._ports = free_ports()
        self._environment = environment
        self._prometheus = prometheus
        self._sink_port = next(self._ports)
        self._settings = Settings(
            robin_state_dir=state.root,
            http_port=next(self._ports),
            postgres_port=next(self._ports),
            otlp_grpc_port=next(self._ports),
            collector_health_port=next(self._ports),
            collector_metrics_port=next(self._ports),
            jaeger_otlp_port=next(self._ports),
            prometheus_port=next(self._ports) if prometheus else self._sink_port,
            victorialogs_port=self._sink_port,
        )

    def start(self, sides: Sequence[Side], databases: Iterable[str]) -> System:
        """Start everything."""
        cluster = postgres.place(self._state, self._settings.postgres_port)
        cluster.initialise(postgres.database_password(self._state))
        cluster.make_service_role(postgres.service_password(self._state))
        create_databases(cluster, {*databases, *(side.database for side in sides)} - {postgres.DATABASE})
        self._progress.step("starting PostgreSQL, the collector and its back ends")
        collector = self._binary("otelcol")
        back_ends = BackEnds(self._settings, self._state)
        shared = {"postgres": self._run(cluster.service()), "sink": self._run(self._sink(collector))}
        if self._prometheus:
            shared["prometheus"] = self._run(back_ends.service("prometheus", self._binary("prometheus")))
        shared["collector"] = self._run(back_ends.service("otelcol", collector))
        return System(
            shared,
            tuple(self._start_side(side) for side in sides),
            f"http://127.0.0.1:{self._settings.collector_metrics_port}/metrics",
            f"http://127.0.0.1:{self._settings.prometheus_port}",
            self._state.logs,
            self._ports,
            self.plan,
        )

    def _binary(self, name: str) -> Path:
        program = next(program for program in PROGRAMS if program.name == name)
        return build(program, cache_dir(self._environment), log=self._state.logs / f"build-{name}.log")[0]

    def _start_side(self, side: Side) -> RunningSide:
        self._progress.step(f"starting {side.title}")
        plan = self.plan(side)
        return RunningSide(
            **vars(plan), processes={role: self._run(service) for role, service in plan.services.items()}
        )

    def plan(self, side: Side) -> Plan:
        """Return how a side is run, on ports and in a folder of its own."""
        folder = self._state.root / side.name
        folder.mkdir()
        store, api, http = (next(self._ports) for _ in range(3))
        return Plan(
            side,
            {
                "store": self._service(side, "store", side.store, store),
                "api": self._service(
                    side, "api", side.api, api, data_store_url=f"http://127.0.0.1:{store}", folder=folder
                ),
                "nginx": self._nginx(side, folder, listen=http, upstream=api),
            },
            {"api": api, "store": store},
            folder,
            self._database_url(side),
            self._service_url(side),
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
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._settings.otlp_grpc_port}",
            "OTEL_SDK_DISABLED": str(not side.telemetry).lower(),
            "PORT": str(port),
            "WORKERS": str(side.workers),
            # The peers have tables of their own.
            "DATABASE_URL": self._service_url(side)
            if side.store == ROBIN.store
            else self._database_url(side),
            "MIGRATION_DATABASE_URL": self._database_url(side),
            "DATA_STORE_URL": data_store_url,
            "UPLOAD_DIR": str(folder / "uploads") if folder else "",
            **side.environment,
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
        balancer = LoadBalancer(
            listen=f"127.0.0.1:{listen}",
            upstream_ports=[upstream],
            max_upload_bytes=side.max_upload_bytes,
            access_log=self._state.access_log if side.collected else folder / "access.json",
            config_dir=folder / "nginx",
            run_dir=folder,
            connections_per_address=ANY_NUMBER,
            connections_per_instance=ANY_NUMBER,
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
                "SINK_HTTP_PORT": str(self._sink_port),
                "SINK_HEALTH_PORT": str(health),
            },
            directory=CHECKOUT,
            probe=HttpProbe(health, "/"),
            priority=0,
            url="",
        )

    def _database_url(self, side: Side) -> str:
        return self._url(side, postgres.ROLE, postgres.database_password(self._state))

    def _service_url(self, side: Side) -> str:
        return self._url(side, postgres.SERVICE_ROLE, postgres.service_password(self._state))

    def _url(self, side: Side, role: str, password: str) -> str:
        url = postgres.database_url(self._settings.postgres_port, password, role)
        return urlsplit(url)._replace(path=f"/{side.database}").geturl()

    def _run(self, service: Service) -> psutil.Process:
        return self._stack.enter_context(running(service, self._state.logs / f"{service.name}.log"))


def _keep_logs(state: State, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.move(state.logs, folder)


def create_databases(cluster: postgres.Cluster, names: Iterable[str]) -> None:
    """Make further databases of a cluster that does not run yet: over TCP nobody may."""
    statements = "".join(f"CREATE DATABASE {name} OWNER {postgres.ROLE}\n" for name in sorted(names))
    errors = postgres.run_as(
        cluster.user,
        [str(cluster.programs / "postgres"), "--single", "-D", str(cluster.data), "postgres"],
        directory=cluster.home,
        stdin=statements,
    )
    if "ERROR" in errors:
        raise BenchmarkError(f"PostgreSQL could not make the databases: {errors}")


def free_ports() -> Iterator[int]:
    """Yield from a place of this run's own: two runs that begin at once would be told that the same port is free."""
    for port in range(random.SystemRandom().choice(FIRST_PORTS), 2**16):
        with suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            yield port
