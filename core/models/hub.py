"""Asks the Hugging Face hub what a model id stands for, and says clearly what went wrong."""

from __future__ import annotations

import re
from pathlib import Path

from core.errors import InputError, NotFound

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_SECONDS = 10


def resolve_commit(model_id: str, revision: str, allow_bin: bool) -> str:
    """The commit that ``revision`` of ``model_id`` means now; from the local cache where the hub cannot be reached.

    Raises InputError: no such model or revision, access denied, hub unreachable, or only .bin weights not allowed.
    """
    if _COMMIT.fullmatch(revision) and (cached := _cached_commit(model_id, revision)):
        return cached
    commit, files = _ask(model_id, revision)
    if files is not None and not any(name.endswith(".safetensors") for name in files):
        if not any(name.endswith(".bin") for name in files):
            raise NotFound(f"model = {model_id!r} holds no weights in a form this program loads (safetensors).")
        if not allow_bin:
            raise InputError(
                f"model = {model_id!r} exists only as .bin weights; allow .bin weights (--allow-bin) to load them weights-only, "
                "or choose a model with safetensors."
            )
    return commit


def _ask(model_id: str, revision: str) -> tuple[str, list[str] | None]:
    from httpx2 import HTTPError  # what huggingface_hub itself raises from
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(model_id, revision=revision, timeout=_TIMEOUT_SECONDS)
        return str(info.sha), [file.rfilename for file in info.siblings or []]
    except HFValidationError:
        raise InputError(f"model = {model_id!r} is not a hub id; write it as owner/name.") from None
    except GatedRepoError:
        raise InputError(
            f"model = {model_id!r} is gated: accept its terms on the hub, then set HF_TOKEN to a token of that account."
        ) from None
    except RevisionNotFoundError:
        raise NotFound(
            f"revision = {revision!r} does not exist for model {model_id!r}; use a branch, tag or commit."
        ) from None
    except RepositoryNotFoundError:
        raise NotFound(
            f"model = {model_id!r} was not found on the hub; check the id, and if the model is private or gated set HF_TOKEN."
        ) from None
    except (HTTPError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        if cached := _cached_commit(model_id, revision):
            return cached, None
        if (response := getattr(error, "response", None)) is not None:
            raise InputError(
                f"model = {model_id!r}: the hub answered {response.status_code}; check HF_TOKEN, or try again later."
            ) from None
        raise InputError(
            f"model = {model_id!r} cannot be reached: the hub does not answer and the model is not in the local cache; "
            "check the connection, or use a local folder or the embedded model."
        ) from None


def _cached_commit(model_id: str, revision: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model_id, "config.json", revision=revision)
    return Path(path).parent.name if isinstance(path, str) else None
