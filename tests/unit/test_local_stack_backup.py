"""A backup as one file: there as a whole or not at all."""

import io
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from data_store.backup import INCOMPLETE, BackupError
from data_store.backup.archive import COMPLETE, Reader, Writer, check_complete
from local_stack.backup import back_up, restore
from local_stack.errors import StackError, UsageError
from tests.waiting import eventually


def archive(*names: str) -> bytes:
    """Return an archive with members of these names."""
    output = io.BytesIO()
    writer = Writer(output, 0)
    for name in names:
        writer.add(name, name.encode())
    writer.close()
    return output.getvalue()


def printing(content: bytes, ending: int = 0) -> tuple[str, ...]:
    """Return a command that prints this and ends so."""
    return (
        sys.executable,
        "-c",
        f"import sys; sys.stdout.buffer.write({content!r}); sys.stdout.flush(); sys.exit({ending})",
    )


def test_a_backup_takes_the_place_of_the_one_before_when_it_is_whole(tmp_path: Path) -> None:
    """It is its owner's alone, whatever the umask, and nothing else is left."""
    file = tmp_path / "backup.tar"
    file.write_text("the one before")
    whole = archive("manifest.json", COMPLETE)
    before = os.umask(0)
    try:
        assert back_up(printing(whole), str(file)) == 0
    finally:
        os.umask(before)
    assert file.read_bytes() == whole
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_backup_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    """And its exit code."""
    file = tmp_path / "backup.tar"
    file.write_text("the one before")
    assert back_up(printing(archive(COMPLETE), ending=3), str(file)) == 3
    assert file.read_text() == "the one before"
    assert list(tmp_path.iterdir()) == [file]


def test_a_backup_without_some_bytes_leaves_the_one_before_as_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That one may have them; the newer one lies beside it, in the place of another such one."""
    file, incomplete = tmp_path / "backup.tar", tmp_path / "backup.tar.incomplete"
    file.write_text("the one before")
    for whole in (archive("manifest.json", COMPLETE), archive("documents/x", COMPLETE)):
        assert back_up(printing(whole, ending=INCOMPLETE), str(file)) == INCOMPLETE
        assert incomplete.read_bytes() == whole
        assert capsys.readouterr().err == f"it is {incomplete}; {file} is for a whole one\n"
    assert file.read_text() == "the one before"
    assert set(tmp_path.iterdir()) == {file, incomplete}


@pytest.mark.parametrize("said", [b"", archive("manifest.json"), archive("manifest.json", COMPLETE)[:1100]])
def test_a_backup_that_is_cut_off_is_none(tmp_path: Path, said: bytes) -> None:
    """Also where whoever wrote it believes that all went well."""
    with pytest.raises(StackError, match=r"backup\.tar is no whole backup"):
        back_up(printing(said), str(tmp_path / "backup.tar"))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_that_cannot_be_written_is_not_begun(tmp_path: Path) -> None:
    """It may take an hour to find out."""
    for target in (tmp_path, tmp_path / "nowhere" / "backup.tar"):
        with pytest.raises(UsageError, match="is no file that could be written"):
            back_up(("this-is-not-run",), str(target))


def test_a_backup_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a file nor whoever writes it."""
    program = """
import argparse, sys
from local_stack.backup import run
script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
run(argparse.Namespace(command="backup", file=sys.argv[1]), (sys.executable, "-c", script), "uploads")
"""
    with subprocess.Popen((sys.executable, "-c", program, str(tmp_path / "backup.tar"))) as ours:
        (written,) = eventually(lambda: [each for each in tmp_path.iterdir() if each.read_text()], seconds=60)
        writer = psutil.Process(int(written.read_text()))
        ours.terminate()
        assert ours.wait(60) != 0
    assert list(tmp_path.iterdir()) == []
    assert not writer.is_running()


def test_a_backup_goes_to_stdout_where_one_wants(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """To be compressed, encrypted or sent elsewhere."""
    assert back_up(printing(b"bytes", ending=3), "-") == 3
    assert capfdbinary.readouterr().out == b"bytes"


def test_only_a_whole_archive_is_given_to_a_restore(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Nothing is touched by one that is cut off or not there."""
    file = tmp_path / "backup.tar"
    with pytest.raises(UsageError, match="there is no file"):
        restore(("this-is-not-run",), str(file))
    whole = archive("manifest.json", COMPLETE)
    reading = (
        sys.executable,
        "-c",
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.exit(4)",
    )
    file.write_bytes(archive("manifest.json"))
    with pytest.raises(StackError, match="is no whole backup"):
        restore(("this-is-not-run",), str(file))
    file.write_bytes(whole)
    assert restore(reading, str(file)) == 4
    assert capfdbinary.readouterr().out == whole


def test_an_archive_is_an_ordinary_tar_of_any_size(tmp_path: Path) -> None:
    """Names longer than a header's field, members beyond 8 GiB."""
    file = tmp_path / "large.tar"
    name, size = f"documents/{'c' * 128}/{'0' * 32}", 9 * 1024**3
    with file.open("wb") as output:
        writer = Writer(output, 0)
        writer.begin(name, size)
        output.seek(size, os.SEEK_CUR)  # a hole: nothing is written
        writer.end(size)
        writer.add(COMPLETE, b"{}")
        writer.close()
    check_complete(file)
    with file.open("rb") as stream:
        reader = Reader(stream)
        assert reader.name == name
        assert reader.read(10) == bytes(10)


def test_what_is_no_file_in_an_archive_is_refused() -> None:
    """Links lead elsewhere."""
    header = bytearray(archive("x"))
    header[156:157] = b"2"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    with pytest.raises(BackupError, match="is no file"):
        Reader(io.BytesIO(bytes(header)))
