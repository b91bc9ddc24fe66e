"""Runs as a file: the same on the other side, and refused where the file is not what it should be."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.numpy import load, load_file, save

from core.api import make_config, run_config
from core.cli.commands import main
from core.config import RunConfig, identify
from core.errors import InputError
from core.reopening import reopen
from core.settings import Settings
from core.store import Run, Store
from core.transfer import export_runs, export_size, import_runs
from tests.runs.material import run_parts, sentence

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Another machine's store."""
    return Store.open(Settings(home=tmp_path / "other"))


@pytest.fixture
def run(store: Store, config: Callable[..., RunConfig]) -> Run:
    return run_config(config("sparsegpt", sparsity="2:4"), store)[1]


def exported(store: Store, *run_ids: str, weights: bool = True) -> io.BytesIO:
    file = io.BytesIO()
    export_runs(store, run_ids, file, weights)
    return file


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def nothing_in(store: Store) -> bool:
    artifacts = store.folder("")
    return store.runs() == [] and (not artifacts.exists() or [*artifacts.iterdir()] == [])


def rebuilt(file: io.BytesIO, change: Change, honest: bool = True) -> io.BytesIO:
    """The file with its contents changed; ``honest``: its list of hashes goes with the change."""
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files.pop("prunescope.json"))
    change(files)
    if honest:
        manifest["files"] = {
            name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in files.items()
        }
    new = io.BytesIO()
    with zipfile.ZipFile(new, "w") as archive:
        for name, content in (files | {"prunescope.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, content)
    return new


# There and back --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("sparsegpt", {}),
        ("ria", {"sparsity": "2:4", "stages": [{"stage": "reallocation"}]}),
        ("wanda", {"stages": [{"stage": "low_rank", "modules": "*.mlp.*", "rank_ratio": 0.25}]}),
        ("wanda", {"stages": [{"stage": "barber"}]}),
    ],
)
def test_a_run_is_the_same_on_the_other_side(store, other, tiny_folder, texts, method, changes):
    made = make_config(str(tiny_folder()), method=method, **({"sparsity": 0.5} | changes), **run_parts(texts))
    run = run_config(made, store)[1]
    store.rename(run.id, "A <name> & more")
    done = import_runs(other, exported(store, run.id), "runs.zip")
    assert (done.new, done.kept) == ((run.id,), ())
    ours, theirs = store.run(run.id), other.run(run.id)
    same = {"id", "name", "config", "identity", "created_at", "result", "weights_bytes"}
    assert theirs.model_dump(include=same) == ours.model_dump(include=same)
    assert (theirs.status, theirs.attempt.message) == ("finished", "Imported.")
    assert theirs.attempt.submitted_at == ours.attempt.submitted_at
    assert contents(other.folder(run.id)) == contents(store.folder(run.id)), "bit for bit"
    pd.testing.assert_frame_equal(other.modules(run.id), store.modules(run.id))
    mine, yours = (reopen(run.id, each).model.state_dict() for each in (store, other))
    assert mine.keys() == yours.keys()
    assert all(torch.equal(mine[name], yours[name]) for name in mine)


def test_several_runs_go_in_one_file(store, other, config):
    runs = [run_config(config(sparsity=sparsity), store)[1] for sparsity in (0.3, 0.5)]
    done = import_runs(other, exported(store, *(run.id for run in runs), runs[0].id), "runs.zip")
    assert {*done.new} == {run.id for run in runs}
    assert {run.id: run.result for run in other.runs()} == {run.id: run.result for run in store.runs()}


def test_weights_can_be_left_out(store, other, run):
    assert run.weights_bytes
    file = exported(store, run.id, weights=False)
    size = export_size(store, [run], weights=False)
    assert size < len(file.getvalue()) < size + 20_000
    assert export_size(store, [run]) == size + run.weights_bytes
    import_runs(other, file, "runs.zip")
    assert other.run(run.id).weights_bytes == 0
    assert other.survivors(run.id) is None
    mine, yours = (reopen(run.id, each).model.state_dict() for each in (store, other))  # pruned again
    assert all(torch.equal(mine[name], yours[name]) for name in mine)


def test_weights_that_are_not_kept_here_are_not_taken_in(store, tmp_path, run):
    sparing = Store.open(Settings(home=tmp_path / "sparing", keep_weights="never"))
    import_runs(sparing, exported(store, run.id), "runs.zip")
    assert sparing.run(run.id).weights_bytes == 0
    assert not (sparing.folder(run.id) / "weights.safetensors").exists()


def test_what_was_measured_later_goes_along(store, other, run):
    (known,) = (store.folder(run.id) / "perplexity").iterdir()
    arrays = load_file(known)
    assert import_runs(other, exported(store, run.id), "runs.zip").new
    found = other.token_losses(run.id, known.stem)
    np.testing.assert_array_equal(found.losses, arrays["losses"])


# What is here already --------------------------------------------------------------------------------------------------


def test_a_run_that_has_finished_here_stays_as_it_is(store, run):
    file = exported(store, run.id)
    store.rename(run.id, "Mine")
    (store.folder(run.id) / "masks.safetensors").touch()
    before = store.run(run.id), contents(store.folder(run.id))
    done = import_runs(store, file, "runs.zip")
    assert (done.new, done.kept) == ((), (run.id,))
    assert (store.run(run.id), contents(store.folder(run.id))) == before


def test_a_run_that_failed_here_gets_the_result_as_its_next_attempt(store, other, run):
    attempt, _ = other.submit(run.config, run.identity)
    other.end(attempt.id, "failed", "No memory.")
    assert import_runs(other, exported(store, run.id), "runs.zip").new == (run.id,)
    assert [one.status for one in other.attempts(run.id)] == ["failed", "finished"]
    assert other.run(run.id).result == run.result


def test_a_run_under_way_here_is_refused(store, other, run):
    other.submit(run.config, run.identity)
    with pytest.raises(InputError, match=r"is under way here; cancel it or wait for its end, then import again\.$"):
        import_runs(other, exported(store, run.id), "runs.zip")
    assert other.run(run.id).status == "queued"
    assert not other.folder(run.id).exists()


def test_a_run_that_was_deleted_here_comes_back(store, run):
    file = exported(store, run.id)
    store.runs()  # remembered
    store.delete(run.id)
    changed = rebuilt(file, record_change("name", "Back again"))
    assert import_runs(store, changed, "runs.zip").new == (run.id,)
    assert store.runs()[0].name == "Back again"
    assert store.runs()[0].result == run.result


# What is refused -------------------------------------------------------------------------------------------------------


def part(files: dict[str, bytes], name: str) -> str:
    return next(member for member in files if member.endswith(f"/{name}"))


def record_change(field: str, value: object) -> Change:
    def change(files):
        name = part(files, "run.json")
        record = json.loads(files[name])
        place = record
        *path, last = field.split(".")
        for step in path:
            place = place[step]
        place[last] = value
        files[name] = json.dumps(record).encode()

    return change


def config_change(files):
    name = part(files, "config.json")
    files[name] = files[name].replace(b'"sparsity": 0.5', b'"sparsity": 0.25')


def unknown_method(files):
    name = part(files, "config.json")
    files[name] = files[name].replace(b'"method": "magnitude"', b'"method": "row_share"')


def tensors(name: str, change: Callable[[dict], None]) -> Change:
    """Changes the arrays of a safetensors file and keeps what is said beside them."""

    def changed(files):
        member = part(files, name)
        content = files[member]
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        arrays = load(content)
        change(arrays)
        files[member] = save(arrays, header.get("__metadata__", {}))

    return changed


def flip(arrays):
    first = next(iter(arrays))
    arrays[first] = arrays[first] ^ np.uint8(0b10000000)


def shorten(arrays):
    first = next(iter(arrays))
    arrays[first] = arrays[first][:-1]


def leave_out(arrays):
    del arrays[next(iter(arrays))]


def worse(arrays):
    arrays["losses"] = arrays["losses"][:, :-1]


def table_change(column: str, value: object, row: int = 0) -> Change:
    def change(files):
        name = part(files, "modules.parquet")
        table = pd.read_parquet(io.BytesIO(files[name]))
        table[column] = table[column].astype(object) if isinstance(value, str) else table[column]
        table.loc[row, column] = value
        out = io.BytesIO()
        table.to_parquet(out)
        files[name] = out.getvalue()

    return change


def text_file(files):
    return next(name for name in files if "/perplexity/" in name)


def garbage(name: str) -> Change:
    def change(files):
        files[part(files, name)] = b"PAR1 \x80\x04K\x01. no such thing"

    return change


def extra(name: str) -> Change:
    def change(files):
        files[name] = b"\x80\x04K\x01."

    return change


def without(name: str) -> Change:
    def change(files):
        del files[part(files, name)]

    return change


@pytest.fixture
def magnitude(store: Store, config: Callable[..., RunConfig]) -> Run:
    return run_config(config("magnitude"), store)[1]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (record_change("id", "0" * 16), "says that it is run 0000000000000000"),
        (record_change("identity.model_revision", "another"), "does not have the id that its config and identity give"),
        (config_change, "does not have the id that its config and identity give"),
        (unknown_method, "Unknown method 'row_share'"),
        (record_change("result.perplexity.value", 1.0), "has a perplexity that its windows' losses do not give"),
        (record_change("result.dense_perplexity.standard_error", 9.0), "has a dense perplexity that its windows'"),
        (record_change("result.pruned", 1), "has a table of modules that does not add up to its figures"),
        (record_change("created_at", "yesterday"), "has a run.json with a wrong entry (created_at"),
        (record_change("command", "rm"), "has a run.json with a wrong entry (command: Extra inputs"),
        (table_change("pruned", 1), "has figures of module"),
        (table_change("rows", 31), "has figures of module"),
        (table_change("module", "elsewhere"), "has masks of other modules than its table names"),
        (table_change("error_basis", "x"), None),
        (garbage("modules.parquet"), "has a modules.parquet that cannot be read"),
        (garbage("masks.safetensors"), "has a masks.safetensors that cannot be read"),
        (garbage("config.json"), "has a config.json that cannot be read"),
        (tensors("masks.safetensors", flip), "that does not prune what its table says"),
        (tensors("masks.safetensors", shorten), "that is not of the module's shape"),
        (tensors("masks.safetensors", leave_out), "has masks of other modules than its table names"),
        (without("masks.safetensors"), "has no masks.safetensors of run"),
        (extra("../../evil.json"), "'../../evil.json', which is no part of a run"),
        (extra("/etc/evil"), "'/etc/evil', which is no part of a run"),
        (extra("0123456789abcdef/model.pkl"), "'0123456789abcdef/model.pkl', which is no part of a run"),
        (extra("0123456789abcdef/perplexity/../../x.safetensors"), "which is no part of a run"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_one_sentence(store, other, magnitude, change, told):
    file = rebuilt(exported(store, magnitude.id), change)
    if told is None:
        assert import_runs(other, file, "runs.zip").new
        return
    with pytest.raises(InputError) as refused:
        import_runs(other, file, "runs.zip")
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    assert nothing_in(other)


def test_losses_that_contradict_the_figures_are_refused(store, other, magnitude):
    def change(files):
        name = text_file(files)
        tensors(name.partition("/")[2], worse)(files)

    with pytest.raises(InputError, match="that contradict its figures"):
        import_runs(other, rebuilt(exported(store, magnitude.id), change), "runs.zip")
    assert nothing_in(other)


def test_weights_that_do_not_fit_the_masks_are_refused(store, other, run):
    file = rebuilt(exported(store, run.id), tensors("weights.safetensors", shorten))
    with pytest.raises(InputError, match="has weights that do not fit its masks"):
        import_runs(other, file, "runs.zip")
    assert nothing_in(other)


def test_one_bad_run_keeps_the_good_ones_out(store, other, config, magnitude):
    good = run_config(config(sparsity=0.3), store)[1]

    def change(files):
        name = f"{magnitude.id}/run.json"
        files[name] = files[name].replace(b'"pruned"', b'"prund"')

    with pytest.raises(InputError, match=magnitude.id):
        import_runs(other, rebuilt(exported(store, good.id, magnitude.id), change), "runs.zip")
    assert nothing_in(other)


@pytest.mark.parametrize("name", ["masks.safetensors", "modules.parquet", "run.json"])
def test_what_is_not_as_it_was_written_is_refused(store, other, magnitude, name):
    def change(files):
        content = bytearray(files[part(files, name)])
        content[len(content) // 2] ^= 1
        files[part(files, name)] = bytes(content)

    with pytest.raises(InputError, match=rf"{name} is not as it was written; copy or export it again\.$"):
        import_runs(other, rebuilt(exported(store, magnitude.id), change, honest=False), "runs.zip")
    assert nothing_in(other)


def test_more_than_the_list_announces_is_not_unpacked(store, other, magnitude):
    def change(files):
        files[part(files, "masks.safetensors")] += bytes(1 << 24)

    with pytest.raises(InputError, match="is not as it was written"):
        import_runs(other, rebuilt(exported(store, magnitude.id), change, honest=False), "runs.zip")


def test_a_name_twice_is_refused(store, other, magnitude):
    file = exported(store, magnitude.id)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(f"{magnitude.id}/config.json", "{}")
    with pytest.raises(InputError, match="does not hold what its list says"):
        import_runs(other, file, "runs.zip")


def test_a_newer_version_asks_for_an_update(store, other, magnitude):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("prunescope.json", json.dumps({"format": "prunescope runs", "version": 2, "packed": {}}))
    with pytest.raises(InputError, match=r"was written by a newer version of this program; update it\.$"):
        import_runs(other, file, "runs.zip")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a zip", b"just a text"])
def test_what_is_no_zip_is_refused(other, content):
    with pytest.raises(
        InputError, match=r"^file = 'runs.zip' cannot be read \(.+\); choose one written by runs export\.$"
    ):
        import_runs(other, io.BytesIO(content), "runs.zip")


def test_another_programs_zip_is_refused(other):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(InputError, match="holds no runs of this program"):
        import_runs(other, file, "runs.zip")


def test_only_finished_runs_are_exported(store, config):
    attempt, _ = store.submit(config(), identify(config()))
    with pytest.raises(InputError, match="has not finished, so there is nothing to export"):
        exported(store, attempt.run_id)


# On the command line ---------------------------------------------------------------------------------------------------


def command(*arguments: object) -> object:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_commands_take_runs_from_one_home_to_another(store, tmp_path, magnitude, run):
    target = tmp_path / "runs.zip"
    done = command("runs", "export", magnitude.id, run.id, target)
    assert (done.exit_code, done.output) == (0, f"Saved 2 runs to {target}.\n")
    assert sentence(command("runs", "export", run.id, target)).endswith("choose another name or add --overwrite.")
    elsewhere = ("--home", tmp_path / "elsewhere")
    done = command(*elsewhere, "runs", "import", target)
    assert done.exit_code == 0, done.output
    assert {*done.output.split("\n")} >= {f"Imported {run.id}.", f"Imported {magnitude.id}."}
    done = command(*elsewhere, "runs", "import", target)
    assert done.exit_code == 0
    assert f"{run.id} has finished here already and stays as it is" in done.output


def test_the_commands_refuse_in_one_sentence(store, tmp_path, magnitude, run):
    (tmp_path / "text.zip").write_text("no zip")
    assert "cannot be read" in sentence(command("runs", "import", tmp_path / "text.zip"))
    assert "is no .zip" in sentence(command("runs", "export", magnitude.id, run.id, tmp_path / "folder"))
    assert "does not exist" in sentence(command("runs", "export", "0" * 16, tmp_path / "runs.zip"))
    assert "create" in sentence(command("runs", "export", run.id, tmp_path / "no" / "runs.zip"))
    assert not list(tmp_path.glob("*runs.zip*"))


def test_a_run_is_written_as_json_and_csv(store, tmp_path, magnitude):
    for name in ("run.json", "modules.csv"):
        done = command("runs", "show", magnitude.id, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["perplexity"] == magnitude.result.perplexity.value
    assert content["config"] == magnitude.config.model_dump(mode="json")
    table = pd.read_csv(tmp_path / "modules.csv")
    assert table.pruned.sum() == magnitude.result.pruned
    assert "end it in .json, .csv" in sentence(command("runs", "show", magnitude.id, "--out", tmp_path / "run.xlsx"))
