"""Which bytes are text, and what telemetry may say of media types."""

import pytest

from document_api.labels import BoundedLabel, media_type_label
from document_api.text.decoding import decoded
from observability.signals import OTHER


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        ("zoë 中文 🙂".encode(), "zoë 中文 🙂"),
        ("\ufeffwith a mark".encode(), "with a mark"),
        ("utf-16 é".encode("utf-16"), "utf-16 é"),
        ("\ufeffbig é".encode("utf-16-be"), "big é"),
        (b"two\r\nlines\x0c\x1b", "two\r\nlines\x0c\x1b"),
        (b"", ""),
    ],
)
def test_text_is_decoded(data: bytes, text: str) -> None:
    """UTF-8 with and without a byte order mark, UTF-16 with one."""
    assert decoded(data) == text


@pytest.mark.parametrize("text", ["a中", "a🙂"])
def test_a_character_cut_off_at_the_end_is_dropped(text: str) -> None:
    """Only the beginning of a long document is read, and the cut falls anywhere."""
    data = text.encode()
    for end in range(2, len(data)):
        assert decoded(data[:end]) == "a", end


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00",
        b"caf\xe9 au lait",
        b"text with a \x00 in it",
        "no mark".encode("utf-16-le"),
        "\ufeffx".encode("utf-32-le"),
        b"\xc0\xaf overlong",
        b"\xed\xa0\x80 surrogate",
        b"\xff\xfe\x00\xd8\x41\x00",
    ],
)
def test_what_is_no_text_is_not_decoded(data: bytes) -> None:
    """PostgreSQL could not even store a NUL."""
    assert decoded(data) is None


def test_the_first_clients_keep_their_name_as_a_label() -> None:
    """The rest share one: time series stay few."""
    label = BoundedLabel(limit=2)
    assert [label.of(name) for name in ("a", "b", "c", "a", "c")] == ["a", "b", OTHER, "a", OTHER]


@pytest.mark.parametrize(
    ("media_type", "label"),
    [("text/plain", "text/plain"), ("text/x-mine", OTHER), ("", OTHER), ("TEXT/PLAIN", OTHER)],
)
def test_media_types_of_a_clients_own_share_a_label(media_type: str, label: str) -> None:
    """The list is closed."""
    assert media_type_label(media_type) == label
