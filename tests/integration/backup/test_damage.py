"""What is lost, cut off or changed: in a system that is backed up, and in an archive that is restored."""

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_store.backup import BackupError
from data_store.backup.archive import COMPLETE, check_complete
from tests.integration.backup.conftest import System, changed, members, packed


def cut(path: Path) -> None:
    """Let a file end too early."""
    path.write_bytes(path.read_bytes()[:-1])


def change_a_byte(path: Path) -> None:
    """Let a file hold something else of the same size."""
    path.write_bytes(b"#" + path.read_bytes()[1:])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (Path.unlink, "its file cannot be read: No such file or directory"),
        (cut, "its file has 4 bytes, not 5"),
        (change_a_byte, "its bytes are not those that were uploaded"),
    ],
)
def test_a_document_that_has_lost_its_bytes_costs_no_other(
    source: System, target: System, damage: Callable[[Path], None], said: str
) -> None:
    """It is named by id and client, with the file; all else comes back, its row as well, but no wrong bytes."""
    hurt = source.store("hurt", b"bytes")
    damage(hurt)
    number = source.sql("SELECT max(id) FROM document_metadata")[0][0]
    archive, missing = source.create_damaged()
    name = f"document {number} of client hurt ({hurt.relative_to(source.uploads)})"
    assert missing.lines() == [f"  {name}: {said}"]

    _, missing = target.restore_damaged(archive)
    assert missing.lines() == [f"  {name}: the backup has not got what was uploaded"]
    assert target.rows() == source.rows()
    hurt.unlink(missing_ok=True)
    assert target.files() == source.files()


def test_a_file_that_cannot_be_read_on_keeps_its_place(source: System, target: System) -> None:
    """What comes after it in the archive is found."""
    broken = source.store("hurt", b"x" * 4096)
    broken.unlink()
    broken.symlink_to("/sys/class/net/lo/speed")  # 4096 bytes by its size, and an error when it is read
    archive, missing = source.create_damaged()
    assert [line.rpartition(": ")[0].rpartition(": ")[2] for line in missing.lines()] == [
        "its file cannot be read"
    ]
    target.restore_damaged(archive)
    assert target.rows() == source.rows()
    assert len(target.files()) == 3


def test_an_output_that_takes_nothing_more_is_no_damage(source: System) -> None:
    """The backup fails, and blames no document."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100_000:  # in the midst of a document
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    with pytest.raises(OSError, match="No space left"):
        source.create_damaged(Full())


def test_all_that_is_damaged_is_counted_and_some_is_named(source: System) -> None:
    """Who mends it does not learn of the next one tomorrow, and reads no endless list."""
    for number in range(23):
        source.store("hurt", str(number).encode()).unlink()
    _, missing = source.create_damaged()
    assert missing.files == 23
    lines = missing.lines()
    assert (len(lines), lines[-1]) == (21, "  and 3 more")


def test_the_wrong_folder_is_no_loss_of_everything(source: System) -> None:
    """Such an archive would be worth little, and take the place of others."""
    source.uploads = source.uploads / "elsewhere"
    with pytest.raises(BackupError, match=r"there is no folder .*/elsewhere/documents: name the UPLOAD_DIR"):
        source.create()


def test_a_row_that_names_no_file_of_robin_is_neither_backed_up_nor_restored(
    source: System, target: System
) -> None:
    """It would be served: an archive may come from anywhere, and say of a file that it is missing."""
    source.store("hurt", b"1").unlink()
    archive, _ = source.create_damaged()
    (key,) = source.sql("SELECT storage_key FROM document_metadata WHERE client_id = 'hurt'")[0]
    other = "../../../" + "x" * (len(key) - 9)
    evil = changed(
        archive, "tables/document_metadata/", lambda rows: rows.replace(key.encode(), other.encode())
    )
    rows = members(evil)["tables/document_metadata/000000.copy"]
    digest = hashlib.sha256(rows).hexdigest()
    contents = json.loads(members(evil)[COMPLETE])
    contents["tables"]["document_metadata"]["sha256"] = digest
    evil = changed(evil, COMPLETE, lambda _: json.dumps(contents).encode())
    with pytest.raises(BackupError, match=r"documents/\.\./.* is not what was uploaded"):
        target.restore(evil)
    assert target.is_untouched

    source.sql("UPDATE document_metadata SET storage_key = '../../etc/passwd' WHERE client_id = 'globex'")
    with pytest.raises(
        BackupError, match=r"client globex names '../../etc/passwd', which is no file of robin"
    ):
        source.create()


def test_more_damage_than_a_backup_knows_of_is_refused(source: System, target: System) -> None:
    """What gets lost of an archive itself is no matter of the system that it is of."""
    source.store("hurt", b"1").unlink()
    archive, _ = source.create_damaged()
    contents = members(archive)
    del contents[next(name for name in contents if name.startswith("documents/"))]
    with pytest.raises(BackupError, match="is not what was uploaded"):
        target.restore(packed(contents))
    assert target.is_untouched


@pytest.mark.parametrize("kept", [0, 100, 600, 3000, 2_500_000, -1100, -12_000])
def test_an_archive_that_is_cut_off_restores_nothing(
    source: System, target: System, tmp_path: Path, kept: int
) -> None:
    """Wherever it ends."""
    archive = source.create()[:kept]
    with pytest.raises(BackupError):
        target.restore(archive)
    assert target.is_untouched
    file = tmp_path / "archive"
    file.write_bytes(archive)
    with pytest.raises(BackupError, match="cut off"):
        check_complete(file)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("documents/", lambda content: content[:-1] + b"#", "is not what was uploaded"),
        ("documents/", lambda content: content[:-1], "is not what was uploaded"),
        (
            "tables/audit_log/",
            lambda content: content.replace(b"nobody", b"Nobody"),
            "rows in it are not those",
        ),
        ("tables/clients/", lambda _: b"", "violates foreign key"),
        ("tables/users/", lambda _: b"nonsense\n", "invalid input syntax"),
        ("complete.json", lambda _: b"{}", "cannot read the backup"),
        ("manifest.json", lambda _: b"no json", "cannot read the backup"),
        (
            "manifest.json",
            lambda content: content.replace(b'"format": 1', b'"format": 2'),
            "cannot read the backup",
        ),
    ],
)
def test_an_archive_that_was_changed_restores_nothing(
    source: System, target: System, name: str, change: Callable[[bytes], bytes], said: str
) -> None:
    """Whatever it is that is not as it was."""
    archive = changed(source.create(), name, change)
    with pytest.raises(BackupError, match=said):
        target.restore(archive)
    assert target.is_untouched


@pytest.mark.parametrize("name", ["documents/../../escaped", "documents//etc/robin", "documents/x", "else"])
def test_a_name_that_is_none_of_robins_is_written_nowhere(
    source: System, target: System, tmp_path: Path, name: str
) -> None:
    """An archive may come from anywhere."""
    contents = members(source.create())
    manifest = contents.pop("manifest.json")
    with pytest.raises(BackupError):
        target.restore(packed({"manifest.json": manifest, name: b"evil", **contents}))
    assert target.is_untouched
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"] == []


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "one too many"])
def test_files_and_rows_must_be_of_each_other(source: System, target: System, *, missing: bool) -> None:
    """A row without bytes would be a document that cannot be had."""
    contents = members(source.create())
    if missing:
        del contents[next(name for name in contents if name.startswith("documents/"))]
    else:
        manifest = contents.pop("manifest.json")
        extra = f"documents/{'0' * 32}/{'1' * 32}"
        contents = {"manifest.json": manifest, extra: b"x", **contents}
    with pytest.raises(BackupError, match="is not what was uploaded"):
        target.restore(packed(contents))
    assert target.is_untouched
