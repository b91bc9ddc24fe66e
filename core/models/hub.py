"""The Hugging Face hub: what a model id stands for, and its files; everything that can go wrong in one sentence."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

from core.hub import one_sentence
from core.models.weights import weights_file

_TEXTS = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken"]  # config and tokenizer, in all their forms
_BELOW = ["*/*"]  # other formats of the same weights live in folders


def resolve_commit(model_id: str, revision: str, allow_bin: bool) -> str:
    """The commit that ``revision`` of ``model_id`` means now; from the local cache where the hub cannot be reached.

    Config and tokenizer are downloaded on the way. Raises InputError: no such model or revision, access denied, hub
    unreachable, no weights, or only .bin weights not allowed.
    """
    from huggingface_hub import HfApi

    with _one_sentence(model_id, revision):
        commit: str = HfApi().resolve_revision(model_id, revision=revision).resolved
        texts_folder(model_id, commit)
    weights_file(model_id, _names(model_id, commit), allow_bin)
    return commit


def texts_folder(model_id: str, commit: str) -> Path:
    """The folder with config and tokenizer of a commit, downloaded where they are not in the local cache."""
    return _download(model_id, commit, _TEXTS)


def weights_folder(model_id: str, commit: str, allow_bin: bool) -> Path:
    """The same with the weights."""
    folder = texts_folder(model_id, commit)
    file = weights_file(model_id, _names(model_id, commit), allow_bin)
    shards = set(json.loads((folder / file).read_text())["weight_map"].values()) if file.endswith(".json") else {file}
    return _download(model_id, commit, [*_TEXTS, *sorted(shards)])


def _download(model_id: str, commit: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    with _one_sentence(model_id, commit):
        return Path(snapshot_download(model_id, revision=commit, allow_patterns=patterns, ignore_patterns=_BELOW))


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
