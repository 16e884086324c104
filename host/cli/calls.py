"""Where the calls to the device are shown that transport/telling.py tells: on stderr (--verbose), or in a file (--log)."""

from __future__ import annotations

import logging
from pathlib import Path

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


def _in_file(file: Path) -> logging.Handler:
    try:
        found = logging.FileHandler(file, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--log: cannot write {file}: {error.strerror}", "name a file that can be written") from None
    found.setFormatter(logging.Formatter(IN_FILE, "%Y-%m-%dT%H:%M:%S"))
    return found
