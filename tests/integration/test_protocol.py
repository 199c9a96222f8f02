"""What is no HTTP is refused by a service as everything else is, over a real socket."""

import json
import socket
from http.client import HTTPResponse
from typing import Final
from urllib.parse import urlsplit

import httpx
import pytest

KEPT: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
SHOWN: Final = b"Host: x\r\nX-Correlation-ID: " + KEPT.encode() + b"\r\n"
NO_HTTP: Final = {
    "nothing known": (b"this is no request\r\n\r\n", None),
    "a path in Latin-1": (b"GET /\xe9 HTTP/1.1\r\n" + SHOWN + b"\r\n", KEPT),
    "a header that is none": (b"GET /health HTTP/1.1\r\n" + SHOWN + b"no colon\r\n\r\n", KEPT),
    "a chunk without a length": (
        b"PUT /health HTTP/1.1\r\n" + SHOWN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        KEPT,
    ),
    "two lengths": (b"PUT /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", None),
}


@pytest.mark.parametrize(("request_bytes", "kept"), NO_HTTP.values(), ids=list(NO_HTTP))
def test_what_is_no_http_gets_a_problem(
    data_store: httpx.Client, request_bytes: bytes, kept: str | None
) -> None:
    """With the load balancer's correlation ID where that was read, else with a new one."""
    address = urlsplit(str(data_store.base_url))
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as connection:
        connection.sendall(request_bytes)
        response = HTTPResponse(connection)
        response.begin()
        problem = json.loads(response.read())

    assert (response.status, response.getheader("Content-Type")) == (400, "application/problem+json")
    assert (problem["status"], problem["detail"]) == (400, "This is no valid HTTP request.")
    assert problem["correlation_id"] == response.getheader("X-Correlation-ID")
    assert kept in {None, problem["correlation_id"]}


def test_a_path_with_a_slash_too_many_is_not_redirected(data_store: httpx.Client) -> None:
    """The address would be made of the client's own header Host."""
    answer = data_store.get("/clients/acme/documents/1/", headers={"Host": "elsewhere.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "location" not in answer.headers


def test_a_websocket_is_not_spoken_to(data_store: httpx.Client) -> None:
    """The request is answered as if it had asked for none."""
    headers = {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    assert (
        data_store.get("/health", headers={**headers, "Sec-WebSocket-Key": "dGhlIHNhbXBsZQ=="}).status_code
        == 200
    )
