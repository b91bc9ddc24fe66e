"""PruneScope beside its peers, on the same model and tokens: ``python -m benchmarks.peers``.

Every peer has an environment of its own in the cache folder, made at the first start. In each round every program does the
work once, in a process of its own. ``--out docs/performance.md`` writes down what was found.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from safetensors.torch import save_file

from benchmarks.numbers import Spread, at_least, ratios
from benchmarks.peers.contests import CONTESTS, NAMES, NOTES, OURS, Contest
from benchmarks.peers.driver import TOKENS, Answer
from benchmarks.peers.environments import PEERS, NotInstalled, python_of
from benchmarks.peers.quality import Judge
from benchmarks.peers.running import Failed, Place, run
from benchmarks.report import Wish, machine, table
from benchmarks.timing import console
from core.config import RunConfig
from core.execution import calibration_tokens
from core.models.sources import Embedded

SIZES = ((16, 256), (32, 1024))
HEADER = (
    *("work", "program", "seconds", "times faster", "wanted", "peak above the model, MB", "sparsity"),
    *("perplexity", "difference, nats"),
)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of each; the larger size gets a third of them.")
@click.option("--windows", type=int, help="Calibration windows, in the place of both sizes.")
@click.option("--seqlen", type=int, help="Tokens in a window.")
@click.option("--only", multiple=True, type=click.Choice([*CONTESTS]), help="This work alone; may be given again.")
@click.option("--cpu", is_flag=True, help="Processor seconds of one thread, on a machine that is busy.")
@click.option("--install", is_flag=True, help="Make the environments and stop.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="A Markdown file to put the tables into.")
def main(
    rounds: int,
    windows: int | None,
    seqlen: int | None,
    only: tuple[str, ...],
    cpu: bool,
    install: bool,
    out: Path | None,
) -> None:
    """PruneScope beside its peers, on the same model and tokens."""
    pythons: dict[str, Path] = {}
    for peer in PEERS:
        try:
            pythons[peer] = python_of(peer)
        except NotInstalled as problem:
            console.print(str(problem))
    if install:
        return
    console.print(f"{machine()}; load {os.getloadavg()[0]:.2f}", soft_wrap=True)
    chosen = [CONTESTS[work] for work in only or CONTESTS]
    given = windows is not None or seqlen is not None
    for count, length in ((windows or 16, seqlen or 256),) if given else SIZES:
        few = rounds if given or (count, length) == SIZES[0] else max(1, rounds // 3)
        pruning = [contest for contest in chosen if contest.prunes]
        if pruning:
            _section(
                pruning,
                pythons,
                f"Pruning beside peers: {count} × {length} tokens",
                (count, length),
                Wish(few, cpu, out),
            )
    spectra = [contest for contest in chosen if not contest.prunes]
    if spectra:
        _section(spectra, pythons, "Spectra beside WeightWatcher", SIZES[0], Wish(rounds, cpu, out))


def _section(contests: list[Contest], pythons: dict[str, Path], title: str, size: tuple[int, int], wish: Wish) -> None:
    console.print(f"\n{title}, rounds: {wish.rounds}", soft_wrap=True)
    config = RunConfig.model_validate({"calibration": {"windows": size[0], "seqlen": size[1]}})
    versions: dict[str, str] = {}
    rows: list[list[str]] = []
    with TemporaryDirectory(prefix="peers-") as folder:
        place = Place(Path(folder), Embedded().weights_folder(), config.calibration.batch_size, wish.cpu)
        save_file({TOKENS: calibration_tokens(config, Embedded())}, place.tokens)
        judge = Judge(config)
        for contest in contests:
            rows += _contest(contest, pythons, place, judge, wish.rounds, versions)
            used = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
            after = f" Rounds: {wish.rounds}. Peers: {used}.\n\n{NOTES}"
            wish.write(title, f"## {title}\n\n{table(HEADER, rows)}", after)


def _contest(
    contest: Contest, pythons: dict[str, Path], place: Place, judge: Judge, rounds: int, versions: dict[str, str]
) -> list[list[str]]:
    """One row a program; what fails says so and is left out of further rounds."""
    found: dict[str, list[Answer]] = {OURS: [], **{peer: [] for peer in contest.peers if peer in pythons}}
    for number in range(rounds):
        for program in [*found]:
            try:
                saved = place.weights(program) if number == 0 and contest.prunes else None
                answer = run(place, pythons.get(program), program, contest.work, saved)
            except Failed as problem:
                console.print(f"{contest.title}, {NAMES.get(program, program)}: {problem}", soft_wrap=True)
                del found[program]
                continue
            found[program].append(answer)
            if program != OURS:
                versions |= {name: number for name, number in answer.versions.items() if name != "torch"}
            console.print(f"  {contest.title}, {NAMES.get(program, program)}: {answer.seconds:.2f} s", soft_wrap=True)
    if OURS not in found:
        return []
    if contest.prunes:
        judge.look_at({program: place.weights(program) for program in found})
    rows = [_row(contest, program, answers, found[OURS], judge) for program, answers in found.items()]
    for row in rows:
        console.print("; ".join(f"{key} {cell}" for key, cell in zip(HEADER, row, strict=True) if cell), soft_wrap=True)
    return rows


def _row(contest: Contest, program: str, answers: list[Answer], ours: list[Answer], judge: Judge) -> list[str]:
    seconds, sparsity = [answer.seconds for answer in answers], answers[0].sparsity
    faster = Spread.of(ratios(seconds, [answer.seconds for answer in ours]))
    beside = program != OURS
    return [
        contest.title,
        NAMES.get(program, program),
        Spread.of(seconds).text(),
        faster.text() if beside else "",
        at_least(faster.middle, contest.wanted) if beside else "",
        f"{max(answer.peak_mb for answer in answers):.0f}",
        f"{100 * sparsity[0]:.2f}–{100 * sparsity[1]:.2f} %" if sparsity else f"{answers[0].matrices} matrices",
        judge.perplexity(program) if contest.prunes else "",
        judge.difference(program, OURS) if contest.prunes and beside else "",
    ]


if __name__ == "__main__":
    main()
