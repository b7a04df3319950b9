r"""The errors of this package that a user can mend; each message names what is wrong and what to do."""


class MendableError(Exception):
    """Base of the errors that the command line prints as one message, without a traceback."""
