"""The virtual environment as setup-and-run.sh and run-tests.sh make it."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).parents[2]
INSTALL: Final = 'set -eu; source "$1"; install_requirements "$2" "$3"'


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A list of requirements that needs no network."""
    file = tmp_path / "requirements.txt"
    file.write_text("# none\n")
    return file


def install(venv: Path, requirements: Path) -> str:
    """Make the environment as the scripts do, and return what was said about it."""
    script = CHECKOUT / "local_stack" / "python-env.sh"
    command = ["bash", "-c", INSTALL, "bash", script, venv, requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_environment_is_made_once_and_anew_in_another_place(tmp_path: Path, requirements: Path) -> None:
    """Its programs name their interpreter's place: after a move they would start nothing, or the old one."""
    made = install(tmp_path / "old", requirements)
    assert "making the virtual environment" in made
    assert install(tmp_path / "old", requirements) == ""
    (tmp_path / "old").rename(tmp_path / "new")
    assert install(tmp_path / "new", requirements) == made
    subprocess.run([tmp_path / "new" / "bin" / "pip", "--version"], check=True, capture_output=True)


def test_an_environment_of_another_python_is_made_anew(tmp_path: Path, requirements: Path) -> None:
    """After an upgrade of the system the link leads to a Python that finds none of the packages."""
    venv = tmp_path / "venv"
    made = install(venv, requirements)
    (venv / ".made-for").write_text(f"3.0 {venv}\n")
    (venv / "left over").touch()
    assert install(venv, requirements) == made
    assert not (venv / "left over").exists()
