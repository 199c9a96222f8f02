"""`./run-tests.sh --faults [NAME...]`: breaks a stack of its own under load in every way, and prints what became of it.

With --soak MINUTES it only sends requests, and looks whether what the processes hold grows.
"""

import argparse
import sys

import httpx

from tests.e2e.conftest import running_stack
from tests.faults.catalogue import FAULTS, Fault
from tests.faults.load import OK
from tests.faults.report import table
from tests.faults.run import Outcome, run
from tests.faults.soak import soak
from tests.faults.soak import table as table_of_soak

# Alerting 40 times faster, so that what would fire does within the time that is watched.
SETTINGS = {"ALERT_SPEEDUP": "40"}


def main() -> int:
    """Run the faults whose names have one of the words in them; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="./run-tests.sh --faults", description=__doc__)
    parser.add_argument("name", nargs="*", help="part of a fault's name; none: all")
    parser.add_argument("--list", action="store_true", help="show the names of the faults")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="only send requests, for so long")
    options = parser.parse_args()
    if options.soak:
        return _soak(options.soak * 60)
    chosen = [
        fault for fault in FAULTS if not options.name or any(part in fault.name for part in options.name)
    ]
    if options.list or not chosen:
        print(*(fault.name for fault in FAULTS), sep="\n")
        return 0 if options.list else 2
    outcomes = _run_all(chosen)
    print(table(outcomes))
    broken = [f"{outcome.fault}: {each}" for outcome in outcomes for each in outcome.broken]
    print(*broken, f"{len(broken)} promises broken", sep="\n")
    return 1 if broken else 0


def _soak(seconds: float) -> int:
    with running_stack({}) as stack:
        found = soak(stack, seconds)
    print(table_of_soak(found))
    print(f"answers in {seconds:.0f} s: {dict(found.statuses)}", *found.broken, sep="\n")
    return 1 if found.broken or set(found.statuses) != {OK} else 0


def _run_all(chosen: list[Fault]) -> list[Outcome]:
    outcomes = []
    with running_stack(SETTINGS) as stack, httpx.Client(timeout=60, trust_env=False) as http:
        for fault in chosen:
            print(f"... {fault.name}", file=sys.stderr, flush=True)
            outcomes.append(run(fault, stack, http))
            print(
                table(outcomes[-1:]).splitlines()[-1],
                *outcomes[-1].broken,
                sep="\n",
                file=sys.stderr,
                flush=True,
            )
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
