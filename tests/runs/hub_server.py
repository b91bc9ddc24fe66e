"""A small Hugging Face hub on this machine: what the client asks of the real one, out of local folders.

A data set's name begins with ``datasets/``, as in the addresses of its files.
"""

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

from tests.runs.peer import Peer

NO_ONE = "http://127.0.0.1:9"  # the discard port: nobody listens

_API = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/?]+))?")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/?]+)")
_FILE = re.compile(r"/((?:datasets/)?[^/]+/[^/]+)/resolve/([^/]+)/(.+)")
_PIECE = 1 << 16

Refusal = tuple[int, dict[str, str]]
GATED: Refusal = (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted."})
NOT_FOUND: Refusal = (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
# Without a token the real hub says 401 of what is private and of what does not exist. The client knows its address from
# the real one by https; here the code has to tell.
UNAUTHORISED: Refusal = (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."})
DENIED: Refusal = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
BROKEN: Refusal = (500, {})
NO_REVISION: Refusal = (404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
NO_FILE: Refusal = (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})


@dataclass
class Repo:
    """Commits by hash, the one that main (or another branch) points to, and what is refused: the look-up, or only the files."""

    commits: dict[str, Path] = field(default_factory=dict)
    main: str = ""
    branch: str = "main"
    refuse: Refusal | None = None
    refuse_files: Refusal | None = None

    def push(self, folder: Path) -> str:
        self.main = hashlib.sha1(f"{folder} {len(self.commits)}".encode()).hexdigest()
        self.commits[self.main] = folder
        return self.main

    def commit(self, revision: str) -> str | None:
        return self.main if revision == self.branch else revision if revision in self.commits else None


@dataclass
class Hub:
    """The server's address, its repositories by id, every request that came (method and path), and the bytes of files sent.

    ``cut``: ends of files' names whose second half is not sent.
    """

    address: str
    repos: dict[str, Repo] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    cut: tuple[str, ...] = ()

    def add(self, name: str, folder: Path, branch: str = "main", **refusals: Refusal) -> Repo:
        self.repos[name] = Repo(branch=branch, **refusals)  # type: ignore[arg-type]
        self.repos[name].push(folder)
        return self.repos[name]

    def asked(self, words: str) -> list[str]:
        return [line for line in self.log if words in line]


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub("")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.log.append(f"{self.command} {self.path}")
            path = self.path.partition("?")[0]
            if match := _API.fullmatch(path):
                self._info(match[1], match[2] or "main")
            elif match := _TREE.fullmatch(path):
                self._tree(match[1], match[2])
            elif match := _FILE.fullmatch(path):
                self._file(match[1], unquote(match[2]), match[3])
            else:
                self._refuse(NO_FILE)

        do_HEAD = do_POST = do_GET

        def _info(self, name: str, revision: str) -> None:
            repo = hub.repos.get(name)
            if repo is None or repo.refuse:
                self._refuse(repo.refuse if repo and repo.refuse else NOT_FOUND)
            elif (commit := repo.commit(revision)) is None:
                self._refuse(NO_REVISION)
            else:
                files = [{"rfilename": file.name} for file in sorted(repo.commits[commit].iterdir())]
                info = {"id": name, "modelId": name, "sha": commit, "private": False, "siblings": files, "tags": []}
                self._send(json.dumps(info).encode(), {"Content-Type": "application/json"})

        def _tree(self, name: str, revision: str) -> None:
            repo = hub.repos.get(name)
            if repo is None or repo.refuse or (commit := repo.commit(revision)) is None:
                self._refuse((repo and repo.refuse) or (NO_REVISION if repo else NOT_FOUND))
                return
            files = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _etag(file.read_bytes())}
                for file in sorted(repo.commits[commit].iterdir())
            ]
            self._send(json.dumps(files).encode(), {"Content-Type": "application/json"})

        def _file(self, name: str, revision: str, file: str) -> None:
            repo = hub.repos.get(name)
            if repo is None or repo.refuse or repo.refuse_files:
                self._refuse((repo and (repo.refuse or repo.refuse_files)) or NOT_FOUND)
            elif (commit := repo.commit(revision)) is None:
                self._refuse(NO_REVISION)
            elif not (repo.commits[commit] / file).is_file():
                self._refuse((NO_FILE[0], NO_FILE[1] | {"X-Repo-Commit": commit}))
            else:
                content = (repo.commits[commit] / file).read_bytes()
                self._send(content, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"})

        def _refuse(self, refusal: Refusal) -> None:
            self._send(b"{}", refusal[1], refusal[0])

        def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            whole = not hub.cut or not self.path.endswith(hub.cut)
            content = content if whole else content[: len(content) // 2]
            hub.sent[self.path] = 0
            for start in range(0, len(content), _PIECE):
                try:
                    self.wfile.write(content[start : start + _PIECE])
                except ConnectionError:  # who asked has enough
                    break
                hub.sent[self.path] += _PIECE
            self.close_connection = self.close_connection or not whole

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Machine:
    """A process that takes a hub's address from its environment."""

    def __init__(self, tmp: Path, cache: Path, hub: str, **variables: str) -> None:
        self._peer = Peer(tmp / "home", **(environment(tmp, cache, hub) | variables))
        self.close, self.ask = self._peer.close, self._peer.ask

    def core(self, *arguments: Any) -> SimpleNamespace:
        return SimpleNamespace(**self._peer.ask("cli", *map(str, arguments)))


def environment(tmp: Path, cache: Path, hub: str) -> dict[str, str]:
    """What makes a process ask this hub, and keep what it downloads in ``tmp``."""
    return {
        "PRUNESCOPE_CACHE": str(cache),
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp / "hf"),
        "NO_PROXY": "127.0.0.1",
        "HF_HUB_OFFLINE": "0",
        "HF_TOKEN": "",
        "DISABLE_SAFETENSORS_CONVERSION": "",
    }
