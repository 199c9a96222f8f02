"""Backup and restore: the tables of one moment and the files that their rows name, in one tar archive."""

from typing import Final

# What a backup or a restore ends with that is done, but for bytes that had been lost before.
INCOMPLETE: Final = 4


class BackupError(Exception):
    """There is no backup, or nothing was restored; the message is one line that says what to do."""
