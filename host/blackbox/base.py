"""What the flight recorders of simulations and boards have in common."""

from __future__ import annotations

import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..contract.commands import Command
from ..contract.errors import in_brief
from ..lockstep.lockstep import Lockstep
from ..lockstep.report import Report
from ..targets.target import Target
from .history import History, QueryWrite, TableWrite
from .seal import seal_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BlackBox(ABC):
    """A `lockstep.recorder.Recorder`. `folder` gets a subfolder for each failure (None: it only keeps the history). `history`:
    what the device has been through since its reset."""

    def __init__(self, target: Target, folder: Path | None, history: History | None):
        self.target = target
        self.folder = folder
        self.history = history

    @abstractmethod
    def before(self, lockstep: Lockstep, commands: Sequence[Command]) -> None: ...

    @abstractmethod
    def before_memory(self, lockstep: Lockstep, addr: int, data: bytes) -> None: ...

    @abstractmethod
    def before_table(self, lockstep: Lockstep, codes: bytes) -> None: ...

    @abstractmethod
    def before_queries(self, lockstep: Lockstep, slot: int, bits: NDArray[np.uint16]) -> None: ...

    @abstractmethod
    def kept_queries(self, bits: NDArray[np.uint16]) -> None: ...

    @abstractmethod
    def register_written(self, offset: int, value: int, width: int) -> None: ...

    @abstractmethod
    def adopted(self, addr: int, data: bytes) -> None: ...

    @abstractmethod
    def was_reset(self) -> None: ...

    @abstractmethod
    def taken_over(self) -> None: ...

    @abstractmethod
    def stored(self, home: Path) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def write(self, report: Report) -> None:
        """Make the failure folder and tell `report` about it."""
        if self.folder is None:
            return
        try:
            folder = report.make_folder(self.folder)
            try:
                self._fill(report, folder)
            finally:
                report.write()
            seal_folder(folder)
        except Exception as error:  # whatever it is, the difference that led here must not be lost for it
            report.notes.append(f"the failure folder is incomplete: {in_brief(error)}")
            print(f"kvfpga: {report.notes[-1]}", file=sys.stderr)

    @abstractmethod
    def _fill(self, report: Report, folder: Path) -> None:
        """Put what shows the failure again into `folder`, and how into `report`."""


def query_lines(write: QueryWrite, folder: Path, number: int) -> Iterator[str]:
    """The lines that write queries, each of which goes into a file of `folder`; `number` tells those of one write from others'.
    Slots that a reset left as they were get no line where they are zero."""
    for slot, bits in enumerate(write.queries, start=write.slot):
        if bits.any() or not write.kept:
            path = folder / f"query-{number}-{slot}.npy"
            np.save(path, bits.view(np.float16))
            yield f"query write {slot} {shlex.quote(str(path))}"
    if write.kept:
        yield "reset --raw"


def table_line(write: TableWrite, path: Path) -> str:
    """The line that writes a table, which goes into the file `path`."""
    np.save(path, write.table)
    return f"policy table {shlex.quote(str(path))}"
