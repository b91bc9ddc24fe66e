"""A disk that is full, or cannot be written, told as one sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from core.errors import InputError

_FULL = "No space left on device"


@contextmanager
def writing(place: Path, setting: str | None = None) -> Iterator[None]:
    """Raises InputError, naming ``place`` and the ``setting`` that moves it, where writing there fails."""
    try:
        yield
    except OSError as error:
        raise _storage_error(error, place, setting) from error
    except SafetensorError as error:  # it wraps the system's error in its own type
        if _FULL not in str(error):
            raise
        raise _storage_error(OSError(errno.ENOSPC, _FULL), place, setting) from error


def _storage_error(error: OSError, place: Path, setting: str | None) -> Exception:
    elsewhere = f"set {setting} to another disk" if setting else "choose another disk"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"The disk of {place} is full; free space there or {elsewhere}.")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return InputError(f"{place} cannot be written; give this user the right to, or {elsewhere}.")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return InputError(f"{place} cannot be a folder, since something else is in its place; choose another one.")
    return error
