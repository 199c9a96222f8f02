"""What can go wrong with the stack, as one clear line each."""


class StackError(Exception):
    """The stack cannot do what was asked; the message says what to do."""


class UsageError(StackError):
    """The configuration or the command line is wrong: nothing was started."""
