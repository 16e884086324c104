"""Loads a bitstream into a board by handing it to openFPGALoader.

openFPGALoader knows the cables and the boards; kvfpga only checks the file, starts it, lets its output through and turns its
end into an exit code of kvfpga. `board` and `cable` are its own names (`openFPGALoader --list-boards`, `--list-cables`).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import IO, Any

from ..contract.errors import TargetError, UsageError

LOADER = "openFPGALoader"


def command(bitstream: Path, cable: str | None = None, board: str | None = None, flash: bool = False) -> list[str]:
    """The command line, without the program's path."""
    named = [*(["--board", board] if board else []), *(["--cable", cable] if cable else [])]
    return [*named, *(["--write-flash"] if flash else []), str(bitstream)]


def program(
    bitstream: Path, cable: str | None = None, board: str | None = None, flash: bool = False,
    output: IO[Any] | int | None = None,
) -> None:  # fmt: skip
    """Load `bitstream`: into the FPGA, where it lasts until power goes, or with `flash` into the board's flash memory.

    `output` takes what openFPGALoader prints (None: where this process prints). UsageError for a file that is no bitstream
    and for neither cable nor board, TargetError where openFPGALoader is missing or fails.
    """
    if not bitstream.is_file():
        raise UsageError(f"there is no bitstream {bitstream}", "build one, for a ULX3S with scripts/bitstream/build_ulx3s.py")
    if bitstream.stat().st_size == 0:
        raise UsageError(f"the bitstream {bitstream} is empty", "build it again")
    if not board and not cable:
        raise UsageError(
            "neither board nor cable is known to program with",
            "name one: --board-name (openFPGALoader --list-boards) or --cable (openFPGALoader --list-cables)",
        )
    loader = shutil.which(LOADER)
    if not loader:
        raise TargetError(f"{LOADER} is not installed", "Debian: apt-get install openfpgaloader")
    try:
        status = subprocess.run(
            [loader, *command(bitstream, cable, board, flash)], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ).returncode
    except OSError as error:
        raise TargetError(f"{loader} cannot be started: {error.strerror}", "install the openfpgaloader package again") from None
    if status:
        how = f"was ended by signal {-status}" if status < 0 else f"failed with exit status {status}"
        raise TargetError(
            f"{LOADER} {how}", "is the board plugged in and powered, and may this user open it (udev rules of openfpgaloader)?"
        )
