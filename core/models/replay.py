"""Runs a model's decoder blocks one by one, each with exactly the arguments the model itself would give it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from core.errors import InputError
from core.models.structure import Block, slices_logits


class _LastBlockReached(Exception):
    pass


class _WrongForm(Exception):
    pass


@dataclass
class Stream:
    """The hidden states on their way through the blocks, one tensor [batch, seqlen, hidden] per batch of windows."""

    hidden: list[torch.Tensor]
    _calls: list[list[_Call]]  # by batch, by block
    _as_tuple: bool

    def branch(self) -> Stream:
        """A stream from where this one stands, which may go another way."""
        return Stream(list(self.hidden), self._calls, self._as_tuple)

    def forward(self, block: Block) -> Iterator[torch.Tensor]:
        """The block's output for each batch, from the hidden states that stand before it."""
        for args, kwargs in self.arguments(block):
            yield unwrapped(block.layer(*args, **kwargs))

    def arguments(self, block: Block) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What the block is called with for each batch."""
        for hidden, calls in zip(self.hidden, self._calls, strict=True):
            yield (hidden, *calls[block.index].args), calls[block.index].kwargs

    def propagate(self, block: Block, known: Sequence[torch.Tensor] = ()) -> Iterator[int]:
        """Replaces the hidden states by the block's output, batch by batch; yields how many are done.

        ``known``: the output for each batch, where it is known already.
        """
        for batch, output in enumerate(known or self.forward(block)):
            self.hidden[batch] = output
            yield batch + 1

    def ends(self, model: PreTrainedModel, blocks: list[Block], batches: Sequence[torch.Tensor]) -> Iterator[StreamEnd]:
        """The hidden states taken as the last block's output, batch by batch.

        ``batches``: the windows the stream was captured on, as they were split.
        """
        for tokens, hidden in zip(batches, self.hidden, strict=True):
            yield StreamEnd(model, blocks, tokens.to(model.device), (hidden,) if self._as_tuple else hidden)


@dataclass(frozen=True)
class StreamEnd:
    """What a model's last block gave for a batch of windows; the model makes logits of it, as few at a time as wanted."""

    model: PreTrainedModel
    blocks: list[Block]
    tokens: Int[torch.Tensor, "batch seqlen"]
    output: Any

    def logits(self, positions: Int[torch.Tensor, " kept"]) -> Float[torch.Tensor, "batch kept vocabulary"]:
        """The model's own logits at these positions (on the CPU), with all that it does to them: caps, scales, tied heads.

        The model runs with every block handing on ``output``: embedding, final norm and head are all that computes, and the
        head only at ``positions``, where the model ``slices_logits``.
        """

        def passing(*args: Any, **kwargs: Any) -> Any:
            return self.output

        some = slices_logits(self.model)
        kept: dict[str, Any] = {"logits_to_keep": positions} if some else {}
        with _replaced_forwards(self.blocks, passing):
            logits: torch.Tensor = self.model(input_ids=self.tokens, use_cache=False, **kept).logits
        return logits if some else logits[:, positions]


def run_blocks(model: PreTrainedModel, blocks: list[Block], tokens: Int[torch.Tensor, "batch seqlen"]) -> StreamEnd:
    """Runs ``model`` up to the end of its last block. Raises InputError where it does not come there."""
    last = blocks[-1].layer
    own, outputs = last.forward, []

    def stopping(*args: Any, **kwargs: Any) -> Any:
        outputs.append(own(*args, **kwargs))
        raise _LastBlockReached

    tokens = tokens.to(model.device)
    with _replaced_forwards(blocks[-1:], stopping), suppress(_LastBlockReached):
        model(input_ids=tokens, use_cache=False)
    if not outputs:
        raise _not_all_blocks(model, blocks)
    return StreamEnd(model, blocks, tokens, outputs[0])


def unwrapped(output: Any) -> torch.Tensor:
    """The hidden states, where a module returns more beside them."""
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Call:
    args: tuple[Any, ...]  # positional arguments after the hidden states
    kwargs: dict[str, Any]


def capture(
    model: PreTrainedModel, blocks: list[Block], windows: Int[torch.Tensor, "n seqlen"], batch_size: int
) -> Stream:
    """The stream before the first block, with every block's own arguments (masks, positions) for every batch.

    No block computes: each passes its input through, the last one stops the model. Blocks that return a tuple in the
    model's own forward do so here too, which is found out by looking at what reaches the next block.
    """
    hidden, calls, as_tuple = [], [], False
    for batch in windows.split(batch_size):
        try:
            first, batch_calls = _capture_batch(model, blocks, batch, as_tuple)
        except _WrongForm:
            as_tuple = True
            first, batch_calls = _capture_batch(model, blocks, batch, as_tuple)
        hidden.append(first)
        calls.append(batch_calls)
    return Stream(hidden, calls, as_tuple)


def _capture_batch(
    model: PreTrainedModel, blocks: list[Block], batch: torch.Tensor, as_tuple: bool
) -> tuple[torch.Tensor, list[_Call]]:
    inputs: list[torch.Tensor] = []
    calls: list[_Call] = []

    def passing(*args: Any, **kwargs: Any) -> Any:
        if "hidden_states" in kwargs:
            args = (kwargs.pop("hidden_states"), *args)
        if inputs and not _same(args[0], inputs[0]):
            if not as_tuple and args[0].shape == inputs[0].shape[1:]:  # the model took [0] of what it thinks a tuple
                raise _WrongForm
            raise InputError(
                f"model = {type(model).__name__} changes the hidden states between its blocks, "
                "so they cannot be run one by one; it is not supported."
            )
        inputs.append(args[0])
        calls.append(_Call(args[1:], kwargs))
        if len(calls) == len(blocks):
            raise _LastBlockReached
        return (args[0],) if as_tuple else args[0]

    with _replaced_forwards(blocks, passing):
        try:
            model(input_ids=batch.to(model.device), use_cache=False)
        except _LastBlockReached:
            return inputs[0], calls
    raise _not_all_blocks(model, blocks)


def _not_all_blocks(model: PreTrainedModel, blocks: list[Block]) -> InputError:
    return InputError(
        f"model = {type(model).__name__} did not run all of its {len(blocks)} blocks; it is not supported."
    )


def _same(received: torch.Tensor, sent: torch.Tensor) -> bool:
    """True where a block receives what the one before it returned, perhaps moved to another device."""
    return received is sent or (received.shape == sent.shape and torch.equal(received.to(sent.device), sent))


@contextmanager
def _replaced_forwards(blocks: list[Block], forward: Any) -> Iterator[None]:
    own = [block.layer.__dict__.get("forward") for block in blocks]  # set where accelerate wraps a layer
    try:
        for block in blocks:
            block.layer.forward = forward
        yield
    finally:
        for block, original in zip(blocks, own, strict=True):
            if original is None:
                del block.layer.forward
            else:
                block.layer.forward = original
