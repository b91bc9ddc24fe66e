"""The Learn page: every chapter, what its main control does to the numbers, and links into it."""

import re

import numpy as np
import pytest

from core.measurements.spectra import Spectra
from dashboard.components import cache
from dashboard.components.chapters import CHAPTERS
from tests.pages.conftest import add_run, open_app
from tests.pages.test_spectra_page import keep as keep_spectra

PAGE = "dashboard/learn.py"


def opened(chapter: str, **address: str):
    return open_app(PAGE, chapter=chapter, **address)


def texts(app) -> str:
    return " ".join(
        str(element.value) for kind in ("caption", "markdown", "info", "warning", "error") for element in app.get(kind)
    )


def shown(app, pattern: str) -> list[float]:
    """The numbers in the first sentence that fits."""
    found = re.search(pattern, texts(app))
    assert found, (pattern, texts(app))
    return [float(number.replace("−", "-")) for number in found.groups()]


def chapter_of(app) -> str:
    """As the address has it; the test's own address is one string, the page's a list."""
    value = app.query_params["chapter"]
    return value if isinstance(value, str) else value[0]


def button(app, key: str):
    return next(button for button in app.button if button.key == key)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_all_its_parts(store, chapter):
    app = opened(chapter)
    assert app.header[0].value == CHAPTERS[chapter].title
    assert {"Try this", "A question", "On the real model"} <= {element.value for element in app.subheader}
    assert "Answer" in [expander.label for expander in app.expander]
    assert app.get("plotly_chart")
    for formula, reference in CHAPTERS[chapter].formulas:
        assert formula.split(r",\quad")[0] in texts(app)
        assert reference.link in texts(app)
    assert len(app.slider) >= 1
    assert CHAPTERS[chapter].attempt in texts(app)
    assert not re.search(r"\bnan\b", texts(app).lower())
    assert chapter_of(app) == chapter


@pytest.mark.parametrize("chapter", CHAPTERS)
@pytest.mark.parametrize("seed", ["1", "7", "999"])
def test_any_numbers_will_do(store, chapter, seed):
    app = opened(chapter, seed=seed)
    assert app.number_input(key="seed").value == int(seed)
    assert not app.error


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_slider_may_stand_at_its_ends(store, chapter):
    app = opened(chapter)
    for key in [slider.key for slider in app.slider]:
        for end in ("min", "max"):
            slider = app.slider(key=key)
            slider.set_value(getattr(slider, end)).run()
            assert not app.exception, (key, end)
            assert not app.error, (key, end)


def test_a_link_to_no_chapter_says_so_and_opens_the_first(store):
    app = opened("nonsense")
    assert any("Chapter = 'nonsense' in the link is not there to choose" in warning.value for warning in app.warning)
    assert app.header[0].value == CHAPTERS["wanda"].title
    app.run()
    assert not app.warning


def test_next_and_previous_turn_the_page(store):
    app = opened("wanda")
    for name in list(CHAPTERS)[1:]:
        button(app, "turn_1").click().run()
        assert app.header[0].value == CHAPTERS[name].title
        assert chapter_of(app) == name
    assert "turn_1" not in [button.key for button in app.button]
    button(app, "turn_-1").click().run()
    assert app.header[0].value == CHAPTERS[list(CHAPTERS)[-2]].title


def test_new_numbers_are_in_the_address(store):
    app = opened("wanda")
    before = texts(app)
    next(button for button in app.button if button.label == "New numbers").click().run()
    assert app.number_input(key="seed").value == 1
    assert texts(app) != before
    assert texts(opened("wanda", seed="1")) == texts(app)


def test_loud_inputs_turn_wanda_from_magnitude(store):
    app = opened("wanda")
    kept, errors = [], []
    for loudness in (1.0, 2.0, 4.0, 10.0):
        app.slider(key="wanda_loudness").set_value(loudness).run()
        kept.append(shown(app, r"magnitude keeps (\d) of 4 weights, Wanda (\d)"))
        errors.append(shown(app, r"moves by ([\d.]+) % under magnitude and ([\d.]+) % under Wanda"))
    assert kept[0][0] == kept[0][1]
    assert errors[0][0] == errors[0][1]
    assert [one[0] for one in kept] == [kept[0][0]] * 4  # magnitude never looks at the inputs
    assert [one[1] for one in kept] == sorted(one[1] for one in kept)
    assert kept[-1][1] == 4
    gaps = [magnitude - wanda for magnitude, wanda in errors]
    assert gaps == sorted(gaps)


def test_a_rescaled_input_keeps_a_voice_under_relative_importance(store):
    app = opened("shares", shares_scale="20.0", shares_method="RI")
    kept = r"magnitude keeps (\d) of 4 weights, \w+ (\d)"
    magnitude, relative = shown(app, kept)
    assert magnitude == 0
    assert relative >= 1
    errors = shown(app, r"moves by ([\d.]+) % under magnitude and by ([\d.]+) %")
    assert errors[1] < errors[0]
    at_first = shown(opened("shares", shares_scale="1.0"), r"moves by ([\d.]+) % under magnitude")
    assert at_first[0] < errors[0]
    by_power = []
    for power in (0.0, 0.5, 1.0):
        app.segmented_control(key="shares_method").set_value("RIA").run()
        app.slider(key="shares_power").set_value(power).run()
        by_power.append(shown(app, kept)[1])
    assert by_power == sorted(by_power)  # the louder an input counts, the more of it stays


def test_the_worked_score_is_right(store):
    app = opened("shares", shares_method="ClearCut", shares_scale="4.0", shares_product="10.0")
    pattern = r": \(([\d.]+) ÷ ([\d.]+) \+ [\d.]+ ÷ ([\d.]+) \+ ([\d.]+) × .*?\) × ([\d.]+)\^([\d.]+) = ([\d.]+), (?:kept|pruned)"
    found = re.search(pattern, texts(app))
    assert found, texts(app)
    weight, column, row, factor, norm, power, total = map(float, found.groups())
    by_hand = (weight / column + weight / row + factor * weight / column * weight / row) * norm**power
    assert total == pytest.approx(by_hand, rel=0.05)  # the weight has two digits


def test_reallocation_wins_back_what_the_pattern_costs(store):
    app = opened("groups")
    shares = []
    for loudness in (2.0, 8.0):
        app.slider(key="groups_loudness").set_value(loudness).run()
        values = [float(metric.value) for metric in app.metric]
        assert values[0] <= values[1] <= values[2]
        shares.append(values[0] / values[2])
    assert shares[1] < shares[0]  # the louder the first group, the more its pattern costs
    before = float(app.metric[1].value)
    app.toggle(key="groups_lsa").set_value(True).run()
    assert float(app.metric[1].value) >= before


def test_sparsegpt_steps_forward_back_and_from_the_start(store):
    app = opened("sparsegpt")
    assert "Nothing is done yet" in texts(app)
    for column in (1, 2):
        button(app, "sparsegpt_column_step").click().run()
        assert app.slider(key="sparsegpt_column").value == column
        assert f"**x{'₁₂'[column - 1]}** is done" in texts(app)
    button(app, "sparsegpt_column_back").click().run()
    assert app.slider(key="sparsegpt_column").value == 1
    button(app, "sparsegpt_column_reset").click().run()
    assert "Nothing is done yet" in texts(app)
    assert button(app, "sparsegpt_column_back").disabled
    app = opened("sparsegpt", sparsegpt_column="8")
    assert "**x₈** is done" in texts(app)
    assert button(app, "sparsegpt_column_step").disabled


def test_nothing_flows_between_inputs_that_have_nothing_in_common(store):
    errors = r"error so far ([\d.]+) %; without passing anything on it would be ([\d.]+) %"
    app = opened("sparsegpt", sparsegpt_column="8", sparsegpt_likeness="0.0")
    with_it, without = shown(app, errors)
    assert with_it == without
    app.slider(key="sparsegpt_likeness").set_value(0.95).run()
    with_it, without = shown(app, errors)
    assert with_it < without


def test_playing_begins_when_asked_goes_on_by_itself_and_ends(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dashboard.components.stepper.time.monotonic", lambda: now[0])
    app = opened("sparsegpt")
    assert app.slider(key="sparsegpt_column").value == 0
    button(app, "sparsegpt_column_play").click().run()
    assert button(app, "sparsegpt_column_play").label == "Pause"
    for seconds, column in ((1.5, 1), (3.0, 2), (4.4, 3)):
        now[0] = seconds
        app.run()
        assert app.slider(key="sparsegpt_column").value == column
    button(app, "sparsegpt_column_play").click().run()
    now[0] = 9.0
    app.run()
    assert app.slider(key="sparsegpt_column").value == 3
    button(app, "sparsegpt_column_play").click().run()
    now[0] = 60.0
    app.run()
    assert app.slider(key="sparsegpt_column").value == 8
    assert button(app, "sparsegpt_column_play").label == "Play"
    button(app, "sparsegpt_column_play").click().run()  # from the start again
    assert app.slider(key="sparsegpt_column").value == 0


def test_made_up_spectra_are_said_to_be_and_the_real_ones_offered(store):
    app = opened("tails")
    assert "made up" in texts(app)
    assert "Compute the spectra" in [button.label for button in app.button]
    wide, narrow = (
        shown(opened("tails", tails_share=share), r"The (\d+) largest of (\d+) eigenvalues") for share in ("0.5", "0.1")
    )
    assert wide == [64, 128]
    assert narrow == [13, 128]
    app = opened("tails", tails_epsilon="0.0")
    alts = " ".join(chart.proto.alt for chart in app.get("plotly_chart") if "Sparsity of each block" in chart.proto.alt)
    assert "this threshold: from 70.0% to 70.0%" in alts


def test_real_spectra_are_used_where_they_are_known(store):
    run = add_run(store)
    spectra = Spectra(model=run.config.model, revision=run.identity.model_revision)
    keep_spectra(store, spectra)
    app = opened("tails", run=run.id, block="2", module="self_attn.q_proj", tails_share="0.25")
    assert "made up" not in texts(app)
    assert "**blocks.2.self_attn.q_proj** (SmolLM2" in texts(app)
    size, every = shown(app, r"The (\d+) largest of (\d+) eigenvalues")
    total, alpha = shown(app, r"α = 1 \+ \d+ ÷ ([\d.]+) = ([\d.]+)")
    values = cache.eigenvalues(spectra)["blocks.2.self_attn.q_proj"]
    tail = np.sort(values)[-int(size) :]
    assert (size, every) == (round(0.25 * len(values)), len(values))
    assert total == pytest.approx(np.log(tail / tail[0]).sum(), abs=0.006)
    assert alpha == pytest.approx(1 + size / np.log(tail / tail[0]).sum(), abs=0.006)


def test_a_module_without_a_tail_says_so(store):
    run = add_run(store)
    keep_spectra(store, Spectra(model=run.config.model, revision=run.identity.model_revision))
    app = opened("tails", run=run.id, block="0", module="mlp.down_proj")
    assert "no tail can be fitted. Choose another module" in texts(app)


def test_swaps_change_the_loss_one_at_a_time(store):
    app = opened("barber")
    many = r"(\d+) of 24 pairs are mismatched; (\d+) of them are swapped"
    mismatched, swapped = shown(app, many)
    assert mismatched == swapped > 0
    losses = shown(app, r"The first mask: loss (\d\.\d+)")
    for step in range(1, int(swapped) + 1):
        button(app, "barber_swap_step").click().run()
        number, before, after = shown(app, r"Swap (\d+) of .*? from (\d\.\d+) to (\d\.\d+)")
        assert number == step
        assert before == losses[-1]
        losses.append(after)
    assert losses[1] < losses[0]
    app.slider(key="barber_threshold").set_value(0.5).run()
    assert shown(app, many) == [mismatched, int(0.5 * mismatched)]
    app.slider(key="barber_threshold").set_value(0.0).run()
    assert shown(app, many) == [mismatched, 0]
    assert "barber_swap" not in [slider.key for slider in app.slider]


def test_low_rank_pays_only_below_its_break_even(store):
    app = opened("rank")
    for rank, verdict in ((1, "24 fewer"), (2, "12 fewer"), (3, "no fewer"), (4, "12 more")):
        app.slider(key="rank_of_6").set_value(rank).run()
        assert f"{rank} · (6 + 6) = **{12 * rank}** weights in the place of 6 · 6 = 36: " in texts(app)
        assert verdict in texts(app)
    app.slider(key="rank_of_6").set_value(2).run()
    app.slider(key="rank_decay").set_value(0.2).run()
    assert ": more than the product" in texts(app)
    app.slider(key="rank_decay").set_value(1.0).run()
    assert ": less than the product" in texts(app)
    assert shown(app, r"holds ([\d.]+) % of Σ s²") == [pytest.approx(100 / 3, abs=0.06)]  # all alike: two of six


def test_who_knows_nothing_chooses_among_all_words(store):
    app = opened("perplexity", perplexity_knowledge="0.0", perplexity_noise="0.0")
    assert shown(app, r"Perplexity e\^[\d.]+ = ([\d.]+)\*\*") == [8.0]
    values = []
    for misled in (0.0, 4.0, 12.0):
        app.slider(key="perplexity_misled").set_value(misled).run()
        values += shown(app, r"Perplexity e\^[\d.]+ = ([\d.]+)\*\*")
    assert values == sorted(set(values))
    assert "Select a finished run" in texts(app)


def test_the_windows_of_the_selected_run_are_shown(store, run):
    app = opened("perplexity", run=run.id)
    assert f"Dense: mean of 2 windows 3.100, perplexity {np.exp(3.1):.2f}." in texts(app)
    assert f"Pruned: mean of 2 windows 4.100, perplexity {np.exp(4.1):.2f}." in texts(app)
    assert "Wikipedia (embedded), 2 × 256 tokens" in texts(app)
