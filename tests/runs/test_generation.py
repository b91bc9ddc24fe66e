"""A prompt continued: by the maths that transformers' own ``generate`` does, by a job, and on the command line."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from pydantic import ValidationError
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.api import measure_now, run_config
from core.cli.commands import main
from core.config import RunConfig
from core.errors import Cancelled, InputError, explain
from core.evaluation.generation import Generation, continuation, prompt_tokens
from core.events import Event, PhaseStarted, Progress, Working
from core.measurements.generation import Continuation
from core.models.sources import LocalFolder, ModelSource
from core.patterns import NM
from core.reopening import reopen
from core.stages.low_rank import LowRank
from core.stages.reallocation import Reallocation
from core.store import Store
from tests.runs.material import sentence
from tests.tiny_models import FAMILIES

Configs = Callable[..., RunConfig]
Folders = Callable[..., Path]
PROMPT = "The river changes in winter, and"
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}answer:{% endif %}"


def opened(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def pieces(wanted: Generation, model: Any, tokenizer: Any) -> list[str]:
    return list(continuation(wanted, prompt_tokens(wanted, tokenizer, 64), model, tokenizer))


def by_transformers(model: Any, tokenizer: Any, new: int, prompt: str = PROMPT, **how: Any) -> str:
    inputs = tokenizer(prompt, return_tensors="pt")
    tokens = model.generate(input_ids=inputs["input_ids"], max_new_tokens=new, do_sample=False, pad_token_id=1, **how)
    return tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


# The maths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_are_those_of_a_plain_loop_without_a_cache(tiny_folder: Folders, family: str) -> None:
    """Beyond the sliding windows of those that have them; greedy decoding of random models only repeats itself."""
    model, tokenizer = opened(tiny_folder(family))
    tokens, draws = tokenizer(PROMPT)["input_ids"], torch.Generator().manual_seed(5)
    prompt = len(tokens)
    for _ in range(40):
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([tokens])).logits[0, -1]
        tokens.append(int(torch.multinomial((scores / 1.5).softmax(0), 1, generator=draws)))
        if tokens[-1] == model.generation_config.eos_token_id:
            break
    assert len(set(tokens[prompt:])) > 5
    written = pieces(Generation(prompt=PROMPT, max_new_tokens=40, temperature=1.5, seed=5), model, tokenizer)
    assert "".join(written) == tokenizer.decode(tokens[prompt:], skip_special_tokens=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_is_transformers_own(tiny_folder: Folders, family: str) -> None:
    model, tokenizer = opened(tiny_folder(family))
    written = pieces(Generation(prompt=PROMPT, max_new_tokens=40), model, tokenizer)
    assert "".join(written) == by_transformers(model, tokenizer, 40)
    assert len(written) == 40


def test_every_token_is_read_once(tiny_folder: Folders) -> None:
    model, tokenizer = opened(tiny_folder())
    lengths: list[int] = []
    model.model.layers[0].register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
    prompt = len(tokenizer(PROMPT)["input_ids"])
    pieces(Generation(prompt=PROMPT, max_new_tokens=5), model, tokenizer)
    assert lengths == [prompt, 1, 1, 1, 1]


def test_the_models_end_mark_ends_it(tiny_folder: Folders) -> None:
    model, tokenizer = opened(tiny_folder())
    prompt = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    tokens = model.generate(input_ids=prompt, max_new_tokens=12, do_sample=False)[0, prompt.shape[1] :].tolist()
    place = next(at for at in range(1, 12) if tokens[at] not in tokens[:at])
    wanted = Generation(prompt=PROMPT, max_new_tokens=12)
    assert len(pieces(wanted, model, tokenizer)) == 12
    for marks in (tokens[place], [399, tokens[place]]):
        model.generation_config.eos_token_id = marks
        ended = pieces(wanted, model, tokenizer)
        assert len(ended) == place + 1
        assert "".join(ended) == tokenizer.decode(tokens[:place])


def sampled(folder: Path, **how: Any) -> str:
    wanted = Generation.model_validate({"prompt": PROMPT, "max_new_tokens": 30, "temperature": 1.0} | how)
    return "".join(pieces(wanted, *opened(folder)))


def test_the_same_seed_writes_the_same_text(tiny_folder: Folders) -> None:
    texts = [sampled(tiny_folder(), seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0] != sampled(tiny_folder(), temperature=0.0)


def test_other_random_numbers_stay_as_they_were(tiny_folder: Folders) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = sampled(tiny_folder())
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    assert sampled(tiny_folder()) == first


def test_a_small_top_p_or_temperature_leaves_only_the_likeliest(tiny_folder: Folders) -> None:
    greedy = sampled(tiny_folder(), temperature=0.0)
    assert sampled(tiny_folder(), top_p=1e-6) == greedy
    assert sampled(tiny_folder(), temperature=1e-4) == greedy
    assert sampled(tiny_folder(), top_p=0.5) != greedy


def test_draws_have_the_probabilities_of_the_model(tiny_folder: Folders) -> None:
    """The first token over many seeds against softmax(logits / temperature), cut to top p, in float64."""
    from core.evaluation.generation import _chosen

    scores = torch.tensor([2.0, 1.0, 0.5, -1.0, -3.0])
    share = (scores.double() / 0.8).softmax(0)
    kept = share.cumsum(0) - share < 0.9
    expected = torch.where(kept, share, 0.0) / share[kept].sum()
    draws = torch.Generator().manual_seed(0)
    wanted = Generation(prompt="x", temperature=0.8, top_p=0.9)
    counts = torch.bincount(torch.tensor([_chosen(scores, wanted, draws) for _ in range(4000)]), minlength=5)
    assert counts[expected == 0].sum() == 0
    assert (counts / 4000 - expected).abs().max() < 4 * 0.5 / 4000**0.5, "four standard errors"


def test_a_character_of_several_tokens_comes_when_it_is_complete(
    tiny_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = opened(tiny_folder())
    text = " prunes – 5 € 猫"
    script = tokenizer(text)["input_ids"]
    assert len(script) > len(text), "this tokenizer spells such characters byte by byte"
    written = iter(script)
    monkeypatch.setattr("core.evaluation.generation._chosen", lambda scores, wanted, draws: next(written))
    got = pieces(Generation(prompt=PROMPT, max_new_tokens=len(script)), model, tokenizer)
    assert "".join(got) == text
    assert "\N{REPLACEMENT CHARACTER}" not in "".join(got)
    assert len(got) == len(script)
    written = iter(script[:-1])
    cut = pieces(Generation(prompt=PROMPT, max_new_tokens=len(script) - 1), model, tokenizer)
    assert "".join(cut) == text[:-1] + "\N{REPLACEMENT CHARACTER}", "what never became a character is not hidden"


def test_closing_the_generator_stops_it(tiny_folder: Folders) -> None:
    model, tokenizer = opened(tiny_folder())
    runs: list[int] = []
    model.register_forward_hook(lambda *_: runs.append(1))
    wanted = Generation(prompt=PROMPT, max_new_tokens=30)
    steps: Any = continuation(wanted, prompt_tokens(wanted, tokenizer, 64), model, tokenizer)
    next(steps)
    assert torch.is_grad_enabled()
    steps.close()
    assert len(runs) == 1


# What it reads --------------------------------------------------------------------------------------------------------


def test_a_chat_is_put_through_the_template(tiny_folder: Folders) -> None:
    _, tokenizer = opened(tiny_folder())
    tokenizer.chat_template = TEMPLATE
    chat = prompt_tokens(Generation(prompt="A river?", chat=True), tokenizer, None)
    assert tokenizer.decode(chat) == "<s>user: A river?\nanswer:"
    assert tokenizer.decode(prompt_tokens(Generation(prompt="A river?"), tokenizer, None)) == "A river?"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": "  \n"}, "prompt = '  \\n' is empty; give a text"),
        ({"temperature": -1}, "temperature = -1 is not valid"),
        ({"top_p": 0}, "top_p = 0 is not valid"),
        ({"max_new_tokens": 0}, "max_new_tokens = 0 is not valid"),
        ({"tempreture": 0}, "tempreture is not a known parameter"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises((ValidationError, InputError)) as caught:
        Generation.model_validate({"prompt": PROMPT} | changes)
    assert explain(caught.value).startswith(words)


def test_no_template_and_no_room_are_one_sentence(tiny_folder: Folders) -> None:
    _, tokenizer = opened(tiny_folder())
    with pytest.raises(InputError, match="chat = True needs a chat template"):
        prompt_tokens(Generation(prompt=PROMPT, chat=True), tokenizer, None)
    count = len(tokenizer(PROMPT)["input_ids"])
    just = Generation(prompt=PROMPT, max_new_tokens=64 - count)
    assert len(prompt_tokens(just, tokenizer, 64)) == count
    more = Generation(prompt=PROMPT, max_new_tokens=65 - count)
    with pytest.raises(InputError, match=rf"{count} tokens.*max_new_tokens = {65 - count} is beyond.*64 tokens"):
        prompt_tokens(more, tokenizer, 64)


def test_a_broken_model_is_one_sentence(tiny_folder: Folders) -> None:
    model, tokenizer = opened(tiny_folder())
    model.lm_head.weight.data[3] = float("nan")
    with pytest.raises(InputError, match="too broken"):
        pieces(Generation(prompt=PROMPT, max_new_tokens=3), model, tokenizer)


# Kept of a model or run ------------------------------------------------------------------------------------------------


def dense_of(model: ModelSource, generation: Generation) -> Continuation:
    return Continuation(model=model, revision=model.revision_key(), generation=generation)


STAGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "updated": {"method": "sparsegpt"},
    "low rank": {"stages": (LowRank(rank_ratio=0.25),)},
    "permuted": {"pattern": NM(), "stages": (Reallocation(),)},
}


@pytest.mark.parametrize("kind", STAGES)
def test_a_run_continues_with_its_own_weights(config: Configs, store: Store, kind: str) -> None:
    changes = dict(STAGES[kind])
    base = config(method=changes.pop("method", "wanda"), sparsity=0.5)
    loaded, run = run_config(base.model_validate({**base.model_dump(), **changes}), store)
    generation = Generation(prompt=PROMPT, max_new_tokens=30)
    pruned = Continuation.of_run(run, generation=generation)
    dense = dense_of(run.config.model, generation)
    assert pruned.text(store) is None
    measure_now(pruned, store)
    measure_now(dense, store)
    assert pruned.text(store) == by_transformers(loaded.model, loaded.tokenizer, 30)
    assert pruned.text(store) == by_transformers(reopen(run.id, store).model, loaded.tokenizer, 30)
    assert dense.text(store) == by_transformers(run.config.model.load().model, loaded.tokenizer, 30)
    assert dense.text(store) != pruned.text(store)


def test_it_is_written_once_told_as_it_is_and_deleted_with_the_run(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, run = run_config(config(), store)
    wanted = Continuation.of_run(run, generation=Generation(prompt=PROMPT, max_new_tokens=12))
    told: list[Event] = []
    measure_now(wanted, store, told.append)
    assert [event.phase for event in told if isinstance(event, PhaseStarted)][-1] == "Writing"
    assert [event.done for event in told if isinstance(event, Progress)] == list(range(1, 13))
    so_far = [event.text for event in told if isinstance(event, Working)]
    assert so_far[-1] == wanted.text(store)
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(so_far))
    monkeypatch.setattr(ModelSource, "load", lambda source: pytest.fail("the model was loaded again"))
    measure_now(wanted, store)
    store.delete(run.id)
    assert wanted.text(store) is None
    assert store.measurements() == []


def test_it_can_be_cancelled_between_two_tokens(config: Configs, store: Store) -> None:
    _, run = run_config(config(), store)
    wanted = Continuation.of_run(run, generation=Generation(prompt=PROMPT, max_new_tokens=30))
    done: list[int] = []

    def cancel_at_three(event: Event) -> None:
        if isinstance(event, Progress):
            done.append(event.done)
            if event.done == 3:
                (attempt,) = store.active()
                store.request_cancel(attempt.id)

    with pytest.raises(Cancelled):
        measure_now(wanted, store, cancel_at_three)
    assert done[-1] == 3
    assert wanted.text(store) is None


def test_a_prompt_without_room_loads_no_model(
    tiny_folder: Folders, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = LocalFolder(path=str(tiny_folder()))
    wanted = dense_of(model, Generation(prompt="The river. " * 40))
    monkeypatch.setattr(ModelSource, "load", lambda source: pytest.fail("the model was loaded"))
    with pytest.raises(InputError, match="beyond the model's maximum of 64 tokens"):
        measure_now(wanted, store)


# The command ----------------------------------------------------------------------------------------------------------


def test_generate_prints_dense_and_pruned(config: Configs, store: Store) -> None:
    loaded, run = run_config(config("wanda", sparsity=0.7), store)
    words = ["generate", "--run", run.id, "--prompt", PROMPT, "--max-new-tokens", "20"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    dense, pruned = result.stdout.split("--- pruned: ")
    assert dense.startswith("--- dense: ")
    assert PROMPT + by_transformers(run.config.model.load().model, loaded.tokenizer, 20) in dense
    assert pruned.startswith(f"{run.name}, run {run.id}\n")
    assert PROMPT + by_transformers(loaded.model, loaded.tokenizer, 20) in pruned


def test_generate_samples_and_chats(own_folder: Path, store: Store) -> None:
    tokenizer = AutoTokenizer.from_pretrained(own_folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(own_folder)
    words = [
        "generate",
        "--model",
        str(own_folder),
        "--prompt",
        "A river?",
        "--temperature",
        "1",
        "--max-new-tokens",
        "9",
    ]
    texts = [CliRunner().invoke(main, [*words, *more]).stdout for more in ([], ["--seed", "1"], ["--chat"])]
    assert len(set(texts)) == 3
    assert "pruned" not in texts[0]
    assert "A river? → " in texts[2]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--prompt", " "], "prompt = ' ' is empty"),
        (["--prompt", "x", "--temperature", "-1"], "temperature = '-1' is not valid"),
        (["--prompt", "x", "--run", "0123456789abcdef"], "does not exist"),
        (["--prompt", "x", "--run", "x", "--dtype", "float32"], "leave --dtype out"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], part: str, store: Store) -> None:
    assert part in sentence(CliRunner().invoke(main, ["generate", *words]))


def test_no_room_on_the_command_line_is_one_sentence(tiny_folder: Folders, store: Store) -> None:
    words = ["generate", "--model", str(tiny_folder()), "--prompt", "x", "--max-new-tokens", "64"]
    assert "beyond the model's maximum of 64" in sentence(CliRunner().invoke(main, words), progress=True)


def test_a_model_that_has_changed_is_refused(own_folder: Path, store: Store) -> None:
    generation = Generation(prompt=PROMPT, max_new_tokens=3)
    wanted = dense_of(LocalFolder(path=str(own_folder)), generation)
    shutil.copy(own_folder / "config.json", own_folder / "more.json")
    with pytest.raises(InputError, match="has changed since"):
        measure_now(wanted, store)
