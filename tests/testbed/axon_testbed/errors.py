"""The one error that reaches the user: what is missing and what to do about it."""


class BedError(Exception):
    """Says in one or two sentences what stopped the test bed and which command fixes it."""
