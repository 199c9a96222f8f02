"""A model that says what a test wants: a server that speaks the chat API over a real socket."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpx

# Made once: of all that a client is made of, what it trusts takes longest.
_TRUST: Final = ssl.create_default_context()
NEVER: Final = "never"
DRIPS: Final = "a byte now and then"


@dataclass(frozen=True)
class Reply:
    """What is answered to one question; a body may also come NEVER, or as DRIPS."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def completion(content: Any, *, finish_reason: str | None = "stop", **more: Any) -> str:
    """Return a chat completion."""
    message = {"role": "assistant", "content": content, **more.pop("message", {})}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], **more})


class ChatModel:
    """Gives its replies one after another, the last one again and again, and remembers what it was asked and when."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.times: list[float] = []
        self.at_once = self.most_at_once = 0
        self.arrived, self.let_go = asyncio.Event(), asyncio.Event()
        self.let_go.set()

    @property
    def texts(self) -> list[str]:
        """Return the texts that it was given."""
        return [body["messages"][-1]["content"] for _, body in self.asked]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        with suppress(ConnectionError), closing(writer):
            self.times.append(time.monotonic())
            self.asked.append(await _request_of(reader))
            self.arrived.set()
            reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
            await self.let_go.wait()
            self.at_once -= 1
            await _answer(reader, writer, reply)


def client_at(url: str, seconds: float) -> httpx.AsyncClient:
    """Return a client of the API at a URL."""
    return httpx.AsyncClient(base_url=url, timeout=seconds, verify=_TRUST)


async def _request_of(reader: asyncio.StreamReader) -> tuple[str, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))[15:])
    body: dict[str, Any] = json.loads(await reader.readexactly(length))
    return head, body


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.body == NEVER:
        await reader.read()  # until the client gives up
        return
    if reply.body == DRIPS:
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 100000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)
        return
    data = reply.body.encode()
    headers = {"Content-Type": "application/json", "Content-Length": len(data), "Connection": "close"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **reply.headers}.items())
    writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode() + data)
    await writer.drain()


@asynccontextmanager
async def serving(model: ChatModel) -> AsyncIterator[str]:
    """Serve a model, and lend its base URL; at the end nobody is asked any more."""
    tasks: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(cast("asyncio.Task[Any]", asyncio.current_task()))
        await model.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
