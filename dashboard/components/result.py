"""A run that has ended: its figures, or why there are none."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.acceleration import why_not
from core.errors import InputError, explain
from core.evaluation.result import CorpusPerplexity
from core.figures import tuning_curves, tuning_words
from core.store import Run, RunResult
from dashboard.components import cache, grid, plot, report, shell, state, text
from dashboard.components.charts.grid import ERROR
from dashboard.components.charts.tuning import tuning_lines


def show(selection: state.Selection) -> None:
    """The latest attempt's end and, where an attempt finished, its result."""
    run = selection.run
    assert run is not None
    if run.status != "finished":
        _ended_early(run)
    if run.result is None:
        return
    _figures(run, run.result)
    for warning in run.result.warnings:
        st.warning(warning, icon=":material/warning:")
    _stages(run, run.result)
    table = cache.modules(run)
    st.markdown("**Reconstruction error of every module**")
    grid.show(table, ERROR, selection, "result_grid", grid.error_caption(table))
    st.page_link(shell.SPARSITY, label="Where did the zeros go?", icon=":material/grid_on:")
    _downloads(run)


def _ended_early(run: Run) -> None:
    message = run.attempt.message
    match run.status:
        case "failed":
            st.error(message, icon=":material/error:")
        case "interrupted":
            st.warning(f"Interrupted. {message}", icon=":material/warning:")
        case _:
            st.info(
                "Cancelled; nothing was kept of this attempt. Start it again when you like.", icon=":material/info:"
            )


def _figures(run: Run, result: RunResult) -> None:
    dense, pruned = result.dense_perplexity, result.perplexity
    with st.container(horizontal=True):
        st.metric(
            "Perplexity",
            text.perplexity(pruned.value),
            delta=text.perplexity(pruned.value - dense.value),
            delta_color="inverse",
            help=f"± {text.perplexity(pruned.standard_error or 0)} standard error over {pruned.windows} windows. Lower is better; "
            "the arrow says by how much it rose above the dense model's.",
            width="content",
        )
        st.metric(
            "Dense",
            text.perplexity(dense.value),
            help=f"± {text.perplexity(dense.standard_error or 0)} standard error over {dense.windows} windows, before pruning.",
            width="content",
        )
        st.metric(
            "Sparsity",
            text.percent(result.sparsity),
            help=f"Target {text.percent(result.target_sparsity)}; {result.pruned:,} of {result.parameters:,} weights are pruned.",
            width="content",
        )
        st.metric(
            "Bitmask size",
            text.size(result.bitmask_bytes),
            delta=f"{result.bitmask_bytes / result.dense_bytes - 1:.0%} of {text.size(result.dense_bytes)}",
            delta_color="inverse",
            help="Prunable modules stored as one bit a weight plus the survivors.",
            width="content",
        )
    if result.also:
        st.markdown("\n".join(f"- {_on_another(found)}" for found in result.also))
    st.caption(
        f"Measured on {result.evaluated_on} · calibrated on {result.calibrated_on} · pruned in "
        f"{text.seconds(result.prune_seconds)}, {text.seconds(result.seconds)} in all · "
        + " · ".join(f"{key} {value}" for key, value in result.environment.items())
    )


def _on_another(found: CorpusPerplexity) -> str:
    """Dense → pruned on a further corpus."""
    dense, pruned = (
        f"{text.perplexity(side.value)} ± {text.perplexity(side.standard_error or 0)}"
        for side in (found.dense, found.pruned)
    )
    return f"**{found.evaluated_on}**: perplexity {dense} → {pruned}"


def _stages(run: Run, result: RunResult) -> None:
    """What the stages did to the model as a whole, one line each."""
    figures, lines = result.figures, []
    if "retained_plain" in figures:
        plain, dealt = figures["retained_plain"], figures["retained_reallocated"]
        words = f"**Channel reallocation** retained {dealt / plain - 1:+.2%} score over the channels' own order"
        rounds = [value for name, value in figures.items() if name.startswith("retained_lsa_")]
        lines.append(words + (f", {rounds[-1] / plain - 1:+.2%} after LSA." if rounds else "."))
    if "exchanged" in figures:
        lines.append(
            f"**DSnoT** exchanged {figures['exchanged']:.3%} of the weights; the outputs' mean expected error went from "
            f"{figures['expected_before']:.4g} to {figures['expected_after']:.4g}."
        )
    if "swapped" in figures:
        lines.append(
            f"**LLM-Barber** swapped {figures['swapped']:.3%} of the weights; the blocks' loss went from "
            f"{figures['loss_before']:.4g} to {figures['loss_after']:.4g} on average, and fell in "
            f"{figures['loss_lowered']:.0%} of the sub-blocks."
        )
    if words := tuning_words(figures):
        lines.append(f"**Block-wise tuning** changed the blocks' error on held-out windows by {words}.")
    if "energy" in figures and result.parameters_after is not None:
        lines.append(
            f"**Low rank** kept {figures['energy']:.1%} of the energy of the matrices it replaced; the prunable modules now "
            f"hold {result.parameters_after:,} weights, {result.parameters_after / result.parameters - 1:+.1%}."
        )
    if result.packed_bytes is not None:
        lines.append(
            f"**Rounding**: packed, the survivors, their grids and the mask take {text.size(result.packed_bytes)} "
            f"in the place of {text.size(result.dense_bytes)}; the weights themselves are kept dequantised."
        )
    if run.config.pattern.label == "2:4" and (reason := why_not(result.environment.get("device", "cpu"))):
        lines.append(f"**Speed**: {reason}")
    elif run.config.pattern.label == "2:4":
        lines.append(f"**Speed**: `python -m core runs accelerate {run.id}` measures it with 2:4 kernels.")
    if lines:
        st.markdown("\n".join(f"- {line}" for line in lines))
    _tuning(run)


def _tuning(run: Run) -> None:
    """The curve of every block that was tuned; the selected block's training error beside its held-out one."""
    curves = tuning_curves(cache.groups(run))
    if curves.empty:
        return
    with st.expander("Error of the blocks while they were tuned", icon=":material/show_chart:"):
        ends = curves.groupby("block").share.min()
        plot.show(
            tuning_lines(curves),
            "tuning_curves",
            alt=f"Held-out error of {len(ends)} blocks over the epochs, as a share of the untuned one: the lowest is between "
            f"{ends.min():.1%} and {ends.max():.1%} of it.",
        )
        st.caption(
            "Mean squared distance of each block's output from what it should be, on calibration windows that were not trained on, "
            "as a share of the untuned block's. Of each block the weights of its lowest epoch are kept."
        )


def _downloads(run: Run) -> None:
    with st.container(horizontal=True):
        st.download_button(
            "Config (JSON)", run.config.model_dump_json(indent=2), f"{run.id}.json", "application/json",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Table (CSV)", cache.modules(run).to_csv(index=False), f"{run.id}-modules.csv", "text/csv",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Report (HTML)", lambda: report.of_run(run), f"{run.id}.html", "text/html",
            icon=":material/description:", on_click="ignore",
            help="Figures, charts, tables and config in one file that opens without this program or a network.",
        )  # fmt: skip
        st.download_button(
            "Run (JSON)", lambda: report.in_full(run), f"{run.id}-run.json", "application/json",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        with st.popover("Pruned model …", icon=":material/save:"):
            folder = st.text_input(
                "Folder", key="export_folder", help="On the machine that runs this program; it must not exist yet."
            )
            if st.button("Save the pruned model", disabled=not folder):
                _export(run, Path(folder).expanduser())


def _export(run: Run, folder: Path) -> None:
    try:
        with st.spinner("Saving; it waits while a run is under way …"):
            saved = cache.jobs().export(run.id, folder)
    except InputError as error:
        st.error(explain(error), icon=":material/error:")
    else:
        st.success(f"Saved to {saved}. Load it with AutoModelForCausalLM.from_pretrained.", icon=":material/check:")
