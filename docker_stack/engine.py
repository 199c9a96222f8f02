"""The Docker command: which of its parts are there, and what they answer."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from local_stack.errors import StackError

ANSWER_SECONDS = 15.0
OLDEST_COMPOSE = 2
COMPOSE_COMMANDS = (("docker", "compose"), ("docker-compose",))


@dataclass(frozen=True)
class Answer:
    """What a command said, and whether it went well."""

    well: bool
    output: str
    error: str

    @property
    def reason(self) -> str:
        """The last line of its complaint."""
        lines = (self.error or self.output).strip().splitlines()
        return lines[-1].strip() if lines else "no reason given"


def ask(command: Sequence[str], *, seconds: float = ANSWER_SECONDS) -> Answer:
    """Run a command with a time limit; one that is missing or too slow did not go well."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False
        )
    except FileNotFoundError:
        return Answer(well=False, output="", error=f"there is no command {command[0]}")
    except subprocess.TimeoutExpired:
        return Answer(well=False, output="", error=f"no answer within {seconds:g} s")
    return Answer(result.returncode == 0, result.stdout, result.stderr)


def answer_of(command: Sequence[str]) -> str:
    """Return what a command prints; one that does not go well is an error with its reason."""
    answer = ask(command)
    if not answer.well:
        raise StackError(f"{' '.join(command)}: {answer.reason}")
    return answer.output


def engine_version() -> Answer:
    """Ask the engine for its version."""
    answer = ask(("docker", "version", "--format", "{{.Server.Version}}"))
    # Older clients end with 0 where no engine answers, and print nothing.
    return answer if answer.output.strip() else Answer(well=False, output="", error=answer.error)


def find_compose() -> tuple[str, ...] | None:
    """Return the command of Docker Compose 2 or newer, whichever of its two names it has."""
    for command in COMPOSE_COMMANDS:
        answer = ask((*command, "version", "--short"))
        if answer.well and _major(answer.output) >= OLDEST_COMPOSE:
            return command
    return None


def has_image(image: str) -> bool:
    """Whether the engine has an image already."""
    return ask(("docker", "image", "inspect", "--format", "{{.Id}}", image)).well


def registry_has(image: str) -> Answer:
    """Ask the image's registry for its manifest only: a few kilobytes. A mirror of the engine's own is not asked."""
    return ask(("docker", "manifest", "inspect", image))


def _major(version: str) -> int:
    number = version.strip().removeprefix("v").split(".")[0]
    return int(number) if number.isdecimal() else 0
