"""The page at /: what nginx serves of it, how, and what it lets through to document_api for it."""

import re
from pathlib import Path

import pytest

from local_stack.nginx import PAGE
from tests.edge import Edge, received

FILES = sorted(file.name for file in PAGE.iterdir() if file.name != "index.html")
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
ID = "6f1c9a52-7d0e-4b63-9c53-0f6d0f4f7a11"


def test_the_page_runs_nothing_but_its_own_files(edge: Edge) -> None:
    """Neither inline code nor anything from elsewhere, and no text becomes markup; a browser asks each time for changes."""
    answer = edge.request("GET", "/")
    assert (answer.status, answer.body) == (200, (PAGE / "index.html").read_bytes())
    assert answer.header("Content-Type") == ["text/html; charset=utf-8"]
    (policy,) = answer.header("Content-Security-Policy")
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
    assert answer.header("Cache-Control") == ["no-cache"]
    assert edge.request("GET", "/", headers={"If-None-Match": answer.header("ETag")[0]}).status == 304
    assert received(edge) == []


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_page_is_served_as_what_it_is(edge: Edge, name: str) -> None:
    """A module of another type would not be run."""
    answer = edge.request("GET", f"/page/{name}")
    assert (answer.status, answer.body) == (200, (PAGE / name).read_bytes())
    assert answer.header("Content-Type") == [TYPES[Path(name).suffix]]
    assert "script-src 'self'" in answer.header("Content-Security-Policy")[0]


@pytest.mark.parametrize(
    "path", ["/page", "/page/", "/page/index.html", "/page/../nginx.conf", "/page/x/app.js"]
)
def test_nothing_else_of_its_folder_is_served(edge: Edge, path: str) -> None:
    """Only files of the page's own kinds, by name."""
    assert edge.request("GET", path).problem["status"] == 404


def test_the_pages_own_files_make_no_lines(edge: Edge) -> None:
    """Whoever looks for requests would see little else; a file that is not there is told."""
    quiet = edge.request("GET", "/").correlation_id
    edge.request("GET", "/page/app.js")
    missing = edge.request("GET", "/page/nothing.js").correlation_id
    assert edge.log_line(missing)["log_message"] == "GET /page/nothing.js 404"
    assert quiet not in edge.access_log.read_text()
    assert len(edge.access_log.read_text().splitlines()) == 1


def test_telemetry_is_read_through_nginx_and_names_no_other_request(edge: Edge) -> None:
    """The line of whoever asks for a story does not hold the ID that it is about."""
    answer = edge.request("GET", f"/observability/requests/{ID}?x=1")
    record = edge.log_line(answer.correlation_id)
    assert record["context_data"]["path"] == "/observability/requests/{correlation_id}"
    for path in ("/observability/requests", "/observability/health"):
        told = edge.log_line(edge.request("GET", f"{path}?limit=3").correlation_id)
        assert told["context_data"]["path"] == path
    assert {seen.path.split("?")[0] for seen in received(edge)} == {
        f"/observability/requests/{ID}",
        "/observability/requests",
        "/observability/health",
    }


def test_the_page_has_no_code_in_its_markup_and_loads_only_what_is_there() -> None:
    """The policy would stop the one, and the other would leave the page empty."""
    markup = (PAGE / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", markup) == []
    loaded = set(re.findall(r'"/page/([\w.]+)"', markup))
    for file in PAGE.glob("*.js"):
        text = file.read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|localStorage|\.cookie", text
        )
        loaded |= set(re.findall(r'from "\./([\w.]+)"', text))
    assert loaded == set(FILES)
