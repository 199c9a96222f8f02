"""`python -m tests.faults.flood URL RATE`: reads a document that is not there, open-loop, until it is ended."""

import asyncio
import sys
import time

import aiohttp

_PATIENCE_SECONDS = 30


async def _flood(url: str, rate: int) -> None:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        started, sent, under_way = time.monotonic(), 0, set[asyncio.Task[None]]()
        while True:
            due = int((time.monotonic() - started) * rate)
            for _ in range(sent, due):
                task = asyncio.create_task(_ask(session, f"{url}/clients/flood/documents/1"))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            sent = max(sent, due)
            await asyncio.sleep(0.005)


async def _ask(session: aiohttp.ClientSession, url: str) -> None:
    try:
        async with session.get(url) as answer:
            await answer.read()
    except (aiohttp.ClientError, TimeoutError):
        return  # whoever floods does not look at answers


if __name__ == "__main__":
    asyncio.run(_flood(sys.argv[1], int(sys.argv[2])))
