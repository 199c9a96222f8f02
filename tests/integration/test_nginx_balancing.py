"""Which instance a request goes to, and when it is tried on another."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.edge import Edge, Upstream, die, load_balancer, received, reply, running
from tests.ports import free_port
from tests.waiting import eventually

UPLOAD = "/clients/acme/upload-document"
DOCUMENT = "/clients/acme/documents/7"
SMALL = b"x" * 50_000
LARGE = b"x" * 200_000


class TestBalancing:
    """More than one instance: what an instance surely did not do, or did under a name, another one does."""

    def test_requests_go_to_every_instance(self, edge: Edge) -> None:
        """The load is shared."""
        for _ in range(8):
            edge.request("GET", DOCUMENT)
        assert all(upstream.seen for upstream in edge.upstreams)

    def test_a_get_is_answered_when_one_instance_is_gone(self, edge: Edge) -> None:
        """Nobody notices a stopped instance; the log names both tries."""
        edge.upstreams[0].close()
        answers = [edge.request("GET", DOCUMENT) for _ in range(4)]
        assert {answer.status for answer in answers} == {200}
        records = [edge.log_line(answer.correlation_id)["context_data"] for answer in answers]
        retried = next(record for record in records if "," in record["upstream"])
        levels = {edge.log_line(answer.correlation_id)["level"] for answer in answers}
        assert levels == {"INFO", "WARNING"}
        assert retried["upstream_status"] == "502, 200"
        assert isinstance(retried["upstream_duration"], float)

    def test_a_get_is_answered_when_an_instance_dies_over_it(self, edge: Edge) -> None:
        """Read by the first, answered by the second."""
        edge.upstreams[0].answer = die
        assert [edge.request("GET", DOCUMENT).status for _ in range(4)] == [200] * 4
        assert len(edge.upstreams[0].seen) == 1

    def test_a_large_upload_is_not_sent_twice(self, edge: Edge) -> None:
        """Nobody has it any more to send it again: the instance took it, and died before its answer."""
        for upstream in edge.upstreams:
            upstream.answer = die
        answer = edge.request("PUT", UPLOAD, body=LARGE)
        assert (answer.status, answer.problem["status"]) == (502, 502)
        assert [(seen.method, seen.body) for seen in received(edge)] == [("PUT", LARGE)]

    def test_a_large_upload_is_not_sent_twice_under_an_odd_spelling(self, edge: Edge) -> None:
        """Doubled slashes and escapes do not get around the rule."""
        for upstream in edge.upstreams:
            upstream.answer = die
        edge.request("PUT", "/clients//acme/%75pload-document", body=LARGE)
        assert len(received(edge)) == 1

    @pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
    def test_an_upload_that_nobody_has_received_goes_to_another_instance(
        self, edge: Edge, body: bytes
    ) -> None:
        """A stopped instance costs no upload of any size."""
        edge.upstreams[0].close()
        assert [edge.request("PUT", UPLOAD, body=body).status for _ in range(4)] == [200] * 4
        assert [seen.body for seen in received(edge)] == [body] * 4

    def test_a_small_upload_over_which_an_instance_dies_is_sent_again_as_the_same_one(
        self, edge: Edge
    ) -> None:
        """It may have been stored: by its name the other instance finds it, and stores it once."""
        edge.upstreams[0].answer = die
        edge.upstreams[1].answer = die
        answer = edge.request("PUT", "/clients//acme/%75pload-document?a=%20", body=SMALL)
        assert answer.status == 502
        sent = received(edge)
        assert [(seen.method, seen.path, seen.body) for seen in sent] == [
            ("PUT", "/clients//acme/%75pload-document?a=%20", SMALL)
        ] * 2
        (name,) = {value for seen in sent for value in seen.header("Robin-Request-Id")}
        assert name

    def test_what_took_long_is_not_tried_again(self, tmp_path: Path, upstreams: list[Upstream]) -> None:
        """The answer is late already, and another instance would be no quicker."""
        let_go = threading.Event()
        for upstream in upstreams:
            upstream.answer = lambda _handler: let_go.wait() and None
        port = free_port()
        balancer = load_balancer(tmp_path, port, upstreams, proxy_read_timeout="2s")
        balancer.write()
        site = balancer.config_dir / "robin.conf"
        site.write_text(
            site.read_text().replace("proxy_next_upstream_timeout 5s", "proxy_next_upstream_timeout 1s")
        )
        with running(balancer, port, upstreams) as edge:
            answer = edge.request("GET", DOCUMENT)
            let_go.set()
        assert answer.status == 504
        assert len(received(edge)) == 1

    def test_what_is_too_much_for_all_instances_is_refused_at_the_edge(
        self, tmp_path: Path, upstreams: list[Upstream]
    ) -> None:
        """Nothing of it was done: 503, told when to come again; what is under way is answered."""
        let_go = threading.Event()
        for upstream in upstreams:
            upstream.answer = lambda handler: let_go.wait() and reply(200, b"{}")(handler)
        port = free_port()
        balancer = load_balancer(
            tmp_path, port, upstreams, connections_per_instance=1, proxy_read_timeout="60s"
        )
        balancer.write()
        with running(balancer, port, upstreams) as edge, ThreadPoolExecutor(2) as pool:
            under_way = [pool.submit(edge.request, "GET", DOCUMENT) for _ in "12"]
            eventually(lambda: len(received(edge)) == 2, "both instances have a request")
            refused = edge.request("PUT", UPLOAD, body=SMALL)
            let_go.set()
            assert [each.result().status for each in under_way] == [200, 200]
        assert (refused.status, refused.header("Retry-After")) == (503, ["2"])
        assert refused.problem["title"] == "Service Unavailable"
        assert len(received(edge)) == 2

    def test_an_instance_that_came_back_is_asked_again(self, edge: Edge) -> None:
        """After its fail_timeout: the rolling restart waits as long before it stops the next one."""
        gone = edge.upstreams[0]
        gone.close()
        assert [edge.request("GET", DOCUMENT).status for _ in range(4)] == [200] * 4
        back = Upstream(gone.port)
        try:
            eventually(lambda: edge.request("GET", DOCUMENT).status == 200 and back.seen, "it is asked")
        finally:
            back.close()

    def test_an_upload_is_streamed_on(self, edge: Edge) -> None:
        """The service sees an upload before its end has come in: nginx does not keep it on disk first."""
        for upstream in edge.upstreams:
            upstream.answer = reply(201, b"{}")
        head = f"PUT {UPLOAD} HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
            connection.sendall(head + b"4\r\ndata\r\n")
            eventually(lambda: _busy(edge), "an upload is under way")
            connection.sendall(b"0\r\n\r\n")
            assert b" 201 " in connection.recv(4096)


def _busy(edge: Edge) -> bool:
    """Say whether an upstream has a connection whose request is not complete."""
    handlers = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    return bool(handlers) and not received(edge)
