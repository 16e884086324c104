"""`make guest`: the driver on real kernels, before the Verilated RTL.

    python -m scripts.guest [--kernel 6.1|6.12|newest]... [--tests NAME,...] [--check] [--build-only] [--fault NAME]
        [--then-fault NAME] [--cli] [--append WORD]... [--folder DIR] [--packages DIR] [--entries N]

Fetches QEMU, kernels, headers and busybox as Debian packages into the user's cache (nothing is installed), builds driver/ for
each kernel with the warnings of W=1, boots each with the device of `kvfpga vfio`, and runs driver/tests there. The last line is
`N passed, N failed`, over all kernels. A warning of the compiler or of sparse, a complaint of checkpatch or of the kernel (BUG,
WARNING), a server that failed and a difference from the reference model count as failed. With --cli it is
`kvfpga --target kvcpu:/dev/kvcpu0` that runs there instead, on a Python for the guest (scripts/guest/cli_test.py), in lockstep on
both sides of the driver. With --then-fault the same guest takes, after its tests, the driver with a fault: the test that sees it
must fail there.
Exit code 0: nothing failed. 1: something did. 3: a package or the compiler is not to be had; never a skip.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from kvfpga.transport.sim.build import cache_folder
from scripts import manual
from scripts.interrupt import interruptible

from . import boot, build, faults, packages
from .packages import GuestError, Missing


def say(text: str) -> None:
    print(f"guest: {text}", file=sys.stderr, flush=True)


def prepare(folder: Path) -> tuple[Path, Path]:
    """Roots with QEMU and busybox."""
    start = time.monotonic()
    qemu, busybox = packages.qemu(folder), packages.busybox(folder)
    megabytes = (packages.package_bytes(qemu) + packages.package_bytes(busybox)) / 1e6
    say(f"QEMU and busybox: {megabytes:.0f} MB of packages, {time.monotonic() - start:.0f} s")
    return qemu, busybox


def style(kept: Path) -> tuple[int, int]:
    """(passed, failed) of the driver before the kernel's checkpatch."""
    lines = build.complaints(packages.checkpatch(kept))
    print("\n".join(lines), end="\n" if lines else "")
    say(f"checkpatch: {len(lines)} complaints")
    return int(not lines), len(lines)


def compiled(kernel: packages.Kernel, root: Path, qemu: Path, arguments: argparse.Namespace) -> build.Module:
    """The driver for one kernel, which lies in `root`."""
    sparse = packages.sparse(arguments.packages) if arguments.check and kernel.checked else None
    if arguments.check and not kernel.checked:
        say(f"{kernel.line}: Debian's sparse cannot read its headers; it reads the driver for the other kernels")
    before = boot.processor_seconds()
    module = build.module(arguments.folder, kernel, root, qemu, arguments.fault, sparse)
    print("\n".join(module.warnings), end="\n" if module.warnings else "")
    spent, megabytes = boot.processor_seconds() - before, packages.package_bytes(root) / 1e6
    made = f"module of {module.file.stat().st_size:,} bytes, {len(module.warnings)} warnings, {spent:.0f} s of processor time"
    say(f"{kernel.line}: {megabytes:.0f} MB of packages; {made}")
    return module


def tested(
    kernel: packages.Kernel, module: build.Module, root: Path, qemu: Path, busybox: Path, arguments: argparse.Namespace
) -> tuple[int, int]:  # fmt: skip
    """(passed, failed) of the module's tests in a guest."""
    folder, name = arguments.folder, kernel.line
    more = build.command_line(folder, packages.python(arguments.packages)) if arguments.cli else None
    faulty = arguments.then_fault and build.faulty(module, kernel, root, qemu, arguments.then_fault)
    image = build.initramfs(folder, kernel, module.file, build.test_program(folder), busybox, more, faulty)
    memory, limit = (boot.MEMORY_WITH_PYTHON, 2400) if more else (boot.MEMORY, 900)
    socket, log = (folder / "vfio.socket").resolve(), folder / f"guest-{name}.log"
    tests = arguments.tests or (faults.FAULTS[arguments.fault].seen_by if arguments.fault else None)
    words = [*arguments.append, *([f"TESTS={tests}"] if tests else [])]
    words += [f"FAULTY={faults.FAULTS[arguments.then_fault].seen_by}"] if faulty else []
    rtl, said = faults.rtl(folder, arguments.fault), folder / f"server-{name}.log"
    with boot.server(socket, said, arguments.entries, rtl) as device:
        outcome = boot.boot(qemu, build.bzimage(root), image, socket, log, words, memory, limit)
    print(outcome.text)
    say(f"{name}: {outcome.passed} passed, {outcome.failed} failed, {outcome.seconds:.0f} s from QEMU's start to its end")
    say(f"{name}: processor time: QEMU {outcome.processor:.0f} s, device {device.processor:.0f} s")
    say(f"{name}: the device says {device.counts or device.error}")
    worse = outcome.complains + bool(device.error) + bool(device.counts.get("differences", 1))
    if faulty and not boot.fault_seen(outcome.text):
        say(f"{name}: the fault {arguments.then_fault} was not seen")
        worse += 1
    return outcome.passed, outcome.failed + worse


def on_kernel(kernel: packages.Kernel, qemu: Path, busybox: Path, arguments: argparse.Namespace) -> tuple[int, int]:
    """(passed, failed) of the driver on one kernel; a warning is a failure."""
    root = packages.kernel(arguments.packages, kernel)
    module = compiled(kernel, root, qemu, arguments)
    warnings = len(module.warnings)
    if arguments.build_only:
        return int(not warnings), warnings
    passed, failed = tested(kernel, module, root, qemu, busybox, arguments)
    return passed, failed + warnings


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.guest", description=__doc__, formatter_class=manual.Page)
    add, lines = parser.add_argument, [kernel.line for kernel in packages.KERNELS]
    add("--kernel", action="append", choices=lines, help="only this one; may be given more than once (default: all)")
    add("--tests", metavar="NAME,...", help="only these of driver/tests, without spaces")
    add("--check", action="store_true", help="let checkpatch and sparse read the driver as well (sparse not for newest)")
    add("--cli", action="store_true", help="run kvfpga in the guest, in place of the driver's tests")
    add("--build-only", action="store_true", help="compile the driver, and boot nothing")
    add("--folder", type=Path, default=faults.ROOT / "build/guest", help="for results (default: build/guest)")
    add("--packages", type=Path, default=cache_folder() / "guest", help="for packages (default: %(default)s)")
    add("--entries", type=int, default=256, help="size of the device's directory (default: 256, which the tests expect)")
    names = ", ".join(faults.FAULTS)
    add("--fault", choices=faults.FAULTS, metavar="NAME", help=f"build with it, for the test that sees it to fail: {names}")
    driver = [fault for fault in faults.FAULTS if faults.FAULTS[fault].file.startswith("driver/")]
    add("--then-fault", choices=driver, metavar="NAME", help="one of the driver, which the same guest must see after its tests")
    more = "for the kernel's command line; POSTS=N, COMMANDS=N: so many into a full queue, or by chance"
    add("--append", action="append", default=[], metavar="WORD", help=more)
    return parser.parse_args()


def tally(kernel: packages.Kernel, qemu: Path, busybox: Path, arguments: argparse.Namespace) -> tuple[int, int]:
    """(passed, failed), where a guest that does not come to its end is one that failed."""
    try:
        return on_kernel(kernel, qemu, busybox, arguments)
    except Missing:
        raise
    except GuestError as error:
        say(f"{kernel.line}: {error}")
        return 0, 1


def main() -> int:
    arguments = parse()
    asked = [kernel for kernel in packages.KERNELS if not arguments.kernel or kernel.line in arguments.kernel]
    try:
        build.require_compiler()
        with packages.alone(arguments.folder):
            qemu, busybox = prepare(arguments.packages)
            tallies = [style(arguments.packages)] if arguments.check else []
            tallies += [tally(kernel, qemu, busybox, arguments) for kernel in asked]
    except Missing as error:
        say(str(error))
        print("0 passed, 1 failed")
        return 3
    passed, failed = (sum(counts) for counts in zip(*tallies))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(interruptible(main))
