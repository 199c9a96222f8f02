"""Backup and restore: the tables of one moment and the files that their rows name, in one tar archive."""


class BackupError(Exception):
    """There is no backup, or nothing was restored; the message is one line that says what to do."""
