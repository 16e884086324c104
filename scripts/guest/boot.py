"""A guest with the device: `kvfpga vfio SOCKET` and QEMU beside it, until the guest powers off.

QEMU runs without KVM (TCG), which every machine can do.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import contextmanager
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .packages import GuestError, run_with

MEMORY = "256M"
TALLY = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc|\r")


class Outcome(NamedTuple):
    """What the guest's tests said, `text` with everything on its console; `seconds` from QEMU's start to its end."""

    passed: int
    failed: int
    complains: bool
    seconds: float
    text: str


@contextmanager
def server(socket: Path, log: Path, entries: int) -> Iterator[subprocess.Popen[bytes]]:
    """The device on a socket while the block lasts."""
    socket.unlink(missing_ok=True)
    command = [sys.executable, "-m", "kvfpga", "--session", str(socket.parent / "session"), "--entries", str(entries), "vfio", str(socket)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait_for(socket, process, log)
        yield process
    finally:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()


def _wait_for(socket: Path, process: subprocess.Popen[bytes], log: Path, seconds: float = 900) -> None:
    """Building the simulation takes minutes where there is none yet."""
    end = time.monotonic() + seconds
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise GuestError(f"kvfpga vfio did not come up: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.1)


def boot(qemu: Path, kernel: Path, initramfs: Path, socket: Path, log: Path, append: Iterable[str] = (), limit: float = 900) -> Outcome:
    """Run the guest to its end, or for `limit` seconds."""
    device = f'{{"driver": "vfio-user-pci", "socket": {{"type": "unix", "path": "{socket}"}}}}'
    command = [
        *run_with(qemu), qemu / "usr/bin/qemu-system-x86_64", "-L", qemu / "usr/share/qemu", "-L", qemu / "usr/share/seabios",
        "-M", "q35,memory-backend=ram", "-accel", "tcg", "-cpu", "max", "-m", MEMORY, "-smp", "2", "-nographic", "-nodefaults", "-serial", "stdio",
        "-no-reboot", "-object", f"memory-backend-memfd,id=ram,size={MEMORY},share=on", "-device", device,
        "-kernel", kernel, "-initrd", initramfs, "-append", " ".join(("console=ttyS0 quiet panic=-1", *append)),
    ]  # fmt: skip
    start = time.monotonic()
    with log.open("wb") as out:
        try:
            code = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=limit).returncode
        except subprocess.TimeoutExpired:
            code = -1
    seconds = time.monotonic() - start
    text = CONTROL.sub("", log.read_text(errors="replace"))
    tally = TALLY.search(text)
    if not tally:
        raise GuestError(f"the guest did not come to the end of its tests (QEMU: {code}, {seconds:.0f} s); its console is in {log}:\n{text[-1500:]}")
    return Outcome(int(tally[1]), int(tally[2]), "guest: the kernel complains" in text, seconds, text)
