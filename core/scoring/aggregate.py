"""A large matrix as few cells: their means and maxima, in the matrix's own rows and columns."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

CELLS = 256
"""Rows and columns of cells at most: what a screen can show."""


class Window(NamedTuple):
    """Consecutive rows and columns of a matrix, from the first of each on."""

    row: int
    column: int
    rows: int
    columns: int

    @classmethod
    def whole(cls, shape: tuple[int, int]) -> Window:
        return cls(0, 0, *shape)

    @classmethod
    def around(cls, row: int, column: int, extent: int, shape: tuple[int, int]) -> Window:
        """The one of those ``extent`` rows and columns wide, laid side by side over the matrix, that holds a weight."""
        first = [at // extent * extent for at in (row, column)]
        return cls(*first, *(min(extent, size - at) for at, size in zip(first, shape, strict=True)))

    def of(self, matrix: Shaped[np.ndarray, "out in"]) -> Shaped[np.ndarray, "rows columns"]:
        """This part of ``matrix``, a view."""
        return matrix[self.row : self.row + self.rows, self.column : self.column + self.columns]


class Aggregated(NamedTuple):
    """Mean and maximum of every cell [down, across]; a cell's rows reach from its edge to the next one."""

    mean: np.ndarray
    maximum: np.ndarray
    row_edges: np.ndarray
    """[down + 1], as the matrix counts them."""
    column_edges: np.ndarray

    @property
    def true(self) -> bool:
        """Whether every cell is one entry of the matrix."""
        return bool((np.diff(self.row_edges) == 1).all() and (np.diff(self.column_edges) == 1).all())


def edges(first: int, extent: int, cells: int) -> Int[np.ndarray, " edges"]:
    """Where the cells begin, and where the last one ends: as even as whole numbers allow, and no cell empty."""
    count = min(extent, cells)
    return first + np.arange(count + 1) * extent // count


def aggregate(matrix: Shaped[np.ndarray, "out in"], window: Window | None = None, cells: int = CELLS) -> Aggregated:
    """Mean and maximum, float32, of at most ``cells`` × ``cells`` cells of ``matrix`` (numbers, or a mask), or of a window of it.

    Every entry counts in exactly one cell; where the window has no more rows and columns than there are cells, each cell
    is one entry, to the last bit. Takes about 0.2 s for 4096 × 11008 entries.
    """
    window = window or Window.whole((matrix.shape[0], matrix.shape[1]))
    row_edges, column_edges = edges(window.row, window.rows, cells), edges(window.column, window.columns, cells)
    part, down, across = window.of(matrix), row_edges - window.row, column_edges - window.column
    if part.dtype == bool:
        part = part.view(np.uint8)
    # Slices of whole rows first: numpy adds them up at the speed of memory, which ``reduceat`` over rows does not.
    strips = [part[a:b] for a, b in pairwise(down)]
    wide = np.result_type(part, np.float32) if part.dtype.kind == "f" else np.uint32
    sums = np.stack([strip.sum(axis=0, dtype=wide) for strip in strips])
    highest = np.stack([strip.max(axis=0) for strip in strips])
    sizes = np.outer(np.diff(down), np.diff(across))
    mean = np.add.reduceat(sums.astype(np.float64), across[:-1], axis=1) / sizes
    maximum = np.maximum.reduceat(highest, across[:-1], axis=1)
    return Aggregated(mean.astype(np.float32), maximum.astype(np.float32), row_edges, column_edges)


def along(values: Float[np.ndarray, " n"], cell_edges: Int[np.ndarray, " edges"]) -> Aggregated:
    """The same of one value a column, such as the norms of a module's inputs, with the columns' edges of a map."""
    first, last = cell_edges[0], cell_edges[-1]
    at, part = cell_edges[:-1] - first, values[first:last]
    mean = np.add.reduceat(part.astype(np.float64), at) / np.diff(cell_edges)
    maximum = np.maximum.reduceat(part, at)
    return Aggregated(mean[None].astype(np.float32), maximum[None], np.array([0, 1]), cell_edges)


def row_means(map_: Aggregated) -> Float[np.ndarray, " down"]:
    """The mean of every row of cells."""
    return np.average(map_.mean, axis=1, weights=np.diff(map_.column_edges))


def coarser(map_: Aggregated, cells: int) -> Aggregated:
    """At most ``cells`` × ``cells`` larger cells, each made of whole cells of ``map_``."""
    down, across = (edges(0, len(found) - 1, cells) for found in (map_.row_edges, map_.column_edges))
    sizes = np.outer(np.diff(map_.row_edges), np.diff(map_.column_edges)).astype(np.float64)

    def gathered(ufunc: np.ufunc, values: np.ndarray) -> np.ndarray:
        found: np.ndarray = ufunc.reduceat(ufunc.reduceat(values, down[:-1], axis=0), across[:-1], axis=1)
        return found

    mean = gathered(np.add, map_.mean * sizes) / gathered(np.add, sizes)
    return Aggregated(
        mean.astype(np.float32), gathered(np.maximum, map_.maximum), map_.row_edges[down], map_.column_edges[across]
    )
