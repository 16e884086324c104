"""`make guest`: the driver on real kernels, before the Verilated RTL.

    python -m scripts.guest [--kernel 6.1|6.12|newest]... [--check] [--build-only] [--fault NAME]
        [--cli] [--append WORD]... [--folder DIR] [--entries N]

Fetches QEMU, kernels, headers and busybox as Debian packages into DIR (build/guest; nothing is installed), builds driver/ for
each kernel with the warnings of W=1, boots each with the device of `kvfpga vfio`, and runs driver/tests there. The last line is
`N passed, N failed`, over all kernels. A warning of the compiler or of sparse, a complaint of the kernel (BUG, WARNING), a
server that failed and a difference from the reference model count as failed. With --cli it is `kvfpga --target kvcpu:/dev/kvcpu0`
that runs there instead, on a Python for the guest (scripts/guest/cli_test.py), in lockstep on both sides of the driver.
Exit code 0: nothing failed. 1: something did. 3: a package, the compiler or the guest is not to be had; never a skip.
"""

from __future__ import annotations

import argparse
import fcntl
import sys
import time
from pathlib import Path

from . import boot, build, packages
from .packages import GuestError


def say(text: str) -> None:
    print(f"guest: {text}", file=sys.stderr, flush=True)


def prepare(folder: Path) -> tuple[Path, Path]:
    """Roots with QEMU and busybox."""
    start = time.monotonic()
    qemu, busybox = packages.qemu(folder), packages.busybox(folder)
    megabytes = (packages.package_bytes(qemu) + packages.package_bytes(busybox)) / 1e6
    say(f"QEMU and busybox: {megabytes:.0f} MB of packages, {time.monotonic() - start:.0f} s")
    return qemu, busybox


def on_kernel(kernel: packages.Kernel, folder: Path, qemu: Path, busybox: Path, arguments: argparse.Namespace) -> tuple[int, int]:
    """(passed, failed) of the driver on one kernel."""
    root = packages.kernel(folder, kernel)
    sparse = packages.sparse(folder) if arguments.check and kernel.checked else None
    if arguments.check and not kernel.checked:
        say(f"{kernel.line}: Debian's sparse cannot read its headers; it reads the driver for the other kernels")
    module = build.module(folder, kernel, root, qemu, arguments.fault, sparse)
    print("\n".join(module.warnings), end="\n" if module.warnings else "")
    failed = len(module.warnings)
    megabytes = packages.package_bytes(root) / 1e6
    say(f"{kernel.line}: {megabytes:.0f} MB of packages; module of {module.file.stat().st_size:,} bytes, {failed} warnings")
    if arguments.build_only:
        return 1 - bool(failed), failed
    more = build.command_line(folder, packages.python(folder)) if arguments.cli else None
    image = build.initramfs(folder, kernel, module.file, build.test_program(folder), busybox, more)
    memory, limit = (boot.MEMORY_WITH_PYTHON, 2400) if more else (boot.MEMORY, 900)
    socket, log = (folder / "vfio.socket").resolve(), folder / f"guest-{kernel.line}.log"
    with boot.server(socket, folder / f"server-{kernel.line}.log", arguments.entries) as device:
        outcome = boot.boot(qemu, build.bzimage(root), image, socket, log, arguments.append, memory, limit)
    print(outcome.text)
    say(f"{kernel.line}: {outcome.passed} passed, {outcome.failed} failed, {outcome.seconds:.0f} s from QEMU's start to its end")
    say(f"{kernel.line}: the device says {device.counts or device.error}")
    failed += outcome.complains + bool(device.error) + bool(device.counts.get("differences", 1))
    return outcome.passed, outcome.failed + failed


def parse() -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m scripts.guest", description=__doc__, formatter_class=raw)
    add, lines = parser.add_argument, [kernel.line for kernel in packages.KERNELS]
    add("--kernel", action="append", choices=lines, help="only this one; may be given more than once (default: all)")
    add("--check", action="store_true", help="let sparse read the driver as well (not for newest, which Debian's cannot)")
    add("--cli", action="store_true", help="run kvfpga in the guest, in place of the driver's tests")
    add("--build-only", action="store_true", help="compile the driver, and boot nothing")
    add("--folder", type=Path, default=build.ROOT / "build/guest", help="for packages and results (default: build/guest)")
    add("--entries", type=int, default=256, help="size of the device's directory (default: 256, which the tests expect)")
    add("--fault", choices=build.FAULTS, help="build the driver with this fault: tests must fail")
    more = "for the kernel's command line; POSTS=N: so many commands into a full queue"
    add("--append", action="append", default=[], metavar="WORD", help=more)
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    passed = failed = 0
    lock = (arguments.folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time in a folder
    try:
        qemu, busybox = prepare(arguments.folder)
        for kernel in packages.KERNELS:
            if not arguments.kernel or kernel.line in arguments.kernel:
                more = on_kernel(kernel, arguments.folder, qemu, busybox, arguments)
                passed, failed = passed + more[0], failed + more[1]
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        print(f"{passed} passed, {failed + 1} failed")
        return 3
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
