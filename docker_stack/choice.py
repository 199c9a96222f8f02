"""Docker or local processes: which way there is, and why."""

import shutil
from dataclasses import dataclass
from typing import Literal

from docker_stack.compose import COMPOSE_FILE, Compose
from docker_stack.engine import has_image, registry_has
from local_stack.errors import StackError
from local_stack.state import State

RUNS_ALREADY = "it runs that way already"

Way = Literal["docker", "local"]


@dataclass(frozen=True)
class Choice:
    """A way to run the system, and what speaks for it."""

    way: Way
    reason: str

    def __str__(self) -> str:
        """As one line for the person in front of the terminal."""
        how = "with Docker" if self.way == "docker" else "as local processes, without Docker"
        return f"running {how}: {' '.join(self.reason.split())}"


def choose(state: State) -> Choice:
    """Choose how to start: as it runs already, else with Docker where it can, else as processes."""
    if state.supervised:
        return Choice("local", RUNS_ALREADY)
    if not COMPOSE_FILE.exists():
        return Choice("local", "there is no docker-compose.yml")
    if shutil.which("docker") is None:
        return Choice("local", "no docker command is installed")
    try:
        compose = Compose.find()
        return Choice("docker", RUNS_ALREADY) if compose.runs() else _by_images(compose)
    except StackError as error:
        return Choice("local", str(error))


def running_way(state: State) -> Way:
    """Say which way runs now, for `status`, `down` and `logs`; local when none does."""
    if state.supervised or shutil.which("docker") is None:
        return "local"
    try:
        return "docker" if Compose.find().runs() else "local"
    except StackError:
        return "local"  # what cannot be asked does not run


def _by_images(compose: Compose) -> Choice:
    images = compose.model.images
    missing = [image for image in images if not has_image(image)]
    if not missing:
        return Choice("docker", f"an engine answers and has all {len(images)} images")
    registry = registry_has(missing[0])
    if not registry.well:
        return Choice("local", f"no registry answers for the image {missing[0]}: {registry.reason}")
    return Choice("docker", f"an engine answers, and a registry for the {len(missing)} images still to pull")
