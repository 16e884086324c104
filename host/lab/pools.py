"""Who computes the cells: processes of this machine, each with one cell at a time.

    with closing(Local(jobs=2, timeout=None)) as pool:
        for task, answer in pool.answers(tasks): ...

`Task` says what is to be computed, `Answer` what has become of it. dask_pool.py has the same for the workers of a Dask scheduler.
"""

from __future__ import annotations

import json
import os
import queue
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ..contract.errors import TargetError
from .cells import TIMED_OUT, Cell, of_json

PART = 1 << 16
"""Bytes of an answer that are read at once."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
LOGGED = re.compile(r"^\[ERROR\].*\(tid=\d+\): ")
"""What libcachesim writes before a message: another time and thread in every run."""
SOONEST, SLOWEST, LATEST = 3600, 100, 2_000_000
"""A limit of processor time ends nothing that only waits. So an answer may take SOONEST seconds by the clock, or SLOWEST times
the limit where that is more: enough on a machine that others use up. The system's waits end a little after LATEST."""


class Task(NamedTuple):
    """A cell to compute: what worker.py is asked. `stream`: the file that has it; `digest` of it; `blank`: all that is known of
    the cell before; `draws`: it takes a process of its own."""

    stream: str
    digest: str
    blank: Cell
    options: dict[str, Any]
    draws: bool

    def line(self, timeout: float | None = None, stream: str | None = None) -> str:
        """`timeout`: seconds of processor time. `stream`: where its file is, if that is another place."""
        cell = self.blank
        asked = {"stream": stream or self.stream, "digest": self.digest, "policy": cell.policy, "capacity": cell.capacity,
                 "options": self.options, "generated": cell.generated, "timeout": timeout}  # fmt: skip
        return json.dumps(asked) + "\n"


class Answer(NamedTuple):
    """A finished cell, or one with the status TIMED_OUT or FAILED."""

    cell: Cell
    samples: dict[str, Any] | None = None


class Worker:
    """A worker.py, started when it is first needed and again after it was killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None

    def compute(self, task: Task, timeout: float | None = None, stream: str | None = None) -> Answer:
        """`timeout`: seconds of the process's processor time, None for as long as it takes."""
        if task.draws:
            self.end()
        process = self._started()
        assert process.stdin and process.stdout
        by_the_clock = None if timeout is None else min(LATEST, max(SOONEST, SLOWEST * timeout))
        try:
            process.stdin.write(task.line(timeout, stream).encode())
            process.stdin.flush()
            line = _read_line(process, by_the_clock)
        except TimeoutError:
            self.end()
            return Answer(_timed_out(task, timeout, f"gave no answer in {by_the_clock:g} s by the clock"))
        except (EOFError, BrokenPipeError):
            if process.wait() == -signal.SIGPROF:
                return Answer(_timed_out(task, timeout, f"did not finish in {timeout:g} s of processor time"))
            return Answer(task.blank.failed(self._last_words()))
        answer = json.loads(line)
        if "error" in answer:
            return Answer(task.blank.failed(answer["error"]))
        return Answer(of_json(answer["cell"]), answer["samples"])

    def kill(self) -> None:
        """For another thread than the one that computes, which then finds the process ended. Its pipes stay that one's: closed
        under it, they would wake it no more."""
        if process := self._process:
            process.kill()

    def end(self) -> None:
        """Kill it, whatever it does."""
        if process := self._process:
            self._process = None
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._errors):
                _closed(stream)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process and self._process.poll() is not None:
            self.end()
        if self._process is None:
            self._errors = tempfile.TemporaryFile()
            command = [sys.executable, "-m", f"{__package__}.worker", str(os.getpid())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0
            )
        return self._process

    def _last_words(self) -> str:
        """Why a process that answers no more has ended."""
        assert self._process
        code = self._process.wait()
        self._errors.seek(0)
        lines = COLOURS.sub("", self._errors.read().decode(errors="replace")).strip().splitlines()
        self.end()
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return f"its process ended with {how}" + (f": {LOGGED.sub('', lines[-1])[:200]}" if lines else "")


def _timed_out(task: Task, timeout: float | None, reason: str) -> Cell:
    return task.blank.having(status=TIMED_OUT, timeout=timeout, reason=reason)


def _closed(stream: Any) -> None:
    try:
        stream.close()
    except OSError:
        pass  # what it had not written yet nobody will read


def _read_line(process: subprocess.Popen[bytes], timeout: float | None) -> bytes:
    """`timeout`: seconds by the clock. TimeoutError, or EOFError where the process has ended."""
    assert process.stdout
    until = None if timeout is None else time.monotonic() + timeout
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not (parts and parts[-1].endswith(b"\n")):
            if not selector.select(until and max(0.0, until - time.monotonic())):
                raise TimeoutError
            if not (part := os.read(process.stdout.fileno(), PART)):
                raise EOFError
            parts.append(part)
    return b"".join(parts)


class Local:
    """`jobs` processes of this machine. Tasks of one trace and policy that follow each other go to one process: what it has
    prepared serves them all."""

    def __init__(self, jobs: int, timeout: float | None = None):
        self._timeout = timeout
        self._groups: queue.SimpleQueue[list[Task] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Task, Answer | Exception]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._workers = [Worker() for _ in range(jobs)]
        # A thread lives as long as its worker's process: the system kills that when the thread that started it ends.
        self._threads = [threading.Thread(target=self._serve, args=(worker,), daemon=True) for worker in self._workers]
        for thread in self._threads:
            thread.start()

    def answers(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """In the order in which they come to be."""
        for _, group in groupby(tasks, key=lambda task: (task.digest, task.blank.policy)):
            self._groups.put(list(group))
        for _ in tasks:
            task, answer = self._done.get()
            if isinstance(answer, Exception):
                raise TargetError(f"no process computes {task.blank.name}: {answer}") from answer
            yield task, answer

    def _serve(self, worker: Worker) -> None:
        while group := self._groups.get():
            for task in group:
                if self._ended.is_set():
                    return
                try:
                    self._done.put((task, worker.compute(task, self._timeout)))
                except Exception as error:  # for the one who asked
                    self._done.put((task, error))

    def close(self) -> None:
        self._ended.set()
        for worker in self._workers:
            self._groups.put(None)
            worker.kill()
        for worker, thread in zip(self._workers, self._threads, strict=True):
            while thread.is_alive():
                worker.kill()  # also one that its thread has started meanwhile
                thread.join(0.1)
            worker.end()
