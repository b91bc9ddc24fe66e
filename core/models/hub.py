"""The Hugging Face hub: what a model id stands for, and its files; everything that can go wrong in one sentence."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.hub import PATIENCE, one_sentence
from core.models.weights import weights_file

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TEXTS = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]  # config and tokenizer, in all their forms
_BELOW = ["*/*"]  # other formats of the same weights live in folders


def resolve_commit(model_id: str, revision: str, allow_bin: bool) -> str:
    """The commit that ``revision`` of ``model_id`` means now; from the local cache where the hub cannot be reached.

    Config and tokenizer are downloaded on the way. Raises InputError: no such model or revision, access denied, hub
    unreachable, no weights, or only .bin weights not allowed.
    """
    with _one_sentence(model_id, revision):
        commit: str = _api().resolve_revision(model_id, revision=revision).resolved
        texts_folder(model_id, commit)
    weights_file(model_id, _names(model_id, commit), allow_bin)
    return commit


@cache
def _api() -> HfApi:
    from huggingface_hub import HfApi

    class Impatient(HfApi):
        """Waits for an answer no longer than ``PATIENCE``; what is built on a look-up does not let it be said there."""

        def repo_info(self, *arguments: Any, **options: Any) -> Any:
            return super().repo_info(*arguments, **({"timeout": PATIENCE} | options))

    return Impatient()


def texts_folder(model_id: str, commit: str) -> Path:
    """The folder with config and tokenizer of a commit, downloaded where they are not in the local cache."""
    return _download(model_id, commit, _TEXTS)


def weights_folder(model_id: str, commit: str, allow_bin: bool) -> Path:
    """The same with the weights."""
    return _download(model_id, commit, [*_TEXTS, *_weights(model_id, commit, allow_bin)])


def has_weights(model_id: str, commit: str, allow_bin: bool) -> bool:
    """Whether a commit's weights are in the local cache; config and tokenizer are downloaded on the way."""
    folder = texts_folder(model_id, commit)
    return all((folder / file).exists() for file in _weights(model_id, commit, allow_bin))


def _weights(model_id: str, commit: str, allow_bin: bool) -> list[str]:
    """The files with the weights: one, or the shards that an index lists."""
    file = weights_file(model_id, _names(model_id, commit), allow_bin)
    if not file.endswith(".json"):
        return [file]
    index = json.loads((texts_folder(model_id, commit) / file).read_text(encoding="utf-8"))
    return sorted(set(index["weight_map"].values()))


def _download(model_id: str, commit: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    wanted: dict[str, Any] = {"revision": commit, "allow_patterns": patterns, "ignore_patterns": _BELOW}
    with _one_sentence(model_id, commit):
        return Path(snapshot_download(model_id, **wanted, local_files_only=not _can_be_listed(model_id, commit)))


def _can_be_listed(model_id: str, commit: str) -> bool:
    """Whether a commit's list of files is here, or the hub answers: asked once, where the download would try for a minute."""
    from httpx2 import TransportError
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, OfflineModeIsEnabled

    try:
        get_cached_repo_tree(model_id, revision=commit)
    except CachedRepoTreeNotFoundError:
        try:
            _api().repo_info(model_id, revision=commit)
        except (TransportError, OfflineModeIsEnabled):
            return False
    return True


def _names(model_id: str, commit: str) -> list[str]:
    """The files of a commit whose texts are in the local cache; what is cached where another program put them there."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return [file.path for file in get_cached_repo_tree(model_id, revision=commit)]
    except CachedRepoTreeNotFoundError:
        return [file.name for file in texts_folder(model_id, commit).iterdir()]


def _one_sentence(model_id: str, revision: str) -> AbstractContextManager[None]:
    return one_sentence("model", model_id, revision, instead="use a local folder or the embedded model")
