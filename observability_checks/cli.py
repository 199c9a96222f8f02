"""Command line: what to check, where, how hard; exit 0 passed, 1 a check failed, 2 could not run."""

import argparse
import json
import os
import ssl
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from document_api.settings import DocumentApiSettings
from observability_checks import options as settings
from observability_checks.api import Api
from observability_checks.checks import CHECKS
from observability_checks.context import Context
from observability_checks.credentials import Credentials
from observability_checks.options import SERVERS, Options, Targets
from observability_checks.polling import Deadline, wait_until_none
from observability_checks.preflight import CouldNotRunError, reach_back_ends
from observability_checks.report import Reporter, make_console
from observability_checks.results import Results
from observability_checks.story_view import render
from telemetry_queries.failures import describe
from telemetry_queries.story import Story, StoryTeller, unsettled

PASSED, FAILED, COULD_NOT_RUN = 0, 1, 2
Number = TypeVar("Number", int, float)
_TIMEOUT_SECONDS = 30.0
_MAX_UPLOAD_BYTES = DocumentApiSettings.model_fields["max_upload_bytes"].default
# A request that nobody knows after this time is not on its way: telemetry takes up to 5 s.
_EXPLAIN_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        targets = _targets(given)
        with httpx.Client(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=_trust(targets)) as http:
            return _explain(given, targets, http) if given.explain else _check(given, targets, http)
    except (CouldNotRunError, httpx.InvalidURL) as error:
        sys.stderr.write(f"{error}\n")
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return COULD_NOT_RUN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="test_observability.py",
        description="Sends requests to a running robin and looks for what they must leave in traces, metrics and logs.",
        epilog="Exit codes: 0 all passed, 1 a check failed, 2 could not run.",
    )
    what = parser.add_argument_group("what to do (everything, when nothing is chosen)")
    what.add_argument("--all", action="store_true", help="run every check")
    for name in CHECKS:
        what.add_argument(f"--{name}", action="store_true", help=f"run the {name} check")
    what.add_argument(
        "--explain",
        metavar="CORRELATION_ID",
        type=_correlation_id,
        help="tell the whole story of one request",
    )
    _add_amounts(parser)
    _add_thresholds(parser)
    where = parser.add_argument_group(
        "where (option, else variable, else what ./setup-and-run.sh runs, else the standard port)"
    )
    for server in SERVERS:
        where.add_argument(
            server.option,
            metavar="URL",
            help=f"{server.title} [{server.variable}; {server.default or 'through nginx only'}]",
        )
    where.add_argument(
        "--credentials",
        type=Path,
        metavar="FILE",
        default=os.environ.get("ROBIN_CREDENTIALS"),
        help="a line for each client with its API key, and one with - and an operator's; needed with AUTH_MODE=required"
        " [ROBIN_CREDENTIALS]",
    )
    where.add_argument(
        "--ca-file",
        metavar="FILE",
        help="authority that signed nginx's certificate [CA_FILE; the known ones]",
    )
    return parser


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("how much")
    how.add_argument(
        "--clients", type=_positive(int), default=3, metavar="N", help="clients that upload at once [3]"
    )
    how.add_argument("--files", type=_positive(int), default=2, metavar="N", help="files of each client [2]")
    how.add_argument(
        "--load-factor",
        type=_positive(float),
        default=1.0,
        metavar="N",
        help="N times 500 requests of load [1]",
    )
    how.add_argument(
        "--concurrency",
        type=_positive(int),
        default=16,
        metavar="N",
        help="requests of the load at once [16]",
    )
    how.add_argument(
        "--deadline",
        type=_positive(float),
        default=30.0,
        metavar="SECONDS",
        help="time for telemetry to arrive [30]",
    )
    how.add_argument("--verbose", action="store_true", help="show every check as it ends")
    how.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")


def _add_thresholds(parser: argparse.ArgumentParser) -> None:
    limits = parser.add_argument_group("thresholds and limits")
    limits.add_argument(
        "--max-p95", type=_positive(float), default=2.0, metavar="SECONDS", help="slowest 95th percentile [2]"
    )
    limits.add_argument(
        "--max-errors",
        type=_percent,
        default=10.0,
        metavar="PERCENT",
        help="highest share of failed requests [10]",
    )
    limits.add_argument(
        "--min-rate",
        type=_positive(float),
        default=100.0,
        metavar="RPS",
        help="lowest requests a second [100]",
    )
    limits.add_argument(
        "--max-upload-bytes",
        type=_positive(int),
        metavar="N",
        default=os.environ.get("MAX_UPLOAD_BYTES", str(_MAX_UPLOAD_BYTES)),
        help="limit that uploads must exceed to be refused [MAX_UPLOAD_BYTES; %(default)s]",
    )


def _positive(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    def positive(text: str) -> Number:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not greater than 0")
        return value

    positive.__name__ = f"positive {kind.__name__}"
    return positive


def _percent(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100")
    return value


def _correlation_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a UUID") from None


def _targets(given: argparse.Namespace) -> Targets:
    try:
        local = settings.local_stack_endpoints(settings.state_dir())
    except ValueError as error:
        raise CouldNotRunError(str(error)) from error
    chosen = {server.key: getattr(given, f"{server.key}_url") for server in SERVERS}
    chosen["ca_file"] = given.ca_file
    return settings.targets(chosen, os.environ, local)


def _trust(targets: Targets) -> ssl.SSLContext:
    try:
        return targets.trust()
    except OSError as error:
        raise CouldNotRunError(f"cannot trust {targets.ca_file}: {error}") from error


def _options(given: argparse.Namespace) -> Options:
    chosen = tuple(name for name in CHECKS if getattr(given, name))
    return Options(
        checks=tuple(CHECKS) if given.all or not chosen else chosen,
        verbose=given.verbose,
        clients=given.clients,
        files=given.files,
        load_factor=given.load_factor,
        concurrency=given.concurrency,
        deadline=given.deadline,
        max_upload_bytes=given.max_upload_bytes,
        max_p95_seconds=given.max_p95,
        max_error_percent=given.max_errors,
        min_rate=given.min_rate,
        json_file=given.json,
    )


def _check(given: argparse.Namespace, targets: Targets, http: httpx.Client) -> int:
    options = _options(given)
    reporter = Reporter(make_console(), verbose=options.verbose)
    results = Results(reporter.check)
    api = Api(http, targets.one("nginx"), _credentials(given, options.clients))
    context = _context(options, targets, api, results, reporter)
    if options.json_file:
        _write(options.json_file, {})  # what cannot be written is not to be found out at the end
    for name in options.checks:
        reporter.heading(name)
        _run(name, context)
    if options.json_file:
        _write(options.json_file, results.as_dict())
    reporter.summary(results)
    return FAILED if results.failures else PASSED


def _run(name: str, context: Context) -> None:
    """Run one check; a server that goes away while it runs fails it, and the others still run."""
    try:
        CHECKS[name](context)
    except (httpx.HTTPError, ValueError) as error:
        problem = describe(error) if isinstance(error, httpx.HTTPError) else f"an answer is no JSON: {error}"
        context.traffic.counted = False
        context.results.add(name, "not finished", [problem], "")


def _credentials(given: argparse.Namespace, clients: int) -> Credentials:
    if given.credentials is None:
        return Credentials()
    try:
        credentials = Credentials.read(given.credentials)
    except (OSError, ValueError) as error:
        raise CouldNotRunError(f"cannot use {given.credentials}: {error}") from error
    if clients > len(credentials.clients):
        raise CouldNotRunError(
            f"{given.credentials} has keys of {len(credentials.clients)} clients, --clients wants {clients}"
        )
    return credentials


def _context(options: Options, targets: Targets, api: Api, results: Results, reporter: Reporter) -> Context:
    back_ends = reach_back_ends(api.client, targets, api=api)
    return Context(options, targets, api.client, api, back_ends, results, reporter)


def _explain(given: argparse.Namespace, targets: Targets, http: httpx.Client) -> int:
    story = _settled_story(
        StoryTeller(reach_back_ends(http, targets)),
        given.explain,
        Deadline(min(given.deadline, _EXPLAIN_SECONDS)),
    )
    if given.json:
        _write(given.json, story.as_dict())
    render(story, make_console())
    return PASSED if story.found else FAILED


def _settled_story(teller: StoryTeller, correlation_id: str, deadline: Deadline) -> Story:
    """Tell the story once all of it has arrived, or as much of it as there is at the end."""
    story = teller.tell(correlation_id)

    def missing() -> list[str]:
        nonlocal story
        story = teller.tell(correlation_id)
        return unsettled(story)

    if unsettled(story):
        wait_until_none(missing, deadline)
    return story


def _write(file: Path, content: dict[str, Any]) -> None:
    try:
        file.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise CouldNotRunError(f"cannot write {file}: {error.strerror}") from error
