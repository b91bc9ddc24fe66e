"""What can go wrong with the Hugging Face hub, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import InputError, NotFound

PATIENCE = 5.0
"""Seconds for the hub to answer a look-up. Its own client would wait for ever, or try again for a minute."""


@contextmanager
def one_sentence(kind: str, name: str, revision: str, instead: str) -> Iterator[None]:
    """Raises InputError where the hub refuses ``revision`` of a model or corpus, or does not answer.

    ``kind`` and ``name``: what the user asked for, such as "model" and its id; ``instead``: what works without the hub.
    """
    from httpx2 import HTTPError  # what huggingface_hub itself raises from
    from huggingface_hub.errors import (
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    try:
        yield
    except HFValidationError:
        raise InputError(f"{kind} = {name!r} is not a hub id; write it as owner/name.") from None
    except GatedRepoError:
        raise InputError(
            f"{kind} = {name!r} is gated: accept its terms on the hub, then set HF_TOKEN to a token of that account."
        ) from None
    except RevisionNotFoundError:
        raise NotFound(
            f"revision = {revision!r} does not exist for {kind} {name!r}; use a branch, tag or commit."
        ) from None
    except RepositoryNotFoundError:
        raise NotFound(
            f"{kind} = {name!r} was not found on the hub; check the id, and if the {kind} is private or gated set HF_TOKEN."
        ) from None
    except (
        HTTPError,
        HfHubHTTPError,
        RevisionResolutionError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        FileMetadataError,
    ) as error:
        if status := _status(error):
            raise InputError(
                f"{kind} = {name!r}: the hub answered {status}; check HF_TOKEN, or try again later."
            ) from None
        raise InputError(
            f"{kind} = {name!r} cannot be reached: the hub does not answer and the {kind} is not in the local cache; "
            f"check the connection, or {instead}."
        ) from None


def _status(error: BaseException | None) -> int | None:
    """The status code the hub answered with, here or further down the chain of causes."""
    while error is not None:
        if (response := getattr(error, "response", None)) is not None:
            return int(response.status_code)
        error = error.__cause__
    return None
