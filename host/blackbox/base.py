"""What the flight recorders of simulations and boards have in common."""

from __future__ import annotations

import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..contract.commands import Command
from ..contract.errors import KvfpgaError
from ..lockstep.lockstep import Lockstep
from ..lockstep.report import Report
from ..targets.target import Target
from .history import History, TableWrite
from .seal import seal_folder


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
    def register_written(self, offset: int, value: int, width: int) -> None: ...

    @abstractmethod
    def adopted(self, addr: int, data: bytes) -> None: ...

    @abstractmethod
    def was_reset(self) -> None: ...

    @abstractmethod
    def taken_over(self) -> None: ...

    @abstractmethod
    def forget(self) -> None: ...

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
        except (OSError, KvfpgaError) as error:
            report.notes.append(f"the failure folder is incomplete: {error}")
            print(f"kvfpga: {report.notes[-1]}", file=sys.stderr)

    @abstractmethod
    def _fill(self, report: Report, folder: Path) -> None:
        """Put what shows the failure again into `folder`, and how into `report`."""


def table_line(write: TableWrite, path: Path) -> str:
    """The line that writes a table, which goes into the file `path`."""
    np.save(path, write.table)
    return f"policy table {shlex.quote(str(path))}"
