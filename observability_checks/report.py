"""What the person at the terminal sees: progress while it runs, each check when asked for, a table at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.box import ASCII, ROUNDED
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from observability_checks.results import Check, Results

_PLAIN_WIDTH = 120


def make_console() -> Console:
    """A console that is plain and wide enough when its output goes to a file or a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH, no_color=True)


class Progressing:
    """Counts the steps of one piece of work."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def step(self) -> None:
        """One more is done."""
        self._progress.advance(self._task)


class Reporter:
    """Writes to one console."""

    def __init__(self, console: Console, *, verbose: bool = False) -> None:
        self.console = console
        self._verbose = verbose

    def line(self, text: str) -> None:
        """Write one line as it is, however long."""
        self.console.print(text, markup=False, soft_wrap=True)

    def heading(self, text: str) -> None:
        """Say what begins."""
        self.console.print(f"\n{text}", style="bold", markup=False, soft_wrap=True)

    def check(self, check: Check) -> None:
        """Show a check as it ends: unless it passed always (the reasons come at the end), else when asked for."""
        if check.passed and not self._verbose:
            return
        word, style = _verdict(check)
        self.console.print(f"  {word}", style=style, end=" ")
        self.line(f"{check.name}: {check.found}" if check.passed else check.name)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Progressing]:
        """A progress bar on a terminal, one line elsewhere."""
        if not self.console.is_terminal:
            self.line(f"  {title} ({total})")
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        ) as progress:
            yield Progressing(progress, title, total)

    def summary(self, results: Results) -> None:
        """Tables of all checks and figures, the failures with their details, and the verdict as the last line."""
        self.console.print()
        self.console.print(self._checks_table(results))
        if results.figures:
            self.console.print(self._figures_table(results))
        for check in results.skipped:
            self.line(f"SKIPPED {check.group}: {check.name}: {check.skipped}")
        for check in results.failures:
            self.line(f"FAILED {check.group}: {check.name}")
            for problem in check.problems:
                self.line(f"  {problem}")
        self.line(results.verdict)

    def _table(self, *columns: str) -> Table:
        table = Table(box=ROUNDED if self.console.is_terminal else ASCII)
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number else "left")
        return table

    def _checks_table(self, results: Results) -> Table:
        table = self._table("check", "passed", "failed", "skipped", "waited")
        for group in dict.fromkeys(check.group for check in results.checks):
            checks = [check for check in results.checks if check.group == group]
            counts = (
                sum(check.passed for check in checks),
                sum(bool(check.problems) for check in checks),
                sum(bool(check.skipped) for check in checks),
            )
            waited = sum(check.seconds for check in checks)
            table.add_row(group, *map(str, counts), f"{waited:.1f} s")
        return table

    def _figures_table(self, results: Results) -> Table:
        table = self._table("load", "requests", "rate", "p50", "p95", "p99", "errors")
        for name, figures in results.figures.items():
            table.add_row(
                name,
                f"{figures['requests']:.0f}",
                f"{figures['requests_per_second']:.0f}/s",
                *(f"{figures[f'p{percent}_seconds'] * 1000:.1f} ms" for percent in (50, 95, 99)),
                f"{figures['error_percent']:.1f} %",
            )
        return table


def _verdict(check: Check) -> tuple[str, str]:
    """A word of four letters, and its style."""
    if check.skipped:
        return "skip", "yellow"
    return ("ok  ", "green") if check.passed else ("FAIL", "bold red")
