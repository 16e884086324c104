"""A guest with the device: `kvfpga vfio SOCKET` and QEMU beside it, until the guest powers off.

QEMU runs without KVM (TCG), which every machine can do.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .packages import GuestError, run_with

MEMORY = "256M"
KERNEL = "console=ttyS0 quiet panic=-1 no_timer_check watchdog_thresh=60"
"""Its command line. A busy machine lets a guest without KVM wait longer than a kernel has patience: for the first ticks of its
timer, and for its turn, so that it takes a processor for locked up. Hence the last two words."""
MEMORY_WITH_PYTHON = "1G"
"""For the file system twice: as the kernel is given it, and unpacked."""
TALLY = re.compile(r"^(\d+) passed, (\d+) failed$", re.MULTILINE)
FAULTY = "guest: with a fault"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc|\r")


class Outcome(NamedTuple):
    """What the guest's tests said, `text` with everything on its console; `seconds` from QEMU's start to its end, and
    `processor` those that it was at work."""

    passed: int
    failed: int
    complains: bool
    seconds: float
    processor: float
    text: str


@dataclass
class Device:
    """What `kvfpga vfio` said at its end: `counts` (reads, commands, differences …), or the `error` that it ended with; and the
    `processor` seconds that it was at work, with the building of the simulation where there was none."""

    counts: dict[str, int] = field(default_factory=dict)
    error: str = ""
    processor: float = 0


def processor_seconds() -> float:
    """Of all processes that this one has waited for. On a machine with much else to do, they say more than a clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fault_seen(text: str) -> bool:
    """Did what is tested with a fault in the driver fail, all of it, as scripts/guest/init has it after the tests?"""
    tally = TALLY.search(text.partition(FAULTY)[2])
    return tally is not None and tally[1] == "0" and tally[2] != "0"


@contextmanager
def server(socket: Path, log: Path, entries: int, rtl: Path | None) -> Iterator[Device]:
    """The device on a socket while the block lasts, of `rtl` or else the project's own; what it said is there afterwards. Where a
    guest comes to no end, the device may be why, so its error is added to that."""
    socket.unlink(missing_ok=True)
    size = ("--entries", str(entries), "--session", str(socket.parent / "session"))
    command = [sys.executable, "-m", "kvfpga", "--json", *size, "vfio", str(socket)]
    environment = os.environ | ({"KVFPGA_RTL": str(rtl)} if rtl else {})
    device, errors, failure = Device(), log.with_suffix(".errors"), None
    with log.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
    try:
        _wait_for(socket, process, errors)
        yield device
    except GuestError as error:
        failure = error
    finally:
        before = processor_seconds()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        device.processor = processor_seconds() - before
    last = json.loads((log.read_text().splitlines() or ["{}"])[-1])
    device.counts = {name: value for name, value in last.items() if isinstance(value, int)}
    if process.returncode:
        device.error = f"exit code {process.returncode}: {errors.read_text()[-1000:]}"
    if failure:
        raise GuestError(f"{failure}\nthe device: {device.error or device.counts}") from failure


def _wait_for(socket: Path, process: subprocess.Popen[bytes], log: Path, seconds: float = 900) -> None:
    """Building the simulation takes minutes where there is none yet."""
    end = time.monotonic() + seconds
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise GuestError(f"kvfpga vfio did not come up: {log.read_text(errors='replace')[-1000:]}")
        time.sleep(0.1)


def boot(
    qemu: Path, kernel: Path, initramfs: Path, socket: Path, log: Path, append: Iterable[str], memory: str, limit: int
) -> Outcome:
    """Run the guest to its end, or for `limit` seconds. `append`: words for the kernel's command line."""
    device = f'{{"driver": "vfio-user-pci", "socket": {{"type": "unix", "path": "{socket}"}}}}'
    command = [
        *run_with(qemu), qemu / "usr/bin/qemu-system-x86_64", "-L", qemu / "usr/share/qemu", "-L", qemu / "usr/share/seabios",
        "-M", "q35,memory-backend=ram", "-accel", "tcg", "-cpu", "max", "-m", memory, "-smp", "2",
        "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot",
        "-object", f"memory-backend-memfd,id=ram,size={memory},share=on", "-device", device,
        "-kernel", kernel, "-initrd", initramfs, "-append", " ".join((KERNEL, *append)),
    ]  # fmt: skip
    start, before = time.monotonic(), processor_seconds()
    with log.open("wb") as out:
        words = [str(word) for word in command]
        try:
            code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, timeout=limit).returncode
        except subprocess.TimeoutExpired:
            code = None
    seconds = time.monotonic() - start
    text = CONTROL.sub("", log.read_text(errors="replace"))
    tally = TALLY.search(text)
    if not tally:
        end = f"QEMU ended with {code}" if code is not None else "QEMU was ended"
        end = f"{end} after {seconds:.0f} s"
        raise GuestError(f"the guest did not finish its tests ({end}); its console, {log}, ends:\n{text[-1500:]}")
    complains = "guest: the kernel complains" in text
    return Outcome(int(tally[1]), int(tally[2]), complains, seconds, processor_seconds() - before, text)
