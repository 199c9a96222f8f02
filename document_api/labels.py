"""Values that come from clients, as telemetry may have them: few, for each makes a time series, and none a text of theirs."""

from observability.signals import MEDIA_TYPES, OTHER


class BoundedLabel:
    """The first `limit` values keep their name, the rest are `other`."""

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, value: str) -> str:
        """Return the label for a value."""
        if value not in self._known and len(self._known) < self._limit:
            self._known.add(value)
        return value if value in self._known else OTHER


def media_type_label(media_type: str) -> str:
    """Return what is recorded as `file_type` of a media type, which clients choose freely."""
    return media_type if media_type in MEDIA_TYPES else OTHER
