"""Zero-shot tasks out of a hub's data sets, as the harness names them: pinned to a commit, read by datasets itself."""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tests.runs.material import sentence
from tests.runs.peer import Peer
from tests.zero_shot_oracle import write_tasks

_CARD = """---
configs:
- config_name: boolq
  data_files:
  - split: train
    path: boolq/train-*
  - split: validation
    path: boolq/validation-*
---
"""
_INFO = re.compile(r"/api/datasets/([^/]+/[^/]+?)(?:/revision/([0-9a-f]+))?")
_TREE = re.compile(r"/api/datasets/([^/]+/[^/]+)/tree/([0-9a-f]+)(?:/(.*))?")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([0-9a-f]+)/(.+)")


class DataSets(http.server.ThreadingHTTPServer):
    """A hub with data sets only: folders by name, each at one commit."""

    daemon_threads = True

    def __init__(self, folders: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = folders
        self.commits = {name: hashlib.sha1(name.encode()).hexdigest() for name in folders}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: DataSets

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        match = _INFO.fullmatch(path) or _TREE.fullmatch(path) or _FILE.fullmatch(path)
        name = match[1] if match else ""
        if match is None or name not in self.server.folders or match[2] not in (None, self.server.commits[name]):
            self._send(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)
            return
        folder, commit = self.server.folders[name], self.server.commits[name]
        if match.re is _INFO:
            files = [{"rfilename": str(file.relative_to(folder))} for file in folder.rglob("*") if file.is_file()]
            self._json({"id": name, "sha": commit, "private": False, "tags": [], "siblings": files})
        elif match.re is _TREE:
            self._json([self._entry(file, folder) for file in sorted((folder / (match[3] or "")).iterdir())])
        elif (file := folder / match[3]).is_file():
            self._send(file.read_bytes(), {"ETag": f'"{_etag(file)}"', "X-Repo-Commit": commit})
        else:
            self._send(b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, 404)

    do_HEAD = do_GET

    def _entry(self, file: Path, folder: Path) -> dict[str, Any]:
        place = {"path": str(file.relative_to(folder))}
        if file.is_dir():
            return place | {"type": "directory", "oid": "0" * 40}
        return place | {"type": "file", "size": file.stat().st_size, "oid": _etag(file)}

    def _json(self, value: Any) -> None:
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks") / "files")


@pytest.fixture
def hub(tmp_path: Path, files: Path) -> Iterator[DataSets]:
    """Has BoolQ, and of RTE a data set that is a program."""
    (tmp_path / "super_glue" / "boolq").mkdir(parents=True)
    (tmp_path / "super_glue" / "README.md").write_text(_CARD)
    documents = pd.read_json(files / "boolq.jsonl", lines=True)
    for split, rows in (("train", documents[:2]), ("validation", documents)):
        rows.to_parquet(tmp_path / "super_glue" / "boolq" / f"{split}-00000-of-00001.parquet")
    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "glue.py").write_text("raise SystemExit('executed')")
    server = DataSets({"aps/super_glue": tmp_path / "super_glue", "nyu-mll/glue": tmp_path / "glue"})
    yield server
    server.shutdown()
    server.server_close()


def test_a_task_of_the_hub(
    hub: DataSets, files: Path, tmp_path: Path, cache: Path, tiny_folder: Callable[..., Path]
) -> None:
    peer = Peer(
        tmp_path / "home",
        PRUNESCOPE_CACHE=str(cache),
        HF_ENDPOINT=f"http://127.0.0.1:{hub.server_address[1]}",
        HF_HOME=str(tmp_path / "hf"),
        NO_PROXY="127.0.0.1",
        HF_HUB_OFFLINE="0",
        HF_TOKEN="",
    )

    def zero_shot(*words: str) -> SimpleNamespace:
        return SimpleNamespace(**peer.ask("cli", "zero-shot", "--model", str(tiny_folder()), *words))

    try:
        remote = zero_shot("--tasks", "boolq", "--limit", "5")
        assert remote.exit_code == 0, remote.output
        local = zero_shot("--tasks", "boolq", "--limit", "5", "--data", str(files))
        assert local.stdout == remote.stdout
        assert any(hub.commits["aps/super_glue"] in path and path.endswith(".parquet") for path in hub.asked)
        message = sentence(zero_shot("--tasks", "boolq,arc_easy"))
        assert message.startswith("tasks = arc_easy: the data set allenai/ai2_arc cannot be read (the hub answers 404)")
        assert message.endswith("name a folder with arc_easy.jsonl or arc_easy.parquet (--data, or PRUNESCOPE_TASKS).")
        program = sentence(zero_shot("--tasks", "rte"), progress=True)
        assert "nyu-mll/glue cannot be read (Dataset scripts are no longer supported, but found glue.py)" in program
    finally:
        peer.close()
