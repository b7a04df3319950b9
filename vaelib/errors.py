r"""The errors of this package that a user can mend; each message names what is wrong and what to do."""


class MendableError(Exception):
    """Base of the errors that the command line prints as one message, without a traceback."""


def positive_std(name: str, value: float) -> float:
    """The value itself; raises ValueError that names it unless it is a positive standard deviation."""
    if not value > 0:
        raise ValueError(f"{name} must be a positive standard deviation, got {value}")
    return value
