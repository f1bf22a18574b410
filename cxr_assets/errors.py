"""Errors that people see: each says where, what, what would be right, and what state things are in."""

import difflib
from collections.abc import Iterable


class CxrError(Exception):
    """Base of every failure that the project states in words (exit code 1 on the command line)."""


class InputError(CxrError):
    """A file, row or value that came from outside is not what its format promises."""


class SettingsError(CxrError):
    """The configuration is contradictory or names something that does not exist."""


class StorageError(CxrError):
    """The data root cannot be read or written as it must be."""


class CheckError(CxrError):
    """A blocking check failed; what was computed before it stays."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence (with a space before it) that names what is spelt nearly so; empty if nothing is."""
    near = difflib.get_close_matches(name, list(known), n=2, cutoff=0.4)
    return f" Did you mean {' or '.join(near)}?" if near else ""
