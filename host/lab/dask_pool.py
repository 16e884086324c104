"""The cells of the lab on the workers of a Dask scheduler: the same tasks, the same answers.

kvfpga[lab] of the same source must be installed where the workers are; a cell that other source computed is refused. Streams are
written on each worker's machine when it comes, so no folder need be shared, and a worker that is lost takes nothing along: the
scheduler gives its cells to others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..contract.errors import TargetError, UsageError, in_brief
from .pools import Answer, Task, Worker

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 20
_of_thread = threading.local()
"""Each of a Dask worker's threads has a process that computes: it can be killed when its time is over, a thread cannot."""


class Dask:
    """A pool on the scheduler at this address (tcp://HOST:PORT)."""

    def __init__(self, address: str, timeout: float | None = None):
        from distributed import Client

        self._timeout = timeout
        self._plugins: list[str] = []
        try:
            self._client: Client = Client(address, timeout=CONNECT_S)
        except (OSError, ValueError, ImportError) as error:
            what = f"no Dask scheduler answers at {address}: {in_brief(error)}"
            raise TargetError(what, "start one with `dask scheduler`") from None

    def answers(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        """In the order in which they come to be."""
        from distributed import as_completed

        self._spread({task.digest: Path(task.stream) for task in tasks})
        futures = {self._client.submit(_compute, task, self._timeout, pure=False): task for task in tasks}
        for future in as_completed(futures):
            task = futures[future]
            try:
                answer: Answer = future.result()
            except Exception as error:
                what = f"the Dask workers do not compute {task.blank.name}: {in_brief(error)}"
                raise TargetError(what, getattr(error, "remedy", None)) from error
            if answer.cell.digest != task.blank.digest:
                raise UsageError(
                    f"a Dask worker computed {task.blank.name} with other source or libraries ({answer.cell.versions})",
                    "install the same kvfpga[lab] where the workers are",
                )
            yield task, answer

    def _spread(self, streams: dict[str, Path]) -> None:
        from distributed.diagnostics.plugin import UploadFile

        for digest, path in streams.items():
            name = f"kvfpga-stream-{digest}"
            if name not in self._plugins:
                self._plugins.append(name)
                self._client.register_plugin(UploadFile(str(path), load=False), name=name)

    def close(self) -> None:
        for name in self._plugins:
            self._client.unregister_worker_plugin(name)
        self._client.close()


def _compute(task: Task, timeout: float | None) -> Answer:
    """On a Dask worker."""
    from distributed import get_worker

    worker = getattr(_of_thread, "worker", None)
    if worker is None:
        worker = _of_thread.worker = Worker()
    return worker.compute(task, timeout, str(Path(get_worker().local_directory) / Path(task.stream).name))
