"""The one exception that a user's own input may cause."""


class UserError(Exception):
    """An error that the user can correct: one sentence that says what to do, shown without a traceback."""
