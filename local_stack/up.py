"""`up`: starts what does not run, restarts what has changed, builds what is missing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from local_stack import postgres
from local_stack.back_ends import BackEnds
from local_stack.build import PROGRAMS, Program, build, cache_dir, is_built
from local_stack.closing import closing_table, curl_example
from local_stack.errors import StackError
from local_stack.leftovers import stop_leftovers
from local_stack.log_files import tail
from local_stack.ports import check_free, choose_ports
from local_stack.progress import Progress
from local_stack.register import Register
from local_stack.services import Service
from local_stack.settings import CHECKOUT, Settings
from local_stack.stack import Stack
from local_stack.state import State, write_atomically
from local_stack.supervision import Supervisor, inherited
from local_stack.tls import Tls

HEALTHY_SECONDS = 60.0
TELLING_LINES = 15
GIVEN_UP_AFTER_STARTS = 3


class Up:
    """One run of `up`."""

    def __init__(self, settings: Settings, environment: Mapping[str, str], progress: Progress) -> None:
        self._settings = settings
        self._environment = environment
        self._progress = progress
        self._state = State(settings.state_dir)
        self._supervisor = Supervisor(self._state)
        self._register = Register({})
        self._serving: str | None = None

    def run(self) -> None:
        """Bring the whole stack up, or say which part failed and what runs nevertheless."""
        self._state.create()
        with self._state.locked():
            try:
                self._bring_up()
            except StackError as error:
                raise StackError(f"{error}\n{self._what_runs()}") from error
            except KeyboardInterrupt:
                raise StackError(f"interrupted\n{self._what_runs()}") from None

    def _bring_up(self) -> None:
        stack = self._prepare()
        if deleted := postgres.forget_deleted(self._state):
            self._progress.step(f"removed the database of a deleted state folder ({deleted})")
        cluster = postgres.place(self._state, self._settings.postgres_port)
        if not cluster.data.exists():
            self._progress.step("initialising PostgreSQL")
            cluster.initialise(postgres.database_password(self._state))
            cluster.make_service_role(postgres.service_password(self._state))
        self._supervisor.ensure_running(self._environment)
        self._supervisor.drop_all_but(set(stack.names()))
        self._register = Register(dict.fromkeys(stack.names()))
        self._start_database(cluster)
        if stack.tls:
            self._start(stack.postgres_tls(stack.tls))
        self._migrate(stack)
        self.start_services([stack.data_store(self._environment), *stack.document_apis(self._environment)])
        self._start(stack.nginx())
        self._announce(stack)
        self._start_back_ends(stack)
        self._progress.line(table(stack, self._state))

    def _prepare(self) -> Stack:
        if self._supervisor.pid() is None:
            for pid in stop_leftovers(self._state):
                self._progress.step(f"stopped process {pid}, left over by a killed supervisor")
        settings = choose_ports(self._settings)
        settings.check_distinct_ports()
        check_free(settings, self._supervisor.own_pids())
        return Stack(settings, self._state, sys.executable, Tls.prepare(settings, self._state))

    def _start_database(self, cluster: postgres.Cluster) -> None:
        """Start PostgreSQL; one of an earlier version, which lacks the data store's role, is given it."""
        self._start(cluster.service())
        password = postgres.service_password(self._state)
        if cluster.refusal(postgres.SERVICE_ROLE, password) is None:
            return
        self._progress.step("giving PostgreSQL the data store's role, for which it is restarted")
        self._supervisor.stop("postgres")
        cluster.make_service_role(password)
        self._start(cluster.service())
        if refusal := cluster.refusal(postgres.SERVICE_ROLE, password):
            raise StackError(f"PostgreSQL does not let the data store's role in: {refusal}")

    def _migrate(self, stack: Stack) -> None:
        """Bring the tables up to date as their owner, before anybody else uses them."""
        owner = stack.owner_environment(self._environment)
        write_atomically(self._state.owner_environment_file, json.dumps(owner))
        log = self._state.logs / "migrate.log"
        with log.open("w") as output:
            ended = subprocess.run(
                [sys.executable, "-m", "data_store", "migrate"],
                cwd=CHECKOUT,
                env={**inherited(self._environment), **owner},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if ended.returncode != 0:
            lines = "".join(f"    {line}\n" for line in tail([log], TELLING_LINES))
            raise StackError(
                f"the database was not brought up to date\n  its last lines ({log}):\n{lines.rstrip()}"
            )

    def start_services(self, services: Sequence[Service]) -> None:
        """Start all at once, but one after the other where some run: they serve while another is restarted."""
        running = self._supervisor.processes()
        if any(service.name in running for service in services):
            for service in services:
                self._start(service)
        else:
            self._start(*services)

    def _start(self, *services: Service) -> None:
        """Start services at once and wait for each; where one fails, those after it are not left behind."""
        began = time.monotonic()
        started = set()
        for service in services:
            if self._supervisor.apply(service):
                started.add(service.name)
            self._register = self._register.having(service)
        self._register.write(self._state)
        for number, service in enumerate(services):
            try:
                self._wait_until_healthy(service)
            except StackError:  # it and they would be started for ever
                self._supervisor.stop(*(later.name for later in services[number:]))
                raise
            took = f"in {time.monotonic() - began:.1f} s" if service.name in started else "already"
            self._progress.step(f"{service.name} runs {took} ({service.url})")

    def _wait_until_healthy(self, service: Service) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        seen: set[int] = set()
        while (problem := service.probe.problem()) is not None:
            process = self._supervisor.processes().get(service.name)
            if process is None or process.state == "FATAL":
                raise self._failure(service, process.problem if process else "it vanished")
            seen.add(process.pid)
            if len(seen - {0}) >= GIVEN_UP_AFTER_STARTS:
                raise self._failure(service, "it ends soon after every start")
            if time.monotonic() > deadline:
                raise self._failure(service, problem)
            self._progress.tick(f"waiting for {service.name}")
            time.sleep(0.1)

    def _failure(self, service: Service, reason: str) -> StackError:
        file = self._supervisor.log_file(service.name)
        lines = "".join(f"    {line}\n" for line in tail([file], TELLING_LINES))
        return StackError(
            f"{service.name} does not run: {reason}\n  its last lines ({file}):\n{lines.rstrip()}"
        )

    def _announce(self, stack: Stack) -> None:
        write_atomically(self._state.endpoints_file, json.dumps(stack.endpoints(), indent=2) + "\n", 0o644)
        self._serving = stack.url
        self._progress.step(f"the APIs serve: {stack.url}")
        self._progress.line(f"  try: {curl_example(stack.url, stack.ca_file)}")

    def _start_back_ends(self, stack: Stack) -> None:
        cache = cache_dir(self._environment)
        back_ends = BackEnds(stack.settings, self._state, self._environment, stack.tls)
        ordered = sorted(
            PROGRAMS, key=lambda program: not is_built(program, cache)
        )  # what there is comes first
        for program in ordered:
            if not is_built(program, cache):
                self._build(program)
            binary = build(program, cache, log=self._build_log(program))[0]
            self._start(back_ends.service(program.name, binary))

    def _build(self, program: Program) -> None:
        """Build in a process group of its own, so that an interruption ends the compiler too."""
        self._progress.step(
            f"building {program.name} (once on this machine; log: {self._build_log(program)})"
        )
        began = time.monotonic()
        command = [sys.executable, "-m", "local_stack", "build", program.name]
        environment = {**self._environment, "ROBIN_STATE_DIR": str(self._state.root)}
        with subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as builder:
            try:
                while not _ended(builder):
                    self._progress.tick(f"building {program.name}, {time.monotonic() - began:.0f} s")
            except BaseException:
                os.killpg(builder.pid, signal.SIGTERM)
                raise
            said = builder.stderr.read() if builder.stderr else ""
        if builder.returncode != 0:
            raise StackError(said.strip() or f"building {program.name} ended with {builder.returncode}")
        self._progress.step(f"built {program.name} in {time.monotonic() - began:.0f} s")

    def _build_log(self, program: Program) -> Path:
        return self._state.logs / f"build-{program.name}.log"

    def _what_runs(self) -> str:
        running = [
            name for name, process in self._supervisor.processes().items() if process.state == "RUNNING"
        ]
        if not running:
            return "nothing of the stack runs"
        lines = [f"still running: {', '.join(running)}"]
        if self._serving:
            lines.append(f"the APIs keep serving: {self._serving}")
        return "\n".join([*lines, "go on with: ./setup-and-run.sh    stop with: ./setup-and-run.sh --down"])


def table(stack: Stack, state: State) -> str:
    """Return where everything is, at the end."""
    endpoints = stack.endpoints()
    places = [
        ("metrics", f"{endpoints['prometheus']}  (Prometheus)"),
        ("traces", f"{endpoints['jaeger']}/api/traces?service=document-api  (Jaeger)"),
        ("logs", f"{endpoints['logs']}/select/vmui/  (VictoriaLogs)"),
        ("alerts", f"{endpoints['alertmanager']}/api/v2/alerts  (Alertmanager)"),
        ("state and logs", str(state.root)),
    ]
    return closing_table(stack.url, places, stack.ca_file)


def _ended(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return False
    return True
