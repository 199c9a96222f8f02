"""Takes the README's pictures of the page: python -m tests.screenshots URL [CLIENT], on a stack that has had some traffic."""

import sys
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect

from tests.browser import browser, choose_client, upload, visit

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
        choose_client(page, client)
        upload(page, "letter.txt", "harbour.txt", content=TEXT.encode())
        expect(page.get_by_text("stored as document")).to_have_count(2)
        change(page)
        take(page, "page-documents")
        page.locator(".uploads a.id").first.click()
        expect(page.locator("#story")).to_contain_text("http_requests_total", timeout=30_000)
        expect(page.locator("#story")).not_to_contain_text("Still on its way", timeout=30_000)
        take(page, "page-story")
        page.goto("/#health")
        expect(page.locator(".components li").first).to_be_visible()
        take(page, "page-health")


def change(page: Page) -> None:
    """Give the newest document a tag and a version, and show both."""
    newest = page.get_by_role("list", name="Documents").get_by_role("listitem").first
    expect(newest.get_by_role("heading")).to_have_text("harbour.txt")
    newest.get_by_text("Tags").click()
    newest.get_by_label("Name").fill("year")
    newest.get_by_label("Value").fill("2026")
    newest.get_by_role("button", name="Set tag").click()
    expect(newest.locator(".facts")).to_contain_text("year: 2026")
    upload(
        page, "harbour-2.txt", content=f"{TEXT} It is a good one.".encode(), into=".versions input >> nth=0"
    )
    expect(newest.get_by_role("button", name="Download version 1")).to_be_visible()


def take(page: Page, name: str) -> None:
    """Keep what the window shows, once it has come to rest."""
    expect(page.locator("[aria-busy]")).to_have_count(0)
    page.screenshot(path=PICTURES / f"{name}.png")


if __name__ == "__main__":
    main(*sys.argv[1:])
