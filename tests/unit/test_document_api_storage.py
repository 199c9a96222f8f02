"""Bytes on disk: all or nothing, whatever happens on the way."""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from document_api.documents import folder
from document_api.documents.incoming import IncomingFile, StorageFull
from document_api.documents.storage import FileStorage, folder_of
from observability import Problem, Unavailable

BIG = b"0123456789abcdef" * 200_000  # more than the buffer: some of it is written before the end


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """An empty storage."""
    found = FileStorage(tmp_path)
    found.prepare()
    return found


def files(root: Path) -> list[Path]:
    """Return every file below a folder."""
    return [path for path in root.rglob("*") if path.is_file()]


def place(root: Path, file: IncomingFile) -> Path:
    """Return where a saved document is."""
    return root / "documents" / file.key


async def kept(storage: FileStorage, *pieces: bytes) -> IncomingFile:
    """Store a document."""
    async with storage.receive("acme") as file:
        for piece in pieces:
            await file.write(piece)
        await file.save()
        file.keep()
        file.confirm()
    return file


@pytest.mark.parametrize("pieces", [(b"x",), (b"a", b"", b"b"), (BIG,), (BIG[:-1], BIG)])
async def test_what_is_kept_are_the_bytes_that_came(
    storage: FileStorage, tmp_path: Path, pieces: tuple[bytes, ...]
) -> None:
    """Content, size and digest agree, and nothing else lies around."""
    file = await kept(storage, *pieces)

    content = b"".join(pieces)
    assert place(tmp_path, file).read_bytes() == content
    assert file.size == len(content)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert files(tmp_path) == [place(tmp_path, file)]
    assert file.key.startswith(f"{folder_of('acme')}/")


async def test_two_documents_never_share_a_name(storage: FileStorage) -> None:
    """Not even the same bytes of the same client."""
    assert (await kept(storage, b"x")).key != (await kept(storage, b"x")).key


async def test_before_it_is_saved_a_document_is_not_below_documents(
    storage: FileStorage, tmp_path: Path
) -> None:
    """Half a document never has a document's name."""
    async with storage.receive("acme") as file:
        await file.write(BIG)
        await file.write(BIG)  # so that the first has been written
        assert files(tmp_path / "documents") == []
        assert len(files(tmp_path / "incoming")) == 1


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError()])
async def test_leaving_without_keeping_removes_the_bytes(
    storage: FileStorage, tmp_path: Path, error: BaseException, *, saved: bool
) -> None:
    """A failure before or after the save, a cancellation as well."""

    async def fails() -> None:
        async with storage.receive("acme") as file:
            await file.write(BIG)
            if saved:
                await file.save()
            raise error

    with pytest.raises(type(error)):
        await fails()

    assert files(tmp_path) == []


async def test_what_is_finished_can_be_read_and_is_no_document_yet(
    storage: FileStorage, tmp_path: Path
) -> None:
    """A scanner looks at it there; more may come, and all of it is saved."""
    async with storage.receive("acme") as file:
        await file.write(BIG)
        await file.finish()
        assert file.path.read_bytes() == BIG
        assert files(tmp_path / "documents") == []
        await file.write(b"x")
        await file.save()
        file.keep()
    assert place(tmp_path, file).read_bytes() == BIG + b"x"
    assert file.sha256 == hashlib.sha256(BIG + b"x").hexdigest()


async def test_what_was_not_kept_and_cannot_be_removed_is_told_and_left_to_the_sweep(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The upload has its answer by then."""

    def fails(_path: Path, *, missing_ok: bool) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "unlink", fails)
    async with storage.receive("acme") as file:
        await file.save()
    assert "could not be removed: [Errno 5]" in caplog.text
    (leftover,) = FileStorage(tmp_path, left_seconds=0).leftovers()
    assert leftover.key == file.key


async def test_dropping_takes_keeping_back(storage: FileStorage, tmp_path: Path) -> None:
    """The data store refused: the bytes go."""
    async with storage.receive("acme") as file:
        await file.write(b"x")
        await file.save()
        file.keep()
        file.drop()

    assert files(tmp_path) == []


async def test_more_bytes_are_taken_while_a_thread_writes(
    storage: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the network would wait for the disk, and the disk for the network."""
    gate = Gate(monkeypatch, os, "write")
    async with storage.receive("acme") as file:
        await file.write(BIG)
        assert await asyncio.to_thread(gate.reached.wait, 10)
        await file.write(b"x")
        gate.open.set()
        await file.save()
        assert file.path.read_bytes() == BIG + b"x"


@pytest.mark.parametrize("action", ["write", "save"])
async def test_what_went_wrong_meanwhile_is_told_at_the_next_step(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """The disk was full when the thread wrote: the upload fails, and leaves nothing."""

    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def store() -> None:
        async with storage.receive("acme") as file:
            await file.write(BIG)
            await (file.write(BIG) if action == "write" else file.save())

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageFull):
        await store()

    assert files(tmp_path) == []


async def test_an_upload_that_fails_while_a_thread_writes_leaves_nothing(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client hung up: the thread comes to its end first, and the event loop serves others meanwhile."""
    gate = Gate(monkeypatch, os, "write")

    async def hung_up() -> None:
        async with storage.receive("acme") as file:
            await file.write(BIG)
            raise ConnectionError

    task = asyncio.create_task(hung_up())
    assert await asyncio.to_thread(gate.reached.wait, 10)
    gate.open.set()
    with pytest.raises(ConnectionError):
        await task

    assert files(tmp_path) == []


class Gate:
    """Stops a thread right after a function has done its work, until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, target: Any, name: str) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        real: Callable[..., Any] = getattr(target, name)

        def stopped(*arguments: Any, **named: Any) -> Any:
            result = real(*arguments, **named)
            self.reached.set()
            assert self.open.wait(10)
            return result

        monkeypatch.setattr(target, name, stopped)


@pytest.mark.parametrize(
    ("target", "name"),
    [(os, "fsync"), (folder, "_make_folder"), (Path, "hardlink_to"), (folder, "_sync_folder")],
)
async def test_a_task_cancelled_while_its_thread_saves_leaves_nothing(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: Any, name: str
) -> None:
    """asyncio cancels the task and not the thread: what the thread still makes is removed too."""
    gate = Gate(monkeypatch, target, name)

    async def store() -> None:
        async with storage.receive("acme") as file:
            await file.write(b"x")
            await file.save()

    task = asyncio.create_task(store())
    await asyncio.to_thread(gate.reached.wait, 10)
    task.cancel()
    threading.Timer(0.05, gate.open.set).start()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert files(tmp_path) == []
    assert gate.open.is_set(), "the block was left while its thread still worked"


@pytest.mark.parametrize(
    ("number", "problem", "status"),
    [
        (errno.ENOSPC, StorageFull, 507),
        (errno.EDQUOT, StorageFull, 507),
        (errno.EROFS, Unavailable, 503),
        (errno.EIO, Unavailable, 503),
        (errno.EACCES, Unavailable, 503),
    ],
)
async def test_a_disk_that_takes_nothing_is_a_clear_problem(
    storage: FileStorage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    number: int,
    problem: type[Problem],
    status: int,
) -> None:
    """Full is 507, anything else 503; the error itself is the cause, and no path reaches the client."""

    def fails(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(problem) as found:
        await kept(storage, b"x")

    assert found.value.status == status
    assert isinstance(found.value.__cause__, OSError)
    assert str(tmp_path) not in found.value.detail
    assert files(tmp_path) == []


async def test_a_folder_that_vanished_is_a_clear_problem(storage: FileStorage, tmp_path: Path) -> None:
    """An unmounted volume is 503, not a stack trace."""
    (tmp_path / "incoming").rmdir()

    with pytest.raises(Unavailable):
        await kept(storage, b"x")


async def test_a_clients_first_document_makes_its_folder_durable(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name lives in its folder, and the folder's name in the one above."""
    synced: list[str] = []
    monkeypatch.setattr(folder, "_sync_folder", lambda path: synced.append(path.name))

    await kept(storage, b"x")
    await kept(storage, b"y")

    assert synced == ["documents", folder_of("acme"), folder_of("acme")]


async def test_without_syncing_a_document_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever chooses so waits for no disk: neither file nor folder is synced."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    storage = FileStorage(tmp_path, synced=False)
    storage.prepare()

    file = await kept(storage, BIG)

    assert place(tmp_path, file).read_bytes() == BIG
    assert synced == []


async def test_the_check_leaves_nothing_behind(storage: FileStorage, tmp_path: Path) -> None:
    """It writes, reads and removes."""
    assert await storage.check() == "healthy"
    assert files(tmp_path) == []


async def test_the_check_fails_where_nothing_can_be_written(storage: FileStorage, tmp_path: Path) -> None:
    """A folder that is gone takes no file."""
    (tmp_path / "incoming").rmdir()

    with pytest.raises(OSError, match="incoming"):
        await storage.check()


async def test_what_is_kept_and_not_confirmed_can_be_found_again(
    storage: FileStorage, tmp_path: Path
) -> None:
    """Whether its record is stored is not known: both names stay, and neither is touched before it is old."""
    async with storage.receive("acme") as file:
        await file.write(b"x")
        await file.save()
        file.keep()
    assert len(files(tmp_path)) == 2
    assert storage.leftovers() == []

    found = FileStorage(tmp_path, left_seconds=0).leftovers()
    assert [leftover.key for leftover in found] == [file.key]


@pytest.mark.parametrize("saved", [False, True])
async def test_what_a_process_is_at_is_no_leftover(
    storage: FileStorage, tmp_path: Path, *, saved: bool
) -> None:
    """However long it takes: it holds a lock."""
    async with storage.receive("acme") as file:
        await file.write(BIG)
        await file.write(BIG)  # so that the first has been written
        if saved:
            await file.save()
        assert FileStorage(tmp_path, left_seconds=0).leftovers() == []


@pytest.mark.parametrize("stored", [False, True])
async def test_settling_keeps_the_bytes_of_a_stored_record_alone(tmp_path: Path, *, stored: bool) -> None:
    """The temporary name goes either way; a second sweep at the same time finds nothing more to do."""
    storage = FileStorage(tmp_path, left_seconds=0)
    storage.prepare()
    async with storage.receive("acme") as file:
        await file.write(b"x")
        await file.save()
        file.keep()
    (leftover,) = storage.leftovers()

    storage.settle(leftover, stored=stored)
    storage.settle(leftover, stored=stored)

    assert files(tmp_path) == ([place(tmp_path, file)] if stored else [])
    assert storage.leftovers() == []


def test_an_upload_that_was_cut_short_is_a_leftover_without_a_key(tmp_path: Path) -> None:
    """It never had a document's name: the data store need not be asked."""
    storage = FileStorage(tmp_path, left_seconds=0)
    storage.prepare()
    (tmp_path / "incoming" / "folder.name").touch()
    (leftover,) = storage.leftovers()
    assert leftover.key is None

    storage.settle(leftover, stored=False)
    assert files(tmp_path) == []


async def test_a_temporary_name_that_cannot_be_removed_costs_no_upload(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document is stored and answered; the sweep removes the name later."""

    def fails(_path: Path, *, missing_ok: bool) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "unlink", fails)
    assert place(tmp_path, await kept(storage, b"x")).read_bytes() == b"x"


def test_a_file_system_without_hard_links_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the first upload fails."""

    def fails(_path: Path, _target: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", fails)
    with pytest.raises(PermissionError):
        FileStorage(tmp_path).prepare()


def test_the_space_is_that_of_the_folders_file_system(tmp_path: Path) -> None:
    """Used and free together are what users can have of it."""
    space = {labels["state"]: value for value, labels in FileStorage(tmp_path).space()}

    found = os.statvfs(tmp_path)
    assert space.keys() == {"used", "free"}
    assert space["free"] == pytest.approx(found.f_bavail * found.f_frsize, rel=0.01)
    assert space["used"] == pytest.approx((found.f_blocks - found.f_bfree) * found.f_frsize, rel=0.01)


def test_a_folder_that_has_vanished_has_no_space(tmp_path: Path) -> None:
    """It must not keep the other metrics from being collected."""
    assert FileStorage(tmp_path / "gone").space() == []


async def test_lost_bytes_that_another_upload_brought_back_outlive_one_that_fails(
    storage: FileStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found them lost; the first was answered that they are there."""

    def fails(_path: Path, _target: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    lost = await kept(storage, b"x")
    place(tmp_path, lost).unlink()
    async with storage.receive("acme") as first, storage.receive("acme") as second:
        for file in (first, second):
            await file.write(b"x")
            await file.save()
        assert await storage.mend(lost.key, first)
        for name in ("hardlink_to", "replace"):
            monkeypatch.setattr(Path, name, fails)
        with pytest.raises(Unavailable):
            await second.replace(lost.key)

    assert place(tmp_path, lost).read_bytes() == b"x"
    assert files(tmp_path) == [place(tmp_path, lost)]
