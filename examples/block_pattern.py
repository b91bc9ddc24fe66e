"""A pattern of your own: whole tiles of weights go together."""

from typing import ClassVar

import torch
from pydantic import Field

from core import InputError, Pattern
from core.selection import smallest


class BlockSparsity(Pattern):
    """Of all ``size`` × ``size`` tiles of a matrix, those with the smallest sum of scores go."""

    name: ClassVar[str] = "block"
    title: ClassVar[str] = "Block sparsity"

    size: int = Field(4, ge=1, le=128, title="Tile size b", description="Tiles of b × b weights are pruned as one.")

    @property
    def label(self):
        return f"{self.size} × {self.size} blocks"

    def check(self, module, shape):
        if shape[0] % self.size or shape[1] % self.size:
            raise InputError(
                f"pattern = {self.label} does not fit {module} ({shape[0]} × {shape[1]}); choose another size."
            )

    def keep(self, scores, sparsity):
        return self._spread(
            ~smallest(self._tiles(scores).sum(dim=(1, 3)).reshape(1, -1), self._pruned(scores, sparsity)), scores
        )

    def violation(self, keep, sparsity):
        tiles = self._tiles(keep).sum(dim=(1, 3))
        whole = ((tiles == 0) | (tiles == self.size**2)).all()
        pruned = int((tiles == 0).sum())
        if whole and pruned == self._pruned(keep, sparsity):
            return None
        return f"{pruned} whole tiles are pruned, not {self._pruned(keep, sparsity)}"

    def _tiles(self, matrix):
        return matrix.reshape(matrix.shape[0] // self.size, self.size, matrix.shape[1] // self.size, self.size)

    def _pruned(self, matrix, sparsity):
        return int(matrix.numel() // self.size**2 * sparsity)

    def _spread(self, tiles, like):
        grid = tiles.reshape(like.shape[0] // self.size, like.shape[1] // self.size)
        return grid.repeat_interleave(self.size, dim=0).repeat_interleave(self.size, dim=1).to(torch.bool)
