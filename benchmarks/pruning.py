"""What pruning costs beside two bare forwards of the decoder blocks: ``python -m benchmarks.pruning``.

For the embedded model at two calibration sizes, each case in a process of its own: bare forwards and pruning in turns, the
ratio of the two, where the time goes, and the peak of memory above the loaded model. Then whether seconds grow linearly with
tokens and blocks, and whether memory stays the same as blocks are added. ``--out docs/performance.md`` writes it down.

On a machine that is busy with other things ``--cpu`` counts processor seconds of one thread, which others disturb less.
"""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click

from benchmarks.cases import CASES
from benchmarks.in_process import Found, Growth, alone, growth, measure
from benchmarks.numbers import Line, Spread, at_most, ratios
from benchmarks.report import CPU, Wish, machine, table
from benchmarks.shares import PARTS
from benchmarks.timing import console

SIZES = ((16, 256), (32, 1024))
GROWING = ("wanda", "sparsegpt")
WINDOWS = (4, 8, 16)
BLOCKS = (10, 20, 30)
FLAT = 0.05
"""Memory counts as flat where a block more adds less than this share of its own weights."""

HEADER = (
    *("method", "2 bare forwards, s", "pruning, s", "ratio", "limit", *(f"{part} %" for part in PARTS)),
    *("peak above the model, MB", "the forwards' own, MB"),
)
ABOUT = """Ratio: seconds of the pruning, with all its events, to those of two bare forwards of the decoder blocks over the
same tokens in the same process; medians of {rounds} rounds in turns, smallest and largest in brackets. Statistics and
propagation hold one forward each; solve is what makes scores, masks and updates of a module, and measures its error."""


@click.command()
@click.option(
    "--rounds", default=5, show_default=True, help="Rounds of each case; the larger size gets a third of them."
)
@click.option("--windows", type=int, help="Calibration windows, in the place of both sizes.")
@click.option("--seqlen", type=int, help="Tokens in a window.")
@click.option("--only", multiple=True, type=click.Choice([*CASES]), help="This case alone; may be given again.")
@click.option("--blocks", type=int, help="The first so many decoder blocks only, for a quick look.")
@click.option("--grow/--no-grow", default=True, help="Whether cost and memory grow as they should.")
@click.option("--cpu", is_flag=True, help="Processor seconds of one thread.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A Markdown file to put the tables into.")
def main(
    rounds: int,
    windows: int | None,
    seqlen: int | None,
    only: tuple[str, ...],
    blocks: int | None,
    grow: bool,
    cpu: bool,
    out: Path | None,
) -> None:
    """What pruning costs beside two bare forwards of the decoder blocks."""
    console.print(f"{machine()}; load {os.getloadavg()[0]:.2f}", soft_wrap=True)
    chosen = only or tuple(CASES)
    given = windows is not None or seqlen is not None
    for count, length in ((windows or 16, seqlen or 256),) if given else SIZES:
        few = rounds if given or (count, length) == SIZES[0] else max(1, rounds // 3)
        _size(chosen, count, length, blocks, Wish(few, cpu, out))
    if grow:
        _growth([case for case in GROWING if case in chosen], seqlen or 256, Wish(max(1, rounds // 2), cpu, out))


def _size(cases: tuple[str, ...], windows: int, seqlen: int, blocks: int | None, wish: Wish) -> None:
    console.print(f"\n{windows} × {seqlen} tokens, rounds: {wish.rounds}. {CPU if wish.cpu else ''}", soft_wrap=True)
    rows: list[list[str]] = []
    for name in cases:
        try:
            found = alone(measure, name, windows, seqlen, wish.rounds, wish.cpu, blocks)
        except BrokenProcessPool:
            console.print(f"{CASES[name].title}: the process ended before it was done (out of memory?)")
            continue
        rows.append(_row(name, found, (windows, seqlen) == SIZES[0]))
        told = "; ".join(f"{key} {cell}" for key, cell in zip(HEADER, rows[-1], strict=True) if cell)
        console.print(told, soft_wrap=True)
        about = ABOUT.format(rounds=wish.rounds) + (f" The first {blocks} blocks only." if blocks else "")
        text = f"## Pruning: {windows} × {seqlen} tokens\n\n{table(HEADER, rows)}\n\n{about}"
        wish.write(f"pruning {windows} × {seqlen}", text)


def _row(name: str, found: Found, limited: bool) -> list[str]:
    case, ratio = CASES[name], Spread.of(ratios(found.pruning, found.bare))
    whole = sum(found.parts.values())
    return [
        case.title,
        Spread.of(found.bare).text(),
        Spread.of(found.pruning).text(),
        ratio.text(),
        at_most(ratio.middle, case.limit if limited else None),
        *(f"{100 * found.parts[part] / whole:.0f}" for part in PARTS),
        f"{found.peak:.0f}",
        f"{found.bare_peak:.0f}",
    ]


def _growth(cases: list[str], seqlen: int, wish: Wish) -> None:
    lines: list[str] = []
    for name in cases:
        found = alone(growth, name, WINDOWS, BLOCKS, seqlen, wish.rounds, wish.cpu)
        lines += _told(CASES[name].title, found, seqlen, wish.rounds)
        wish.write("pruning growth", "## How cost grows\n\n" + "\n".join(f"- {line}" for line in lines))
    console.print("\n" + "\n".join(lines), soft_wrap=True)


def _told(title: str, found: Growth, seqlen: int, rounds: int) -> list[str]:
    by_tokens, by_blocks = _middles(found.tokens), _middles(found.blocks)
    tokens = Line.through([count * seqlen / 1000 for count in by_tokens], [*by_tokens.values()])
    blocks = Line.through([*by_blocks], [*by_blocks.values()])
    memory = Line.through([*found.peaks], [*found.peaks.values()])
    flat = "does not grow" if memory.slope < FLAT * found.block_mb else "grows"
    return [
        f"{title}, windows of {seqlen} tokens ({_listed(by_tokens)} s): {tokens.intercept:.2f} s + {tokens.slope:.2f} s "
        f"per 1,000 tokens, R² = {tokens.r2:.4f}; medians of {rounds}.",
        f"{title}, blocks ({_listed(by_blocks)} s, {max(WINDOWS) // 2} × {seqlen} tokens): {blocks.intercept:.2f} s + "
        f"{blocks.slope:.3f} s per block, R² = {blocks.r2:.4f}; medians of {rounds}.",
        f"{title}, peak memory above the model by blocks ({_listed(found.peaks, 0)} MB): {memory.slope:+.2f} MB per block, whose "
        f"weights take {found.block_mb:.1f} MB; it {flat} with the number of blocks.",
    ]


def _middles(found: dict[int, list[float]]) -> dict[int, float]:
    return {count: Spread.of(seconds).middle for count, seconds in found.items()}


def _listed(found: dict[int, float], digits: int = 2) -> str:
    return ", ".join(f"{count}: {value:.{digits}f}" for count, value in found.items())


if __name__ == "__main__":
    main()
