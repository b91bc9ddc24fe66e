"""Errors a user can cause, each told in one sentence."""

from typing import Any

from pydantic import ValidationError


class InputError(ValueError):
    """What was asked for cannot be done; the message names the parameter, its value and what to do."""


class NotFound(InputError):
    """A run, model, corpus or file that does not exist."""


class Cancelled(Exception):
    """The user asked the run to stop; raised between two steps."""


def explain(error: Exception) -> str:
    """One sentence for the user: pydantic's errors by field, everything else by its own message."""
    if isinstance(error, ValidationError):
        return " ".join(_explain_field(dict(detail)) for detail in error.errors())
    if isinstance(error, OSError) and error.strerror:
        place = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{place}."
    return str(error) or type(error).__name__


def _explain_field(detail: dict[str, Any]) -> str:
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "value_error":  # ours: already a sentence that names the parameter
        return message
    path = ".".join(str(part) for part in detail["loc"]) or "input"
    if detail["type"] == "extra_forbidden":
        return f"{path} is not a known parameter; remove it or correct its name."
    return f"{path} = {detail['input']!r} is not valid: {message}."
