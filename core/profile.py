"""What of a model can be pruned, in plain numbers: no tensors, so that pages and checks stay light."""

from __future__ import annotations

from pydantic import BaseModel


class ModuleInfo(BaseModel, frozen=True):
    """One linear map: ``name`` in full, the ``block`` it lives in, its ``label`` within it, shape [out, in]."""

    name: str
    block: int
    label: str
    shape: tuple[int, int]

    @property
    def parameters(self) -> int:
        return self.shape[0] * self.shape[1]


class ModelProfile(BaseModel, frozen=True):
    """A model's decoder blocks and prunable modules, in the order in which they are pruned."""

    architecture: str
    parameters: int
    """All parameters, tied ones once."""
    max_seqlen: int | None
    """None where the positions are not bounded (ALiBi)."""
    vocabulary: int
    hidden_size: int
    itemsize: int
    """Bytes of one weight as the checkpoint stores it."""
    modules: tuple[ModuleInfo, ...]

    @property
    def blocks(self) -> int:
        return 1 + max(module.block for module in self.modules)

    @property
    def prunable(self) -> int:
        return sum(module.parameters for module in self.modules)

    @property
    def labels(self) -> list[str]:
        """The modules' labels in the order of first appearance: the columns of a blocks × modules chart."""
        return list(dict.fromkeys(module.label for module in self.modules))
