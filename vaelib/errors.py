r"""The errors of this package that a user can mend; each message names what is wrong and what to do."""


class MendableError(Exception):
    """Base of the errors that the command line prints as one message, without a traceback.

    >>> try:
    ...     load("images.npz")
    ... except MendableError as error:
    ...     print(error)
    images.npz cannot be read (...); np.savez('images.npz', images=images) writes it
    """


def positive_std(name: str, value: float) -> float:
    """The value itself; raises ValueError that names it unless it is a positive standard deviation.

    >>> positive_std("sigma", 0.5)
    0.5
    >>> positive_std("sigma", 0.0)
    Traceback (most recent call last):
        ...
    ValueError: sigma must be a positive standard deviation, got 0.0
    """
    if not value > 0:
        raise ValueError(f"{name} must be a positive standard deviation, got {value}")
    return value
