"""The two classes through which omicsfm speaks to its user."""

from __future__ import annotations


class InputError(ValueError):
    """Input that omicsfm cannot work with.

    The message says the function, what was needed, what was found, and the fix. The command line prints it as one line
    and exits with code 2; it never shows a traceback for it.
    """


class OmicsfmWarning(UserWarning):
    """Something the user should know, though the work went on."""
