"""Documents are listed page by page."""

from typing import Any, Final

import httpx
import pytest

from tests.integration.document_life.conftest import DOCUMENTS, listed, put
from tests.records import assert_problem

NAMES: Final = ("b.txt", "C.txt", "a.txt", "report 2025.txt", "Report-2026.txt")


class TestList:
    """Every document once, page by page."""

    @pytest.mark.parametrize(
        ("order", "expected"),
        [("newest", [4, 3, 2, 1, 0]), ("oldest", [0, 1, 2, 3, 4]), ("name", [1, 4, 2, 0, 3])],
    )
    @pytest.mark.parametrize("limit", [1, 2, 5, 200])
    def test_every_document_is_on_one_page(
        self, api: httpx.Client, order: str, expected: list[int], limit: int
    ) -> None:
        """In its order, however long pages are."""
        numbers = [put(api, name) for name in NAMES]
        assert listed(api, order=order, limit=limit) == [numbers[at] for at in expected]

    def test_names_that_are_the_same_do_not_hide_one_another(self, api: httpx.Client) -> None:
        """A page that ends between them goes on between them."""
        numbers = [put(api, "same.txt") for _ in range(5)]
        assert listed(api, order="name", limit=2) == numbers

    def test_what_is_stored_meanwhile_repeats_and_hides_nothing(self, api: httpx.Client) -> None:
        """The second page begins after the first one's end, whatever came before it since."""
        numbers = [put(api) for _ in range(4)]
        first = api.get(DOCUMENTS, params={"limit": 2})
        put(api)
        second = api.get(first.links["next"]["url"])
        pages = [[document["id"] for document in page.json()["documents"]] for page in (first, second)]
        assert pages == [numbers[:1:-1], numbers[1::-1]]

    def test_filters_go_together(self, api: httpx.Client) -> None:
        """By a part of the name in any case, by type, by time and by tags."""
        numbers = [put(api, name) for name in NAMES]
        api.patch(f"{DOCUMENTS}/{numbers[3]}", json={"tags": {"year": "2025", "kind": "a:b"}})
        at = api.get(f"{DOCUMENTS}/{numbers[2]}").json()["upload_timestamp"]
        for query, expected in (
            ({"name": "REPORT"}, [4, 3]),
            ({"name": "%"}, []),
            ({"file_type": "text/plain", "name": ".txt"}, [4, 3, 2, 1, 0]),
            ({"file_type": "text/html"}, []),
            ({"uploaded_from": at}, [4, 3, 2]),
            ({"uploaded_from": "0001-01-01T00:00:00+23:59"}, [4, 3, 2, 1, 0]),
            ({"uploaded_before": at}, [1, 0]),
            ({"tag": ["year:2025", "kind:a:b"]}, [3]),
            ({"tag": "year:2026"}, []),
            ({"deleted": "true"}, []),
        ):
            assert listed(api, **query) == [numbers[each] for each in expected], query
            assert listed(api, **query, limit=1) == [numbers[each] for each in expected], query

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": 0},
            {"limit": 201},
            {"order": "size"},
            {"cursor": "x"},
            {"cursor": "bnVsbA"},
            {"cursor": "\x00"},
            {"uploaded_from": "yesterday"},
            {"uploaded_from": "2026-01-01T00:00:00"},
            {"tag": "year"},
            {"tag": "a b:c"},
            {"name": ""},
            {"name": "a\x00"},
            {"page": 2},
        ],
        ids=str,
    )
    def test_what_is_no_question_is_refused(self, api: httpx.Client, query: dict[str, Any]) -> None:
        """422, with the name of what is wrong."""
        assert_problem(api.get(DOCUMENTS, params=query), 422)

    def test_a_cursor_is_of_its_order(self, api: httpx.Client) -> None:
        """Another order has another place."""
        for _ in range(2):
            put(api)
        cursor = api.get(DOCUMENTS, params={"limit": 1}).json()["next"]
        problem = assert_problem(api.get(DOCUMENTS, params={"cursor": cursor, "order": "name"}), 422)
        assert problem["detail"] == "The cursor is not one that was given for this order: begin without one."

    def test_a_client_lists_and_finds_its_own_documents_alone(self, api: httpx.Client) -> None:
        """Whatever others have."""
        put(api, client="other")
        assert api.get(DOCUMENTS).json() == {"documents": [], "next": None}
        assert api.get("/clients/acme/search", params={"q": "robin"}).json() == {"found": [], "next": None}
