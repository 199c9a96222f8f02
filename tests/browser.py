"""Headless Chromium for the page's tests: the machine's own, driven by Playwright; and what they do on the page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, FilePayload, Page, Request, sync_playwright

# As Debian, Ubuntu and Google name it.
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_MILLISECONDS: Final = 15_000
# Chromium's own line for each answer of 400 and more: what was refused on purpose is no fault of the page.
_REFUSED: Final = "Failed to load resource: the server responded with a status of "


@dataclass
class Visit:
    """A page that is open, what its console said, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Browser]:
    """Run Chromium; the tests are skipped where there is none."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    # Chromium's sandbox does not work for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def visit(running: Browser, url: str, **how: Any) -> Iterator[Visit]:
    """Open an address in a profile of its own, and hold its console to silence at the end."""
    context = running.new_context(base_url=url, **how)
    context.set_default_timeout(_MILLISECONDS)
    opened = Visit(context.new_page())
    opened.page.on("console", lambda message: _note(opened, message.type, message.text))
    opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
    opened.page.on("request", lambda request: opened.requests.append(request))  # noqa: PLW0108  Playwright marks it
    try:
        opened.page.goto("/")
        yield opened
        assert opened.said == []
    finally:
        context.close()


def choose_client(page: Page, name: str) -> None:
    """Say whose documents are shown."""
    page.get_by_label("Client", exact=True).fill(name)
    page.get_by_role("button", name="Show").click()


def upload(page: Page, *names: str, content: bytes, into: str = "#files") -> None:
    """Upload files as by the dialog."""
    files: list[FilePayload] = [{"name": name, "mimeType": "text/plain", "buffer": content} for name in names]
    page.set_input_files(into, files=files)


def enter_keys(page: Page, client: str, operator: str = "") -> None:
    """Say who asks."""
    page.get_by_text("Keys", exact=True).click()
    page.get_by_label("Client's API key").fill(client)
    page.get_by_label("Operator's API key").fill(operator)
    page.get_by_role("button", name="Use these").click()


def _note(opened: Visit, kind: str, text: str) -> None:
    if kind in {"error", "warning"} and not text.startswith(_REFUSED):
        opened.said.append(f"{kind}: {text}")
