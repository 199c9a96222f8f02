"""The page at / in a real browser, on a whole stack: documents, a request's story, health, keys; by keyboard, narrow, dark."""

import re
from typing import Any, Final

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser import Visit, choose_client, enter_keys, upload, visit
from tests.e2e.conftest import RunningStack
from tests.waiting import eventually

TEXT: Final = b"The harbour of Bergen is old. Seagulls are loud there. Ships come and go all day. "
CLIENT: Final = "page"
# What the blackbox exporter asks, each in its own moment of a quarter of a minute.
PROBED: Final = frozenset({"nginx", "document-api", "data-store", "postgresql"})
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Made up: the stack of these tests asks nobody who they are.
KEYS: Final = {"client": f"robin_{'1' * 12}_{'a' * 64}", "operator": f"robin_{'2' * 12}_{'b' * 64}"}
# What most people's windows are like, and what is hard: dark, and as narrow as a telephone.
LOOKS: Final[dict[str, dict[str, Any]]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark and narrow": {"color_scheme": "dark", "viewport": {"width": 360, "height": 740}},
}


def test_an_upload_is_followed_to_its_story(visited: Visit) -> None:
    """From the file to the SQL statement by one link: spans of every service, lines in order, metrics."""
    page = visited.page
    choose_client(page, CLIENT)
    upload(page, "harbour.txt", content=TEXT)
    expect(page.get_by_text("stored as document")).to_be_visible()
    link = page.locator(".uploads a.id")
    correlation_id = link.inner_text()
    assert UUID.fullmatch(correlation_id)

    link.click()

    spans = page.locator(".waterfall .span")
    for name in ("upload_document", "file_save", "store_metadata", "sql_execution", "transaction_commit"):
        expect(spans.filter(has_text=name).first).to_be_visible()
    expect(page.locator(".legend").first).to_contain_text("nginxdocument-apidata-storepostgresql")
    lines = page.locator(".lines li")
    expect(lines.filter(has_text="Document uploaded")).to_be_visible()
    # One that is late is looked for again by the page.
    for service in ("nginx", "document-api", "data-store"):
        expect(lines.filter(has_text=service).first).to_be_visible()
    expect(page.locator(".statements")).to_contain_text(f"correlation_id='{correlation_id}'")
    expect(page.locator("#story")).to_contain_text("http_requests_total")
    expect(page.locator(".verdict")).to_contain_text("no errors")

    spans.filter(has_text="sql_execution").locator("summary").first.click()
    expect(page.locator(".span[open] dl")).to_contain_text("db.operation.name")


def test_what_was_done_after_the_request_has_a_scale_of_its_own(visited: Visit, stack: RunningStack) -> None:
    """A summary that its upload did not wait for, under the same ID."""
    answer = httpx.put(
        f"{stack.endpoints['nginx']}/clients/{CLIENT}/upload-document?summary=async",
        files={"file": ("later.txt", TEXT, "text/plain")},
    )
    page = visited.page
    page.goto(f"/#requests/{answer.headers['X-Correlation-ID']}")
    afterwards = page.locator(".panel").filter(has=page.get_by_role("heading", name="Afterwards"))

    def shown() -> bool:
        page.reload()
        expect(page.locator(".waterfall").first).to_be_visible()
        return afterwards.is_visible()

    eventually(shown, "the later trace is told", seconds=20)
    expect(afterwards).to_contain_text("summarize_later")
    widest = afterwards.locator(".bar rect").first
    assert float(widest.get_attribute("width") or 0) > 500  # of a thousand


def test_a_failed_upload_says_why_and_is_found_among_the_failed(visited: Visit) -> None:
    """The answer's own words, a link to its story, and a row in the list."""
    page = visited.page
    choose_client(page, CLIENT)
    upload(page, "nothing.txt", content=b"")
    problem = page.locator(".uploads").get_by_role("alert")
    expect(problem).to_contain_text("The file is empty")
    correlation_id = (problem.get_by_role("link").get_attribute("href") or "").partition("/")[2]

    problem.get_by_role("link").click()

    expect(page.locator(".verdict")).to_contain_text("answered 422")
    expect(page.locator(".lines li").filter(has_text="nginx")).to_be_visible()
    page.get_by_label("Failed").check()
    row = page.get_by_role("row").filter(has_text=correlation_id)
    expect(row).to_contain_text("422")


def test_an_unknown_or_mistyped_id_is_said_to_be_one(visited: Visit) -> None:
    """Nobody waits for a story that does not come."""
    page = visited.page
    page.goto("/#requests/no-id")
    expect(page.get_by_role("alert")).to_contain_text("This is no correlation ID")
    page.get_by_label("Correlation ID").fill("00000000-0000-4000-8000-000000000000")
    page.get_by_role("button", name="Tell").click()
    expect(page.locator("#story")).to_contain_text("Still on its way")


def test_health_shows_what_is_up_and_the_last_hour(
    visited: Visit, stack: RunningStack, http: httpx.Client
) -> None:
    """Every component, three charts with lines, alerts and budgets."""
    url = f"{stack.endpoints['nginx']}/observability/health"

    def told() -> bool:
        """A stack that has just started is probed and counted first."""
        overview = http.get(url).json()["overview"]
        probed = {probe["service"] for probe in overview["probes"]}
        return bool(overview["charts"]["requests_per_second"]) and probed >= PROBED

    eventually(told, seconds=60)
    page = visited.page
    page.goto("/#health")
    components = page.get_by_role("list", name="Components")
    for name in ("file system", "data store", *PROBED):
        expect(components).to_contain_text(name)
    expect(page.locator("svg.chart")).to_have_count(3)
    expect(page.locator("svg.chart :is(polyline, circle)").first).to_be_attached()
    expect(page.get_by_role("heading", name="Alerts")).to_be_visible()
    expect(page.get_by_role("heading", name="Error budget of 30 days")).to_be_visible()


def test_keys_stay_in_the_tab_and_go_nowhere_else(visited: Visit, stack: RunningStack) -> None:
    """Each to its own routes, as headers; no cookie, nothing that outlives the tab, forgotten at once."""
    page = visited.page
    enter_keys(page, KEYS["client"], KEYS["operator"])
    choose_client(page, CLIENT)
    page.goto("/#requests")
    expect(page.get_by_role("table")).to_be_visible()

    origin = stack.endpoints["nginx"]
    assert {request.url.startswith(f"{origin}/") for request in visited.requests} == {True}
    sent = {
        (request.url.removeprefix(origin).split("/")[1], request.headers.get("x-api-key"))
        for request in visited.requests
    }
    assert ("clients", KEYS["client"]) in sent
    assert ("observability", KEYS["operator"]) in sent
    assert {key for part, key in sent if part not in {"clients", "observability"}} == {None}
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
    other = page.context.new_page()
    other.goto("/")
    assert other.evaluate("sessionStorage.length") == 0
    other.close()

    page.get_by_text("Keys", exact=True).click()
    page.get_by_role("button", name="Forget them").click()
    assert page.evaluate("Object.keys(sessionStorage).filter((name) => name.endsWith('key'))") == []


@pytest.mark.parametrize("look", LOOKS)
def test_everybody_can_use_it(chromium: Browser, stack: RunningStack, look: str) -> None:
    """axe finds nothing on any part, nothing is wider than the window, and a keyboard reaches every part."""
    with visit(chromium, stack.endpoints["nginx"], **LOOKS[look]) as opened:
        page = opened.page
        choose_client(page, CLIENT)
        upload(page, f"{look}.txt", content=TEXT)
        newest = page.get_by_role("list", name="Documents").get_by_role("listitem").first
        expect(newest.get_by_role("heading")).to_have_text(f"{look}.txt")
        newest.get_by_text("Tags").click()
        newest.get_by_text("Versions").click()
        expect(newest.get_by_role("button", name="Download version 1")).to_be_visible()
        sound(page)
        page.locator(".uploads a.id").click()
        expect(page.locator(".waterfall .span").nth(5)).to_be_visible()
        sound(page)
        for part in ("Documents", "Health"):
            page.reload()  # where the keyboard begins
            by_keyboard(page, part)
            expect(page.get_by_role("heading", level=1)).to_have_text(part)
            expect(page.locator("[aria-busy]")).to_have_count(0)
            sound(page)


def sound(page: Page) -> None:
    """Hold the page to WCAG as far as axe can tell, and to the window's width."""
    found = Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def by_keyboard(page: Page, link: str) -> None:
    """Go to a part as somebody without a mouse does."""
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == link:
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"no {link} within 12 presses of the tabulator")
