"""What can go wrong, as one line each."""


class AdminError(Exception):
    """What was asked for could not be done, and nothing was; the message is one line that says what to do."""
