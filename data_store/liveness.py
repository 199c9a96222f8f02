"""What lets a server that vanished without a word be noticed in seconds, not in the hours of TCP's own defaults."""

from collections.abc import Mapping
from typing import Final

# As libpq names them.
KEEPALIVES: Final[Mapping[str, int]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
