"""Images that docker-compose.yml names, and the Dockerfiles of our own."""

import re
import tomllib
from pathlib import Path

from tests.compose import DOCKERFILES, ROOT, SERVICES, SETTINGS, every_service, own_service

TAKEN = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)


@every_service
def test_every_image_has_a_pinned_tag(name: str) -> None:
    """Two machines run the same."""
    _, _, tag = SERVICES[name]["image"].rpartition(":")
    assert re.fullmatch(r"v?\d+(\.\d+)*", tag)


@own_service
def test_our_own_images_carry_the_projects_version(name: str) -> None:
    """The tag says what is inside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SERVICES[name]["image"] == f"robin/{name}:{project['version']}"


def test_each_image_is_built_once() -> None:
    """Two builds of one image at once fail where the engine stores images with containerd; nobody else has it to pull."""
    building = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(building) == len(set(building)) == len(SETTINGS)
    for service in SERVICES.values():
        if service["image"] in building and "build" not in service:
            assert service["pull_policy"] == "never"


def copied(dockerfile: Path) -> set[str]:
    """Return what a Dockerfile takes out of the checkout."""
    return {source for line in TAKEN.findall(dockerfile.read_text()) for source in line.split()}


def test_what_is_copied_is_sent_to_the_engine_and_nothing_else() -> None:
    """The .dockerignore lets through what the images hold."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert let_through == set().union(*map(copied, DOCKERFILES.values()))
    assert all((ROOT / source).exists() for source in let_through)


@own_service
class TestDockerfile:
    """What the images are made of."""

    def test_the_last_stage_runs_as_an_ordinary_user(self, name: str) -> None:
        """Given by number, so that everybody can tell that it is not root."""
        last = DOCKERFILES[name].read_text().rpartition("\nFROM ")[2]
        assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
        assert "pip" not in re.sub(r"#.*", "", last)

    def test_packages_are_pinned_wheels_with_hashes(self, name: str) -> None:
        """Nothing is compiled, and nothing else than what was tested is installed."""
        text = DOCKERFILES[name].read_text()
        assert f"requirements/{name}.txt" in text
        assert "--require-hashes" in text
        assert "--only-binary :all:" in text

    def test_only_the_service_and_the_shared_packages_are_copied(self, name: str) -> None:
        """Neither the other service nor the tests."""
        reading = {"telemetry_queries"} if name == "document-api" else set()
        assert copied(DOCKERFILES[name]) == {
            f"requirements/{name}.txt",
            "access",
            "observability",
            name.replace("-", "_"),
            *reading,
        }

    def test_it_needs_no_frontend_from_a_registry(self, name: str) -> None:
        """Every builder reads it: no syntax line, no heredoc, no linked copy."""
        text = DOCKERFILES[name].read_text()
        assert "# syntax=" not in text
        assert "<<" not in text
        assert "--link" not in text
