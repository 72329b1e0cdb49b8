"""Exceptions: one class for each way in which a call can fail."""

from __future__ import annotations

from ._nnl import Diagnostic


class Error(Exception):
    """What every failure of nnl is. After it, every object is as usable as before.

    message      one line
    diagnostics  what the compiler or the run said, as a list of nnl.Diagnostic (may be empty)

    str() is the diagnostics as `nnlc check` prints them, or the message where there are none.
    """

    message: str
    diagnostics: list[Diagnostic]

    def __init__(self, message: str, diagnostics: list[Diagnostic] | None = None):
        super().__init__(message, diagnostics or [])
        self.message = message
        self.diagnostics = diagnostics or []

    def __str__(self) -> str:
        return "\n".join(str(d).rstrip("\n") for d in self.diagnostics) or self.message


class InvalidArgument(Error, ValueError):
    """Of a function here: an unknown name, an output of the wrong shape."""


class CompileError(Error):
    """The text of a program is wrong, or arrays don't fit a layer: see the diagnostics."""


class Unsupported(Error, NotImplementedError):
    """It is right, but this version can't do it."""


class DataError(Error):
    """A file is missing, malformed or doesn't fit."""


class RunError(Error):
    """It stopped while running: the loss isn't finite, a label is out of range, an assertion failed."""


class Cancelled(Error):
    """A CancelToken was set."""


class CopyNeeded(Error, TypeError):
    """The memory of an array can't be used as it is, and copying wasn't allowed: the message says why."""


class OutOfMemory(Error, MemoryError):
    """There wasn't enough memory."""


class InternalError(Error):
    """A bug of nnlc."""


_of_status: dict[str, type[Error]] = {
    "invalid argument": InvalidArgument,
    "program error": CompileError,
    "unsupported": Unsupported,
    "data error": DataError,
    "run failed": RunError,
    "cancelled": Cancelled,
    "copy needed": CopyNeeded,
    "out of memory": OutOfMemory,
}


def make(status: str, message: str, diagnostics: list[Diagnostic]) -> Error:
    """The exception for a status of the library."""
    kind = _of_status.get(status, InternalError)
    if kind is CopyNeeded:
        message += "; copy=True allows that"
    return kind(message, diagnostics)
