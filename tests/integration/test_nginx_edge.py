"""Identity and forwarding: the load balancer's real configuration in a real nginx, in front of small real servers."""

import json
import re
import uuid

import pytest

from tests.edge import (
    Edge,
    received,
    reply,
)

UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
A_UUID4 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
DOCUMENT = "/clients/acme/documents/7"


class TestCorrelationId:
    """One ID for each request, a UUID4, the same everywhere."""

    def test_an_id_is_minted_when_there_is_none(self, edge: Edge) -> None:
        """Header, upstream and log line carry the same new UUID4."""
        answer = edge.request("GET", DOCUMENT)
        assert UUID4.fullmatch(answer.correlation_id)
        assert received(edge)[0].header("X-Correlation-ID") == [answer.correlation_id]
        assert edge.log_line(answer.correlation_id)["context_data"]["path"] == DOCUMENT

    def test_minted_ids_are_uuid4_in_every_variant_and_never_repeat(self, edge: Edge) -> None:
        """Sixty-four requests give sixty-four valid IDs with all four variant digits among them."""
        ids = {edge.request("GET", "/nginx-health").correlation_id for _ in range(64)}
        assert len(ids) == 64
        assert all(UUID4.fullmatch(value) and uuid.UUID(value).version == 4 for value in ids)
        assert {value[19] for value in ids} == set("89ab")

    def test_a_clients_uuid4_is_kept(self, edge: Edge) -> None:
        """What the client sent comes back and goes on."""
        sent = str(uuid.uuid4())
        answer = edge.request("GET", DOCUMENT, headers={"X-Correlation-ID": sent})
        assert answer.correlation_id == sent
        assert received(edge)[0].header("X-Correlation-ID") == [sent]

    @pytest.mark.parametrize(
        "sent",
        [
            A_UUID4.upper(),
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6ba7b810-9dad-41d1-70b4-00c04fd430c8",  # a variant that is none of RFC 9562
            f"{A_UUID4}, {A_UUID4}",
            f'{A_UUID4}"',
            '", "admin": "true',
            "garbage",
            "{" + A_UUID4 + "}",
            A_UUID4.replace("-", ""),
            "a" * 4000,
            "%0d%0aSet-Cookie: a=b",
            "☃",
        ],
    )
    def test_anything_else_is_replaced(self, edge: Edge, sent: str) -> None:
        """A value that is no lower-case UUID4 goes nowhere: not back, not on, not into the log."""
        answer = edge.raw(
            f"GET {DOCUMENT} HTTP/1.1\r\nHost: robin\r\nX-Correlation-ID: {sent}\r\n\r\n".encode()
        )
        assert UUID4.fullmatch(answer.correlation_id)
        assert answer.correlation_id.lower() != sent.lower()
        assert received(edge)[0].header("X-Correlation-ID") == [answer.correlation_id]
        edge.log_line(answer.correlation_id)
        assert sent.encode() not in edge.access_log.read_bytes()

    def test_two_headers_are_replaced_by_one(self, edge: Edge) -> None:
        """Whom to believe is not guessed."""
        first, second = uuid.uuid4(), uuid.uuid4()
        headers = f"X-Correlation-ID: {first}\r\nX-Correlation-ID: {second}\r\n"
        answer = edge.raw(f"GET {DOCUMENT} HTTP/1.1\r\nHost: robin\r\n{headers}\r\n".encode())
        assert answer.correlation_id not in {str(first), str(second)}
        assert received(edge)[0].header("X-Correlation-ID") == [answer.correlation_id]

    def test_the_services_own_header_does_not_make_a_second_one(self, edge: Edge) -> None:
        """The answer has the header exactly once, errors of the service included."""
        for upstream in edge.upstreams:
            upstream.answer = reply(500, b"{}", X_Correlation_ID=str(uuid.uuid4()))
        assert len(edge.request("GET", DOCUMENT).header("X-Correlation-ID")) == 1


class TestForwarding:
    """What goes on to the services."""

    def test_untrusted_headers_are_dropped_and_the_trace_goes_on(self, edge: Edge) -> None:
        """Baggage and forged forwarding headers stop here; traceparent passes."""
        traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        edge.request(
            "GET",
            DOCUMENT,
            headers={
                "baggage": "a=b",
                "X-Forwarded-For": "6.6.6.6",
                "traceparent": traceparent,
                "Host": "robin:1",
            },
        )
        (seen,) = received(edge)
        assert seen.header("baggage") == []
        assert seen.header("X-Forwarded-For") == ["127.0.0.1"]
        assert seen.header("X-Forwarded-Proto") == ["http"]
        assert seen.header("traceparent") == [traceparent]
        assert seen.header("Host") == ["robin:1"]

    def test_nobody_outside_says_who_acts(self, edge: Edge) -> None:
        """The services' own header stops here, however it is spelt."""
        edge.request("GET", DOCUMENT, headers={"Robin-Actor": "user:1", "robin_actor": "user:2"})
        (seen,) = received(edge)
        assert [value for name, value in seen.headers if "actor" in name.lower()] == []

    def test_each_request_has_a_name_that_nobody_outside_gives_it(self, edge: Edge) -> None:
        """By it an upload that is tried twice is the same one: nobody makes his own that of another."""
        for name in ("Robin-Request-Id", "robin_request_id"):
            edge.request("GET", DOCUMENT, headers={name: "mine"})
        named = [
            value
            for seen in received(edge)
            for name, value in seen.headers
            if name.lower().replace("_", "-") == "robin-request-id"
        ]
        assert len(named) == len(set(named)) == 2
        assert all(re.fullmatch("[0-9a-f]{32}", value) for value in named)

    def test_credentials_arrive_as_they_were_sent(self, edge: Edge) -> None:
        """Who somebody is, is for document_api to find out."""
        headers = {"X-API-Key": "robin_0123456789ab_secret", "Authorization": "Bearer a.b.c"}
        edge.request("GET", DOCUMENT, headers=headers)
        (seen,) = received(edge)
        assert {name: seen.header(name) for name in headers} == {
            name: [value] for name, value in headers.items()
        }

    def test_path_and_query_arrive_as_they_were_sent(self, edge: Edge) -> None:
        """nginx does not decode or clean the path for the service."""
        path = "/clients/a%2Fb/documents/1?x=%20y"
        edge.request("GET", path)
        assert received(edge)[0].path == path

    def test_health_and_documentation_are_proxied(self, edge: Edge) -> None:
        """The paths beside /clients/ that the service has."""
        for path in ("/health", "/docs", "/openapi.json"):
            assert edge.request("GET", path).status == 200
        assert [seen.path for seen in sorted(received(edge), key=lambda seen: seen.path)] == [
            "/docs",
            "/health",
            "/openapi.json",
        ]

    def test_nginx_answers_for_its_own_health(self, edge: Edge) -> None:
        """With no service alive too."""
        for upstream in edge.upstreams:
            upstream.close()
        answer = edge.request("GET", "/nginx-health")
        assert (answer.status, json.loads(answer.body)) == (200, {"status": "healthy", "service": "nginx"})

    def test_the_version_is_not_shown(self, edge: Edge) -> None:
        """Neither in a header nor in an error."""
        assert edge.request("GET", "/nothing").header("Server") == ["nginx"]
