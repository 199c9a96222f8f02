"""`restart`: new containers of both services beside the old ones, which end when the new ones are well."""

import time
from collections.abc import Sequence

from docker_stack.compose import Compose
from local_stack.errors import StackError, UsageError
from local_stack.progress import Progress

RESTARTED = ("data-store", "document-api")
# The load balancers ask Docker's name server every 2 s who is there.
KNOWN_SECONDS = 3.0


def restart(compose: Compose, wanted: Sequence[str], progress: Progress) -> None:
    """Replace the containers of these services, of both without a name; a request is lost by none that ends well."""
    if not compose.runs():
        raise StackError("the composed stack does not run; start it with: ./setup-and-run.sh --docker")
    names = [name.replace("_", "-") for name in wanted]
    if unknown := [name for name in names if name not in RESTARTED]:
        raise UsageError(
            f"{unknown[0]!r} is no service that can be restarted; there are: {', '.join(RESTARTED)}"
        )
    for service in RESTARTED:
        if not names or service in names:
            began = time.monotonic()
            _replace(compose, service)
            progress.step(f"{service} runs anew after {time.monotonic() - began:.1f} s")


def _replace(compose: Compose, service: str) -> None:
    old = compose.container_ids(service)
    compose.scale(service, 2 * len(old))
    time.sleep(KNOWN_SECONDS)
    for container in old:
        compose.remove(container)
