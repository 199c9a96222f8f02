"""What the command lines end with."""

from enum import IntEnum

FAILED = 1
MISUSED = 2
INTERRUPTED = 130


class Health(IntEnum):
    """What `status` ends with."""

    HEALTHY = 0
    UNHEALTHY = 1
    NOT_RUNNING = 3
