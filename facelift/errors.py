"""The one exception that a user's own input may cause."""


class UserError(Exception):
    """Something the user can mend. Its text is one sentence that says what to do; no traceback is shown."""
