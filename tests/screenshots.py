"""Takes the README's pictures of the page: python -m tests.screenshots URL [CLIENT], on a stack that has had some traffic."""

import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect

from tests.browser import browser, visit

PICTURES: Final = Path(__file__).parents[1] / "docs" / "pictures"
TEXT: Final = (
    "The harbour of Bergen is old. Seagulls are loud there, and fishermen louder. Ships come and go all day. "
    "Whoever looks for a slow ship starts with its log book."
)


def main(url: str, client: str = "acme") -> None:
    """Upload a document, follow it, look at health."""
    window = {"width": 1280, "height": 800}
    with browser() as running, visit(running, url, viewport=window, color_scheme="light") as opened:
        page = opened.page
        page.get_by_label("Client", exact=True).fill(client)
        page.get_by_role("button", name="Show").click()
        page.set_input_files(
            "#files", files=[{"name": "harbour.txt", "mimeType": "text/plain", "buffer": TEXT.encode()}]
        )
        expect(page.get_by_text("stored as document")).to_be_visible()
        take(page, "page-documents")
        page.locator(".uploads a.id").click()
        expect(page.locator("#story")).to_contain_text("http_requests_total", timeout=30_000)
        expect(page.locator("#story")).not_to_contain_text("Still on its way", timeout=30_000)
        take(page, "page-story")
        page.goto("/#health")
        expect(page.locator(".components li").first).to_be_visible()
        take(page, "page-health")


def take(page: Page, name: str) -> None:
    """Keep what the window shows, once it has come to rest."""
    expect(page.locator("[aria-busy]")).to_have_count(0)
    page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
