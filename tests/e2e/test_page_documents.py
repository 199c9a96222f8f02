"""What the page does with documents, in a real browser on a whole stack."""

from pathlib import Path
from typing import Final

import httpx
from playwright.sync_api import Locator, Page, Route, expect

from observability.fields import MAX_TAGS
from tests.browser import Visit, choose_client, upload
from tests.e2e.conftest import RunningStack

CONTENT: Final = b"A fjord is long and deep. Seagulls love it."


def documents(page: Page) -> Locator:
    """Return the list of documents."""
    return page.get_by_role("list", name="Documents")


def sent_to(visited: Visit, route: str) -> int:
    """Return how many requests went to a route of uploads."""
    return sum(request.url.endswith(f"/{route}") for request in visited.requests)


def test_files_that_are_dropped_together_are_sent_together(visited: Visit) -> None:
    """In one request, where each has its own result: an empty one hinders no other."""
    page = visited.page
    choose_client(page, "page-several")
    dropped = page.evaluate_handle(
        "() => { const data = new DataTransfer(); for (const n of [1, 2, 0, 3, 4]) data.items.add(new File(['x'.repeat(n)], `${n}.txt`)); return data; }"
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    entries = page.locator(".uploads li")
    expect(entries.filter(has_text="stored as document")).to_have_count(4)
    expect(entries.nth(2)).to_contain_text("0.txt")
    expect(entries.nth(2).get_by_role("alert")).to_contain_text("The file is empty")
    expect(documents(page).get_by_role("heading")).to_have_text(["4.txt", "3.txt", "2.txt", "1.txt"])
    assert (sent_to(visited, "upload-documents"), sent_to(visited, "upload-document")) == (1, 0)
    # All of them are one request, and so one story.
    assert len({link.get_attribute("href") for link in entries.get_by_role("link").all()}) == 1


def test_where_none_is_stored_each_says_why(visited: Visit) -> None:
    """Though the answer is the problem of the first."""
    page = visited.page
    choose_client(page, "page-none")
    upload(page, "a.txt", "b.txt", content=b"")
    expect(page.locator(".uploads").get_by_role("alert")).to_contain_text(["The file is empty"] * 2)
    expect(page.get_by_text("There are no documents.")).to_be_visible()


def test_large_files_go_alone(visited: Visit) -> None:
    """Each with its own progress; what the service takes at once is a limit of requests, not of files."""
    page = visited.page
    choose_client(page, "page-large")
    upload(page, "a.txt", "b.txt", "c.txt", content=b"A large file. " * 50_000)
    expect(page.locator(".uploads li").filter(has_text="stored as document")).to_have_count(3)
    assert (sent_to(visited, "upload-documents"), sent_to(visited, "upload-document")) == (0, 3)


def test_a_file_that_is_gone_takes_no_other_with_it(visited: Visit, tmp_path: Path) -> None:
    """It says so by itself."""
    page, held = visited.page, list[Route]()
    choose_client(page, "page-gone")
    page.route("**/upload-document", lambda route: held.append(route))  # noqa: PLW0108  Playwright marks it
    for name in ("first.txt", "second.txt"):
        upload(page, name, content=CONTENT)  # they are all that is sent at once
    files = [tmp_path / "gone.txt", tmp_path / "there.txt"]
    for file in files:
        file.write_bytes(CONTENT)
    page.set_input_files("#files", files)
    files[0].unlink()
    for route in held:
        route.continue_()
    entries = page.locator(".uploads li")
    expect(entries.filter(has_text="gone.txt")).to_contain_text("It cannot be read")
    expect(entries.filter(has_text="stored as document")).to_have_count(3)


def test_a_document_is_found_fetched_deleted_and_restored(visited: Visit) -> None:
    """Its text is searched, what was found is marked, its bytes come back, and deleting asks once more."""
    page = visited.page
    choose_client(page, "page-life")
    upload(page, "fjord.txt", content=CONTENT)
    listed = documents(page)
    expect(listed.get_by_role("heading")).to_have_text(["fjord.txt"])
    upload(page, "hill.txt", content=b"A hill is high and dry.")
    expect(listed.get_by_role("heading")).to_have_text(["hill.txt", "fjord.txt"])

    page.get_by_label("Search").fill("seagulls")
    page.get_by_label("Search").press("Enter")
    expect(listed.get_by_role("heading")).to_have_text(["fjord.txt"])
    expect(listed.locator("mark")).to_have_text("Seagulls")
    assert fetched(page, "Download fjord.txt") == ("fjord.txt", CONTENT)

    page.get_by_role("button", name="Delete: fjord.txt").click()
    page.get_by_role("button", name="Really delete: fjord.txt?").click()
    expect(page.get_by_text("Nothing was found.")).to_be_visible()
    page.get_by_label("Deleted ones").check()
    expect(listed.locator(".facts")).to_contain_text("deleted ")
    page.get_by_role("button", name="Restore fjord.txt").click()
    expect(page.get_by_text("None is deleted.")).to_be_visible()
    page.get_by_label("Deleted ones").uncheck()
    expect(listed.get_by_role("heading")).to_have_text(["fjord.txt"])


def test_a_document_gets_new_versions_and_shows_what_it_was(visited: Visit) -> None:
    """Under its new name, in its place; each version's bytes can be had."""
    page, changed = visited.page, b"A fjord is narrow, too."
    choose_client(page, "page-versions")
    upload(page, "fjord.txt", content=CONTENT)
    listed = documents(page)
    listed.get_by_text("Versions").click()
    expect(page.get_by_role("button", name="Download version 1 of fjord.txt")).to_be_visible()
    upload(page, "fjord-2.txt", content=changed, into=".versions input")

    expect(listed.get_by_role("heading")).to_have_text(["fjord-2.txt"])
    expect(listed.locator(".summary")).to_have_text(changed.decode())
    expect(listed.get_by_text("stored as version 2 of document")).to_be_visible()
    expect(listed.locator(".versions")).to_contain_text("Versions (2)")
    assert fetched(page, "Download version 1 of fjord.txt") == ("fjord.txt", CONTENT)
    assert fetched(page, "Download version 2 of fjord-2.txt") == ("fjord-2.txt", changed)

    upload(page, "nothing.txt", content=b"", into=".versions input")
    expect(listed.get_by_role("alert")).to_contain_text("The file is empty")
    expect(listed.get_by_role("heading")).to_have_text(["fjord-2.txt"])


def fetched(page: Page, button: str) -> tuple[str, bytes]:
    """Press a button that downloads, and return the file's name and bytes."""
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def set_tag(page: Page, name: str, value: str) -> None:
    """Set a tag of the only document."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Value").fill(value)
    page.get_by_label("Value").press("Enter")


def test_an_upload_disturbs_nobody_who_is_changing_something(visited: Visit) -> None:
    """What is new comes on top; what is half written stays."""
    page = visited.page
    choose_client(page, "page-midst")
    upload(page, "fjord.txt", content=CONTENT)
    listed = documents(page)
    listed.get_by_text("Tags").click()
    page.get_by_label("Name").fill("half")
    upload(page, "hill.txt", "sea.txt", content=CONTENT)
    expect(listed.get_by_role("heading")).to_have_text(["sea.txt", "hill.txt", "fjord.txt"])
    expect(listed.get_by_label("Name").last).to_have_value("half")
    page.get_by_role("button", name="Show").click()
    expect(listed.locator("details[open]")).to_have_count(0)
    expect(listed.get_by_role("heading")).to_have_text(["sea.txt", "hill.txt", "fjord.txt"])


def test_tags_are_set_changed_and_removed(visited: Visit, stack: RunningStack, http: httpx.Client) -> None:
    """In the document's place, by keyboard alone; what the service refuses is said there."""
    page = visited.page
    choose_client(page, "page-tags")
    upload(page, "fjord.txt", content=CONTENT)
    listed = documents(page)
    listed.get_by_text("Tags").press("Enter")
    for value in ("2025", "2026"):
        set_tag(page, "year", value)
        expect(listed.locator(".facts")).to_contain_text(f"year: {value}")
        expect(listed.locator(".tags summary")).to_be_focused()
    expect(listed.locator(".facts")).not_to_contain_text("2025")

    page.get_by_role("button", name="Remove tag year").press("Enter")
    expect(listed.locator(".facts")).not_to_contain_text("year")

    path = f"{stack.endpoints['nginx']}/clients/page-tags/documents"
    (document,) = http.get(path).json()["documents"]
    tags = {f"tag-{n}": "1" for n in range(MAX_TAGS)}
    http.patch(f"{path}/{document['id']}", json={"tags": tags}).raise_for_status()
    page.get_by_role("button", name="Show").click()
    listed.get_by_text("Tags (32)").click()
    set_tag(page, "one-more", "1")
    expect(listed.get_by_role("alert")).to_contain_text(f"A document may have {MAX_TAGS} tags.")
