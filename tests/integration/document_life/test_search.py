"""Documents are found by their words."""

from typing import Any, Final

import httpx
import pytest

from tests.integration.document_life.conftest import DOCUMENTS, listed, put
from tests.telemetry_spy import TelemetrySpy


class TestSearch:
    """By words of the name and of the text."""

    TEXTS: Final = (
        ("birds.txt", b"The robin sings. A robin is a small bird; robins are loved."),
        ("Robin_Hood-2026.txt", b"An outlaw of Sherwood."),
        ("sea.txt", "Der Fluß fließt. Ночь тиха. 東京".encode()),
        ("empty.txt", b"Nothing of it."),
    )

    @pytest.fixture
    def numbers(self, api: httpx.Client) -> list[int]:
        """The documents that are searched."""
        return [put(api, name, text) for name, text in self.TEXTS]

    def found(self, api: httpx.Client, words: str, **query: Any) -> list[dict[str, Any]]:
        """Return what is found."""
        answer = api.get("/clients/acme/search", params={"q": words, **query})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["found"]
        return found

    @pytest.mark.parametrize(
        ("words", "expected"),
        [
            ("robin", [1, 0]),  # a name counts more
            ("ROBIN bird", [0]),
            ("hood 2026", [1]),
            ('"small bird"', [0]),
            ('"bird small"', []),
            ("robin -sherwood", [0]),
            ("sherwood OR fluß", [1, 2]),
            ("ночь", [2]),
            ("東京", [2]),
            ("bi", []),
            ("client:acme", []),
            ("' OR 1=1 --", []),
            ("!", []),
            ("robin_hood-2026.txt", []),
        ],
    )
    def test_documents_are_found_by_their_words(
        self, api: httpx.Client, numbers: list[int], words: str, expected: list[int]
    ) -> None:
        """The best first; nothing that is asked for is a language of its own."""
        found = [each["document"]["id"] for each in self.found(api, words)]
        assert sorted(found) == sorted(numbers[each] for each in expected)
        if words == "robin":
            assert found == [numbers[each] for each in expected]

    @pytest.mark.usefixtures("numbers")
    def test_an_excerpt_shows_where_the_words_are(self, api: httpx.Client) -> None:
        """As places in it, for whoever shows it marks them in his own way."""
        found = self.found(api, "robin")[1]
        assert {found["excerpt"][start:end].lower() for start, end in found["highlights"]} == {"robin"}
        assert "\x02" not in found["excerpt"]

    @pytest.mark.usefixtures("numbers")
    def test_pages_go_on_where_the_last_one_ended(self, api: httpx.Client) -> None:
        """Each document once, in the same order as on one page."""
        more = [put(api, f"{n}.txt", b"robin " * (n + 1)) for n in range(5)]
        assert len(more) == 5
        whole = [each["document"]["id"] for each in self.found(api, "robin")]
        answer = api.get("/clients/acme/search", params={"q": "robin", "limit": 2})
        pages = [each["document"]["id"] for each in answer.json()["found"]]
        while "next" in answer.links:
            answer = api.get(answer.links["next"]["url"])
            pages += [each["document"]["id"] for each in answer.json()["found"]]
        assert pages == whole
        assert len(whole) == 7

    def test_what_is_asked_for_is_told_nowhere(
        self, api: httpx.Client, telemetry: TelemetrySpy, numbers: list[int]
    ) -> None:
        """A search is as private as a document; so is a part of a name, and a tag."""
        self.found(api, "swordfish")
        listed(api, name="swordfish", tag="swordfish:1")
        api.patch(f"{DOCUMENTS}/{numbers[0]}", json={"tags": {"swordfish": "swordfish"}})
        assert "swordfish" not in telemetry.everything()
