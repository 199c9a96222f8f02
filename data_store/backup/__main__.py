"""Backs up to stdout and restores from stdin: `python -m data_store.backup create|restore --uploads FOLDER`."""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NoReturn

from data_store.backup import INCOMPLETE, BackupError
from data_store.backup.create import create
from data_store.backup.damage import Damage
from data_store.backup.files import note_backup
from data_store.backup.manifest import Manifest
from data_store.backup.progress import Progress
from data_store.backup.restore import restore
from data_store.backup.settings import BackupSettings
from data_store.migrations import MigrationError
from observability.service import load_settings

_FAILED: Final = 1
_MISUSED: Final = 2
_INTERRUPTED: Final = 130
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)
_KEEP: Final = (
    "not in it, keep it beside it: API_KEY_PEPPER (without Docker the file api-key-pepper of the state folder); with another one no"
    " API key of the backup is valid"
)
_KEEP_BYTES: Final = (
    "not in it, keep it beside it: what is in {url}, by versions or a copy of that bucket (docs/backup.md)"
)
_BYTES_NEEDED: Final = (
    "not in it: the documents' bytes; {url} must have them as they were then (docs/backup.md)"
)
_OTHER_PEPPER: Final = (
    "warning: API_KEY_PEPPER is not that of the backup: none of its API keys is valid here; set the other one and start again,"
    " or issue new keys"
)


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; what fails is one line on stderr."""
    options = _parser().parse_args(arguments)
    way = sys.stdout if options.command == "create" else sys.stdin
    if way.isatty():
        return _fail("an archive is no text for a terminal: name a file with > or <", _MISUSED)
    for number in _ENDING:
        signal.signal(number, _end)
    run = _create if options.command == "create" else _restore
    try:
        return run(load_settings(BackupSettings), options.uploads)
    except (BackupError, MigrationError, OSError) as error:
        return _fail(str(error), _FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)


def _end(*_: object) -> NoReturn:
    """Clear away what is half done, and let nobody disturb that."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _create(settings: BackupSettings, uploads: Path) -> int:
    progress = Progress()
    output = sys.stdout.buffer
    pepper = settings.api_key_pepper.get_secret_value()
    url = settings.storage_url
    taken, damage = create(output, settings.owner_url, pepper, uploads, progress, storage_url=url)
    output.flush()
    progress.line(f"backed up {_told(taken)}, in {progress.seconds:.1f} s")
    if url is not None:
        progress.line(_KEEP_BYTES.format(url=url))
    progress.line(_KEEP)
    if not damage.files:
        _note(taken, uploads, progress)
    return _ended(damage, progress)


def _note(taken: Manifest, uploads: Path, progress: Progress) -> None:
    try:
        note_backup(uploads, taken.taken_at.timestamp())
    except OSError as error:
        progress.line(f"warning: how old this backup gets will not be told: {error}")


def _restore(settings: BackupSettings, uploads: Path) -> int:
    progress = Progress()
    url = settings.storage_url
    # Unbuffered: a buffer reads again and again in one go, and would not hear of a signal that comes between two reads.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stream:
        taken, damage = restore(
            *(stream, settings.owner_url, settings.service_role, uploads, progress), storage_url=url
        )
    progress.line(f"restored {_told(taken)}, in {progress.seconds:.1f} s")
    if url is not None:
        progress.line(_BYTES_NEEDED.format(url=url))
    if not taken.pepper.matches(settings.api_key_pepper.get_secret_value()):
        progress.line(_OTHER_PEPPER)
    return _ended(damage, progress)


def _ended(damage: Damage, progress: Progress) -> int:
    """Say which bytes are missing and return the exit code."""
    if not damage.files:
        return 0
    progress.line(
        f"incomplete: without the bytes of {damage.files} files, which were lost or damaged (what to do: docs/backup.md):"
    )
    for line in damage.lines():
        progress.line(line)
    return INCOMPLETE


def _told(taken: Manifest) -> str:
    at = datetime.strftime(taken.taken_at, "%Y-%m-%d %H:%M:%SZ")
    size = f"{taken.document_bytes / 1e6:.1f} MB" if taken.documents_at is None else "without their bytes"
    return f"{taken.documents} documents ({size}) as of {at}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_store.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("create", "write an archive of the whole system to stdout, while it serves"),
        ("restore", "bring an archive on stdin back into an empty system"),
    ):
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument(
            "--uploads", type=Path, required=True, metavar="FOLDER", help="UPLOAD_DIR of document_api"
        )
    return parser


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
