"""Continues a prompt with a model in memory, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, field_validator

from core.errors import InputError
from core.lazy import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Generation(BaseModel, frozen=True, extra="forbid"):
    """A prompt and how it is continued: the same always gives the same text of the same model."""

    prompt: str = Field(title="Prompt", description="The text to continue.")
    chat: bool = Field(
        False,
        title="As chat",
        description="Put the prompt as a message of a chat, with the tokenizer's chat template, for models trained to answer; "
        "else it is continued as it stands.",
    )
    max_new_tokens: int = Field(
        60, ge=1, le=100_000, title="New tokens", description="At most; the model may end before."
    )
    temperature: float = Field(
        0.0,
        ge=0,
        le=10,
        title="Temperature",
        description="0: greedy, always the likeliest token. Else tokens are drawn.",
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        title="Top p",
        description="Draws only among the likeliest tokens that have this probability together.",
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Decides which tokens are drawn.")

    @field_validator("prompt")
    @classmethod
    def _not_empty(cls, prompt: str) -> str:
        if not prompt.strip():
            raise InputError(f"prompt = {prompt!r} is empty; give a text to continue.")
        return prompt


def prompt_tokens(wanted: Generation, tokenizer: PreTrainedTokenizerBase, longest: int | None) -> list[int]:
    """The prompt as the model reads it, with the special tokens it expects.

    ``longest``: how many tokens the model can hold, where there is a limit. Raises InputError where prompt and
    continuation are longer, or the tokenizer has no chat template.
    """
    if wanted.chat:
        if not tokenizer.chat_template:
            raise InputError(
                "chat = True needs a chat template, which this model's tokenizer does not have; continue the plain text."
            )
        message = [{"role": "user", "content": wanted.prompt}]
        tokens: Any = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
    else:
        tokens = tokenizer(wanted.prompt, verbose=False)["input_ids"]
    if longest is not None and len(tokens) + wanted.max_new_tokens > longest:
        raise InputError(
            f"prompt has {len(tokens)} tokens, which with max_new_tokens = {wanted.max_new_tokens} is beyond the model's "
            f"maximum of {longest} tokens; shorten it, or ask for fewer."
        )
    return list(tokens)


def continuation(
    wanted: Generation, prompt: list[int], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Iterator[str]:
    """What ``model`` writes after ``prompt`` (``prompt_tokens``), a piece for every token; close the generator to stop.

    A piece is empty while a character is not complete. Ends with the model's end mark or ``max_new_tokens``. Plain greedy
    decoding or sampling: nothing that the model's generation config asks for (penalties, say) except its end marks. Draws from
    a generator of its own on the CPU, so no other random numbers change. Raises InputError where the model's scores are no
    numbers.
    """
    draws = torch.Generator().manual_seed(wanted.seed)
    ends = _end_marks(model, tokenizer)
    written: list[int] = []
    cache: Any = None
    shown = len(_text(prompt, tokenizer))
    for number in range(wanted.max_new_tokens):
        scores, cache = _next_scores(model, [*prompt, *written], cache)
        token = _chosen(scores, wanted, draws)
        ended = token in ends
        written += [] if ended else [token]
        text = _text([*prompt, *written], tokenizer)
        if ended or number + 1 == wanted.max_new_tokens or not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[shown:]
            shown = len(text)
        else:  # the bytes so far are no character yet
            yield ""
        if ended:
            return


def _text(tokens: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    text: Any = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)


def _end_marks(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    marks: Any = model.generation_config.eos_token_id
    if marks is None:
        marks = tokenizer.eos_token_id
    return set(marks) if isinstance(marks, list) else {marks}


def _next_scores(model: PreTrainedModel, tokens: list[int], cache: Any) -> tuple[torch.Tensor, Any]:
    """The scores [vocabulary] of the token after ``tokens``, and the cache with which only the last one need be read."""
    from core.models.structure import slices_logits

    unread = tokens if cache is None else tokens[-1:]
    some: dict[str, Any] = {"logits_to_keep": 1} if slices_logits(model) else {}
    with torch.no_grad():
        output = model(
            input_ids=torch.tensor([unread], device=model.device), past_key_values=cache, use_cache=True, **some
        )
    return output.logits[0, -1].float().cpu(), output.past_key_values


def _chosen(scores: torch.Tensor, wanted: Generation, draws: torch.Generator) -> int:
    from transformers import TemperatureLogitsWarper, TopPLogitsWarper

    if not torch.isfinite(scores.max()):  # the largest is NaN where any is
        raise InputError("The model's scores for the next token are not numbers; it is too broken to continue a text.")
    if wanted.temperature == 0:
        return int(scores.argmax())
    tokens, warped = torch.empty(1, 0, dtype=torch.long), scores[None]
    warped = TemperatureLogitsWarper(wanted.temperature)(tokens, warped)
    if wanted.top_p < 1:
        warped = TopPLogitsWarper(wanted.top_p)(tokens, warped)
    return int(torch.multinomial(warped.softmax(dim=-1), 1, generator=draws))
