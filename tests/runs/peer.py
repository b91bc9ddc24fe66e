"""Another process with its own connection to the store: what a second tab, the command line or a worker is to the first.

Reads lines of JSON ``[function, *arguments]``, answers each with a line of JSON.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 100.0


class Peer:
    """``ask(function, *arguments)`` runs one of this file's functions over there; ``send`` and ``answer`` do so in two steps."""

    def __init__(self, home: Path, **variables: str) -> None:
        environment = os.environ | {"PRUNESCOPE_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment |= variables
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def send(self, function: str, *arguments: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([function, *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], PATIENCE)[0], "the other process does not answer"
        line = self._process.stdout.readline()
        assert line, "the other process ended"
        answer = json.loads(line)
        assert not isinstance(answer, dict) or "error" not in answer, answer
        return answer

    def ask(self, function: str, *arguments: Any) -> Any:
        self.send(function, *arguments)
        return self.answer()

    def kill(self) -> None:
        """SIGKILL; its remains (a zombie) stay until ``close``."""
        self._process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def ready() -> bool:
    """Answers once everything is imported."""
    return True


def submit(config: dict[str, Any], identity: dict[str, Any], start: bool) -> int:
    """Submits a run and, if told, starts it; returns the attempt's id."""
    from core.config import Identity, RunConfig

    attempt, new = _store().submit(RunConfig.model_validate(config), Identity.model_validate(identity))
    assert new
    assert not start or _store().start(attempt.id)
    return attempt.id


def open_fresh(folder: str, rounds: int, start_at: float) -> list[str]:
    """Opens ``rounds`` databases that do not exist yet, each at the second agreed upon; the errors that came."""
    from core.settings import Settings
    from core.store import Store

    errors = []
    for number in range(rounds):
        time.sleep(max(0.0, start_at + 0.3 * number - time.time()))
        try:
            store = Store.open(Settings(home=Path(folder) / str(number)))
            store.remember(f"opened by {os.getpid()}", {})
            store.close()
        except Exception as error:  # noqa: BLE001  what came is what the test is about
            errors.append(f"{type(error).__name__}: {error}")
    return errors


def cli(*arguments: str) -> dict[str, Any]:
    """Runs a command of the command line; what came of it, and the seconds it took."""
    from click.testing import CliRunner

    import core.api
    import core.models.loading  # noqa: F401  not among the seconds
    from core.cli.commands import main

    started = time.perf_counter()
    result = CliRunner().invoke(main, arguments)
    return {
        "exit_code": result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "output": result.output,
        "exception": repr(result.exception),
        "seconds": time.perf_counter() - started,
    }


def set_variable(name: str, value: str | None) -> None:
    """Changes this process's environment."""
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


def forget_commits() -> None:
    """Makes this process look the hub's commits up again, as a new one would."""
    from core.data import hub

    hub._commit_of.cache_clear()


def read_corpus(name: str, purpose: str) -> dict[str, Any]:
    """A corpus as a run reads it, or why it cannot; and the seconds either took."""
    from core.data import Corpus
    from core.errors import InputError

    started, answer = time.perf_counter(), {}
    try:
        corpus = Corpus.coerce(name)
        answer["fingerprint"] = corpus.fingerprint(purpose)
        answer["label"] = corpus.label(purpose)
        answer["documents"] = corpus.pinned(answer["fingerprint"]).documents(purpose)
    except InputError as error:
        answer["refused"] = str(error)
    return answer | {"seconds": time.perf_counter() - started}


def look_up(name: str, purpose: str) -> str:
    """A corpus's fingerprint; nothing is downloaded."""
    from core.data import Corpus

    return str(Corpus.coerce(name).fingerprint(purpose))


def open_app(config: dict[str, Any]) -> list[int]:
    """Starts workers as the dashboard does and submits a run; the attempt's id and the workers' process ids."""
    from core.config import RunConfig
    from core.jobs import Jobs

    jobs = Jobs(_store())
    _opened.append(jobs)
    attempt = jobs.submit(RunConfig.model_validate(config))
    return [attempt.id, *jobs._client.run(os.getpid).values()]


def work_while_warming_up(config: dict[str, Any]) -> list[str]:
    """What a worker does that has just started and finds a task waiting; the attempt's status and message."""
    from core import jobs
    from core.config import RunConfig, identify
    from core.settings import settings

    wanted = RunConfig.model_validate(config)
    attempt, _ = _store().submit(wanted, identify(wanted))
    jobs._WarmUp(settings()).setup(None)  # type: ignore[arg-type]
    jobs._work(attempt.id, settings())
    ended = _store().attempt(attempt.id)
    return [ended.status, ended.message]


_opened: list[Any] = []


def _store() -> Any:
    from core.store import Store

    if not _opened:
        _opened.append(Store.open())
    return _opened[0]


if __name__ == "__main__":
    import core.store.store  # noqa: F401  the long import, before the first question

    for question in sys.stdin:
        function, *arguments = json.loads(question)
        try:
            answer = globals()[function](*arguments)
        except Exception as error:  # noqa: BLE001  the test that asked shall see it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
