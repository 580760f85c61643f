"""Who runs a command: the name that decisions and versions are recorded under."""

from __future__ import annotations

import getpass
import os


class NamelessUserError(Exception):
    """The user has no name, as in a container that runs under a number; the message says what to do."""


def user_name() -> str:
    """The name of the user who runs this. Raises `NamelessUserError`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise NamelessUserError(f"user {os.getuid()} has no name here: say with --by who does this") from error
