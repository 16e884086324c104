"""Where the calls to the device are shown that transport/telling.py tells: on stderr (--verbose), or in a file (--log)."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..contract import files
from ..contract.errors import UsageError
from ..transport.telling import LOGGER
from . import output

IN_FILE = "%(asctime)s.%(msecs)03d %(message)s"
"""A line of a log; the time as ISO 8601 has it."""


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output.complain(f"kvfpga: {self.format(record)}")


def tell(verbose: int, file: Path | None) -> None:
    """Show the calls from here on: each as one line, and with `verbose` 2 what is in a batch, too."""
    handler = _OnStderr() if file is None else _in_file(file)
    for before in LOGGER.handlers[:]:
        LOGGER.removeHandler(before)
        before.close()
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG if verbose > 1 else logging.INFO)


class _InFile(logging.Handler):
    """Where it takes no more, that is said once: what a command does is not undone by its log."""

    def __init__(self, file: Path):
        super().__init__()
        self._file = file
        self._handle = files.without_waiting(str(file), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode()
        try:
            while line:
                line = line[os.write(self._handle, line) :]
        except OSError as error:
            LOGGER.removeHandler(self)
            output.complain(f"kvfpga: --log: {self._file} takes no more: {error.strerror}; later calls are not in it")

    def close(self) -> None:
        os.close(self._handle)
        super().close()


def _in_file(file: Path) -> logging.Handler:
    try:
        found = _InFile(file)
    except OSError as error:
        raise UsageError(f"--log: cannot write {file}: {files.why(error)}", "name a file that can be written") from None
    found.setFormatter(logging.Formatter(IN_FILE, "%Y-%m-%dT%H:%M:%S"))
    return found
