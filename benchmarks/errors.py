"""What goes wrong while measuring."""


class BenchmarkError(Exception):
    """The measurement cannot be done; the message is for whoever started it."""
