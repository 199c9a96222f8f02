"""Documents whose bytes are in an S3-compatible store: a real one, with the real data store behind the API."""

import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Final

import httpx
import pytest

from document_api.documents.incoming import IncomingFile
from document_api.documents.shelf import StoreRefusedError
from document_api.documents.storage import FileStorage, storage_of
from document_api.settings import DocumentApiSettings
from observability import Unavailable
from observability.signals import Span
from tests.integration.backup.conftest import System, run
from tests.integration.conftest import MIGRATED, PostgreSQL, data_store_on
from tests.integration.test_document_api_http import document_api_on, files, upload
from tests.object_store import PREFIX, ObjectServer, object_server
from tests.records import assert_problem
from tests.telemetry_spy import TelemetrySpy
from tests.waiting import eventually

# More than is asked for at once.
LARGE: Final = bytes(range(256)) * 12_000


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """A server for all tests of this file."""
    server = object_server(tmp_path_factory.mktemp("s3"))
    with server.running():
        yield server


@pytest.fixture
def server(running_server: ObjectServer) -> ObjectServer:
    """That server, with nothing in it."""
    running_server.clear()
    return running_server


@contextmanager
def api_on(
    data_store: httpx.Client, folder: Path, telemetry: TelemetrySpy, server: ObjectServer, **more: float
) -> Iterator[httpx.Client]:
    """A document API with its bytes on that server."""
    settings = {**server.settings, "max_upload_bytes": 2 * len(LARGE), **more}
    with document_api_on(str(data_store.base_url), folder, telemetry, **settings) as client:
        yield client


@pytest.fixture
def api(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> Iterator[httpx.Client]:
    """A client of it."""
    with api_on(data_store, tmp_path, telemetry, server) as client:
        yield client


def storage_on(server: ObjectServer, folder: Path, **more: object) -> FileStorage:
    """Return a storage by itself, for which every leftover is old enough."""
    return storage_of(
        DocumentApiSettings(**{"upload_dir": folder, "sweep_after_seconds": 0, **server.settings, **more})  # type: ignore[arg-type]
    )


async def saved(storage: FileStorage, content: bytes = LARGE) -> IncomingFile:
    """Leave bytes of which nobody knows whether their record is stored."""
    async with storage.receive("acme") as file:
        await file.write(content)
        await file.save()
        file.keep()
    return file


def content_of(answer: httpx.Response) -> str:
    """Return where the bytes of an uploaded document are had."""
    return f"/clients/acme/documents/{answer.raise_for_status().json()['document_id']}/content"


def test_a_document_is_kept_in_the_store_alone_and_comes_back(
    api: httpx.Client, server: ObjectServer, tmp_path: Path, telemetry: TelemetrySpy
) -> None:
    """Under its prefix, once; the file on the way is gone with the answer."""
    path = content_of(upload(api, LARGE))
    assert files(tmp_path) == []
    ((key, content),) = server.objects().items()
    assert key.startswith(f"{PREFIX}/documents/")
    assert content == LARGE

    answer = api.get(path)
    assert (answer.status_code, answer.content) == (200, LARGE)
    assert answer.headers["content-length"] == str(len(LARGE))
    assert answer.headers["etag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"'
    for span in (Span.FILE_SAVE, Span.RETRIEVE_CONTENT):
        assert telemetry.span(span).attributes["storage.backend"] == "s3"
    assert api.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=1000000-2999999", slice(1_000_000, 3_000_000)),
        ("bytes=-10", slice(len(LARGE) - 10, len(LARGE))),
    ],
)
def test_ranges_are_those_of_the_object(api: httpx.Client, asked: str, sent: slice) -> None:
    """Also across what is asked of the store at once."""
    answer = api.get(content_of(upload(api, LARGE)), headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, LARGE[sent])


def test_text_is_read_on_the_way(api: httpx.Client) -> None:
    """By the process that reads a file, though the file will be gone."""
    page = b"<!doctype html><title>Bergen</title><p>The harbour of Bergen is old. Seagulls are loud.</p>"
    answer = upload(api, page, name="a.html").raise_for_status().json()
    assert "harbour" in answer["metadata"]["summary"]


def test_the_same_bytes_are_kept_once(api: httpx.Client, server: ObjectServer, tmp_path: Path) -> None:
    """What came a second time is deleted again, and its file with it."""
    paths = [content_of(upload(api, LARGE, name=name)) for name in ("a.txt", "b.txt")]
    eventually(lambda: len(server.keys()) == 1 and not files(tmp_path), "the second is gone")
    assert all(api.get(path).content == LARGE for path in paths)


def test_a_purged_document_is_deleted_from_the_store(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> None:
    """With the next sweep."""
    with api_on(data_store, tmp_path, telemetry, server, sweep_seconds=0.05) as api:
        document = content_of(upload(api)).removesuffix("/content")
        assert len(server.keys()) == 1
        api.delete(document).raise_for_status()
        api.post(f"{document}/purge").raise_for_status()
        eventually(lambda: not server.keys(), "it is deleted")


def test_a_record_that_is_refused_leaves_no_object(
    tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer, data_store: httpx.Client
) -> None:
    """The data store says no once the bytes are in the store."""
    with api_on(data_store, tmp_path, telemetry, server) as api:
        same = {"headers": {"Idempotency-Key": "one"}}
        upload(api, b"the first", **same).raise_for_status()
        assert_problem(upload(api, b"another", **same), 422)
        eventually(lambda: not files(tmp_path), "what was refused is gone")
        assert list(server.objects().values()) == [b"the first"]


def test_a_lost_object_is_no_empty_answer(api: httpx.Client, server: ObjectServer) -> None:
    """Nor a half one: it is told before a byte is sent."""
    path = content_of(upload(api))
    server.clear()
    assert_problem(api.get(path), 500)


def test_a_lost_object_is_brought_back_by_the_same_bytes(api: httpx.Client, server: ObjectServer) -> None:
    """Under its own name; the other one is deleted."""
    path = content_of(upload(api, LARGE))
    before = server.keys()
    server.clear()
    upload(api, LARGE).raise_for_status()
    assert api.get(path).content == LARGE
    eventually(lambda: server.keys() == before, "it is there alone")


def test_a_store_that_is_away_takes_nothing_and_is_told_by_health(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy
) -> None:
    """Another try may find it; it does, once it is back."""
    server = object_server(tmp_path)
    folder = tmp_path / "uploads"
    with api_after_start(data_store, folder, telemetry, server) as (api, path):
        answer = upload(api, b"in vain")
        assert_problem(answer, 503)
        assert answer.headers["retry-after"]
        assert_problem(api.get(path), 503)
        assert api.get("/health").json()["components"]["object_store"] == "unhealthy"
        with server.running():
            assert api.get("/health").json()["components"]["object_store"] == "healthy"
            upload(api, b"again").raise_for_status()
            assert list(server.objects().values()) == [b"again"]


def test_a_store_that_hangs_keeps_nobody_from_what_needs_none(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> None:
    """Whoever waits for it is not worked on meanwhile."""
    with (
        api_on(data_store, tmp_path, telemetry, server, requests_in_hand=1) as api,
        ThreadPoolExecutor() as pool,
    ):
        path = content_of(upload(api))
        with server.hanging():
            waiting = [pool.submit(api.get, path), pool.submit(upload, api, b"another")]
            eventually(lambda: files(tmp_path), "the upload is on its way to the store")
            assert api.get(path.removesuffix("/content")).status_code == 200
        assert [each.result().status_code for each in waiting] == [200, 200]


def test_an_upload_is_given_up_in_time_though_the_store_hangs(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> None:
    """What comes to the store after that is deleted again."""
    with api_on(data_store, tmp_path, telemetry, server, request_deadline_seconds=1) as api:
        with server.hanging():
            assert_problem(upload(api, timeout=10), 503)
        eventually(lambda: not files(tmp_path) and not server.keys(), "nothing of it stays")


@contextmanager
def api_after_start(
    data_store: httpx.Client, folder: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> Iterator[tuple[httpx.Client, str]]:
    """An API whose store has gone, with a document of before."""
    with ExitStack() as stack:
        with server.running():
            client = stack.enter_context(api_on(data_store, folder, telemetry, server))
            path = content_of(upload(client))
        yield client, path


def test_documents_move_with_their_files(
    data_store: httpx.Client, tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> None:
    """Each under the name that it has below the folder."""
    with document_api_on(
        str(data_store.base_url), tmp_path, telemetry, max_upload_bytes=2 * len(LARGE)
    ) as api:
        path = content_of(upload(api, LARGE))
    for file in files(tmp_path):
        server.put(f"{PREFIX}/{file.relative_to(tmp_path)}", file.read_bytes())
    with api_on(data_store, tmp_path / "empty", telemetry, server) as api:
        assert api.get(path).content == LARGE


def test_a_backup_of_the_database_finds_its_documents_in_the_store(
    postgresql: PostgreSQL, tmp_path: Path, telemetry: TelemetrySpy, server: ObjectServer
) -> None:
    """Restored beside the same bucket, everything can be had again."""
    source, target = (
        System(postgresql, postgresql.create_database(template=MIGRATED), tmp_path / name)
        for name in ("source", "target")
    )
    with (
        data_store_on(postgresql.url(source.database), telemetry) as data_store,
        api_on(data_store, source.uploads, telemetry, server) as api,
    ):
        path = content_of(upload(api, LARGE))
        backup = run(source, "create", STORAGE_URL=server.settings["storage_url"])
    restored = run(target, "restore", archive=backup.stdout, STORAGE_URL=server.settings["storage_url"])
    assert restored.returncode == 0, restored.stderr
    with (
        data_store_on(postgresql.url(target.database), telemetry) as data_store,
        api_on(data_store, target.uploads, telemetry, server) as api,
    ):
        assert api.get(path).content == LARGE


@pytest.mark.parametrize("stored", [False, True])
async def test_what_a_killed_process_left_is_settled_as_its_record_says(
    server: ObjectServer, tmp_path: Path, *, stored: bool
) -> None:
    """The file beside the object is what is found; a second sweep at the same time finds nothing more to do."""
    storage = storage_on(server, tmp_path)
    storage.prepare()
    file = await saved(storage)

    (leftover,) = storage.leftovers()
    assert leftover.key == file.key
    storage.settle(leftover, stored=stored)
    storage.settle(leftover, stored=stored)

    assert list(server.objects().values()) == ([LARGE] if stored else [])
    assert files(tmp_path) == []


async def test_a_bucket_that_was_deleted_is_not_healthy(server: ObjectServer, tmp_path: Path) -> None:
    """Though the server is there, and says of any object that it has none."""
    with pytest.raises(StoreRefusedError):
        await storage_on(server, tmp_path, storage_url="s3://no-such-bucket").check_shelf()


async def test_bytes_that_never_came_to_the_store_leave_nothing(server: ObjectServer, tmp_path: Path) -> None:
    """A process was killed before: there is no object, and the sweep asks for none."""
    storage = storage_on(server, tmp_path)
    storage.prepare()
    (tmp_path / "incoming" / "folder.name").touch()

    (leftover,) = storage.leftovers()
    storage.settle(leftover, stored=False)

    assert (server.objects(), files(tmp_path)) == ({}, [])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"storage_url": "s3://no-such-bucket"}, "there is no such bucket"),
        ({"aws_endpoint_url": "http://127.0.0.1:1"}, "http://127.0.0.1:1/"),
    ],
)
def test_a_store_that_cannot_be_used_is_told_at_the_start(
    server: ObjectServer, tmp_path: Path, wrong: dict[str, str], said: str
) -> None:
    """Not when the first upload fails; in one line."""
    with pytest.raises(StoreRefusedError, match=said) as error:
        storage_on(server, tmp_path, **wrong).prepare()
    assert len(str(error.value).splitlines()) == 1


@contextmanager
def refusing_store() -> Iterator[str]:
    """A store that says no before it has read what it is sent, and deletes whatever it is told; gives its address."""
    connections: list[socket.socket] = []
    refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    told = b"<DeleteResult><Deleted><Key>it</Key></Deleted></DeleteResult>"
    deleted = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told)

    def refuse() -> None:
        with suppress(OSError):  # at the end
            while True:
                connections.append(listening.accept()[0])
                deleting = connections[-1].recv(1000).startswith(b"POST")  # as S3 has several objects deleted
                connections[-1].sendall(deleted if deleting else refused)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=refuse)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


async def test_a_store_that_says_no_before_it_has_all_is_away_like_any_other(
    tmp_path: Path, server: ObjectServer
) -> None:
    """While its connection still holds the file; what it may have got, or gets yet, is the sweep's."""
    with refusing_store() as endpoint:
        storage = storage_on(server, tmp_path, aws_endpoint_url=endpoint)
        (tmp_path / "incoming").mkdir()
        with pytest.raises(Unavailable):
            await saved(storage, LARGE * 10)
        eventually(storage.leftovers, "nobody is at the file any more")
