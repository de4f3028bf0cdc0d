"""The one exception whose message a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can put right.

    The message is one plain sentence that names the file or option, the cause and the remedy. ``cspine`` prints
    it on stderr and exits with code 2; the Slicer panel shows it in a message box. No traceback goes with it.
    """


class Cancelled(Exception):
    """The user cancelled the run; nothing is reported as an error."""
