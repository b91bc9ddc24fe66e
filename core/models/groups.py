"""The parts of a decoder block that are refined together, and their losses and gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.models.replay import Stream, unwrapped
from core.models.structure import Block
from core.stages.block_loss import block_loss, loss_and_gradients


@dataclass(frozen=True)
class SubBlock:
    """``part`` of ``block`` with the modules below it, by full name; its loss is taken at the part's output."""

    block: Block
    name: str
    part: nn.Module
    modules: dict[str, nn.Module]

    def run(self, weights: Mapping[str, torch.Tensor], call: Call) -> torch.Tensor:
        """The part's output with these weights [out, in] in the place of its own; gradients flow back to them."""
        paths = {id(module): path for path, module in self.part.named_modules()}
        parameters = {}
        for name, module in self.modules.items():
            weight = weights[name].to(module.weight.dtype)  # type: ignore[arg-type]
            parameters[f"{paths[id(module)]}.weight"] = weight.T if isinstance(module, Conv1D) else weight
        return unwrapped(torch.func.functional_call(self.part, parameters, call.args, call.kwargs))


def sub_blocks(block: Block) -> list[SubBlock]:
    """The direct children of a block that hold prunable modules; those that sit directly in it form one more, last."""
    parts: list[SubBlock] = []
    direct = dict(block.modules)
    for name, child in block.layer.named_children():
        inside = {full: module for full, module in block.modules.items() if full.startswith(f"{block.name}.{name}.")}
        if inside:
            parts.append(SubBlock(block, name, child, inside))
            for full in inside:
                del direct[full]
    if direct:
        parts.append(SubBlock(block, "block", block.layer, direct))
    return parts


@dataclass(frozen=True)
class Call:
    """The arguments of one forward, and the output of the part as it then was."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: torch.Tensor


class SubBlockRun:
    """A sub-block on the stream: what it is called with for each batch, and what it makes of it."""

    def __init__(
        self, sub_block: SubBlock, stream: Stream, dense: Mapping[str, torch.Tensor], to_the_end: bool = False
    ) -> None:
        """``dense``: the dense weights [out, in] of the sub-block's modules by full name. ``to_the_end``: whether ``losses`` runs
        the whole block, for ``outputs``."""
        self._sub_block, self._stream, self._dense, self._to_the_end = sub_block, stream, dense, to_the_end
        self._calls: list[Call] = []
        self._targets: list[torch.Tensor] = []
        self._outputs: list[torch.Tensor] = []
        self._with: Mapping[str, torch.Tensor] = {}

    def gradients(self) -> Iterator[tuple[float, dict[str, torch.Tensor]]]:
        """For each batch the loss ``mean((dense(x) - pruned(x))^2)`` and its gradient [out, in] in the dense weights."""
        for call in _calls(self._sub_block, self._stream):
            self._calls.append(call)
            run = partial(self._sub_block.run, call=call)
            loss, gradients, target = loss_and_gradients(run, self._dense, call.output)
            self._targets.append(target)
            yield loss, gradients

    def losses(self, weights: Mapping[str, torch.Tensor]) -> Iterator[float]:
        """The loss for each batch with these weights; after ``gradients``."""
        if self._to_the_end:
            yield from self._losses_and_outputs(weights)
            return
        for call, target in zip(self._calls, self._targets, strict=True):
            yield block_loss(partial(self._sub_block.run, call=call), weights, target)

    def outputs(self, weights: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        """The block's output for each batch, where ``losses`` ran it to the end with these very weights; else nothing."""
        same = self._with.keys() == weights.keys() and all(self._with[name] is weights[name] for name in weights)
        return self._outputs if same else []

    def _losses_and_outputs(self, weights: Mapping[str, torch.Tensor]) -> Iterator[float]:
        part, block = self._sub_block, self._sub_block.block
        whole = SubBlock(block, "block", block.layer, part.modules)
        self._with, self._outputs = weights, []
        for (args, kwargs), target in zip(self._stream.arguments(block), self._targets, strict=True):
            given: list[torch.Tensor] = []
            with _watched(part.part, given):
                self._outputs.append(whole.run(weights, Call(args, kwargs, target)))
            yield float((target - given[0].float()).square().mean())


class BlockRun:
    """A whole block on the stream, and what it should make of each batch."""

    def __init__(self, block: Block, stream: Stream, targets: Sequence[torch.Tensor]) -> None:
        """``targets``: for each batch what the block's output [batch, seqlen, hidden] should be."""
        self._whole = SubBlock(block, "block", block.layer, block.modules)
        self._calls = [
            Call(args, kwargs, target) for (args, kwargs), target in zip(stream.arguments(block), targets, strict=True)
        ]

    def loss(self, batch: int, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """``mean((block(x) - target)^2)`` with these weights [out, in]; gradients flow back to them."""
        call = self._calls[batch]
        return (self._whole.run(weights, call).float() - call.output.float()).square().mean()


class _PartReached(Exception):
    pass


def _calls(sub_block: SubBlock, stream: Stream) -> Iterator[Call]:
    """One call a batch; the block is run no further than to the part's output."""
    block = sub_block.block
    for args, kwargs in stream.arguments(block):
        calls: list[Call] = []
        with torch.no_grad(), _stopped_after(sub_block.part, calls), suppress(_PartReached):
            block.layer(*args, **kwargs)
        if not calls:
            raise RuntimeError(f"{block.name}.{sub_block.name} does not run in the forward of its block.")
        yield calls[0]


@contextmanager
def _watched(part: nn.Module, outputs: list[torch.Tensor]) -> Iterator[None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        outputs.append(unwrapped(output))

    handle = part.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _stopped_after(part: nn.Module, calls: list[Call]) -> Iterator[None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls.append(Call(args, kwargs, unwrapped(output)))
        raise _PartReached

    handle = part.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
