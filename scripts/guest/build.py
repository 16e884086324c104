"""The driver for each kernel, and what the guest starts from: module, test program, initramfs.

The compiler is this machine's gcc. A kernel of a newer Debian was built by a newer one, whose only option that an older gcc does
not know is switched off (OLDER_GCC). The programs among its headers (objtool, modpost) want a newer C library: each is replaced
by a script that starts it with QEMU's.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .faults import FAULTS, ROOT, apply
from .packages import BOOKWORM, GuestError, Kernel, Missing, alone, run_with

OLDER_GCC = ("CC=gcc", "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=", "CONFIG_DEBUG_INFO_BTF_MODULES=")
NO_WARNING = re.compile(r"pahole version differs|The kernel was built with|You are using|compiler differs")
"""make's remarks on how the kernel was built, which are not about the driver."""


def require_compiler() -> None:
    """Missing, where this machine has not what a module is built with."""
    if lacking := [name for name in ("gcc", "make") if not shutil.which(name)]:
        words = " ".join(lacking)
        raise Missing(f"the driver is compiled with {words}, which is not here: apt-get install {words} libc6-dev")


class Module(NamedTuple):
    """`file` for one kernel; `warnings`: the compiler's lines, of which there should be none."""

    file: Path
    warnings: list[str]


def headers(root: Path, kernel: Kernel, libraries: Path) -> Path:
    """The folder that a module of the kernel is built with, ready for use where it lies. `libraries`: a root
    with a newer libc6."""
    folder = next(root.glob("usr/src/linux-headers-*-cloud-amd64")).resolve()
    makefile = folder / "Makefile"
    with alone(root.parent):
        text = makefile.read_text()
        here = re.sub(r"(?<=[ =])/usr/src/", f"{root.resolve()}/usr/src/", text)
        if here != text:  # another process may be building with it
            makefile.write_text(here)
        if kernel.suite != BOOKWORM:
            for program in next(root.glob("usr/lib/linux-kbuild-*")).rglob("*"):
                if _is_program(program):
                    _wrap(program, libraries.resolve())
    return folder


def _is_program(file: Path) -> bool:
    if file.is_symlink() or not file.is_file() or file.suffix == ".elf" or not file.stat().st_mode & stat.S_IXUSR:
        return False
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def _wrap(program: Path, libraries: Path) -> None:
    moved = program.with_name(program.name + ".elf")
    program.rename(moved)
    loader = " ".join(run_with(libraries))
    program.write_text(f'#!/bin/sh\nexec {loader} --argv0 "$0" {moved.resolve()} "$@"\n')  # Debian's objtool looks beside its $0
    program.chmod(0o755)


def module(
    folder: Path, kernel: Kernel, root: Path, libraries: Path, fault: str | None = None, sparse: Path | None = None
) -> Module:  # fmt: skip
    """Build driver/ for the kernel, with the warnings of W=1 and, from that root, of sparse; of FAULTS, with `fault`. GuestError
    where it does not compile."""
    source = folder / f"module-{kernel.line}"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "driver", source / "driver")
    shutil.copytree(ROOT / "fpga/regs", source / "fpga/regs")
    if fault and FAULTS[fault].file.startswith("driver/"):
        apply(FAULTS[fault], source)
    checked = []
    if sparse:
        checked = ["C=1", "CHECK=" + " ".join([*run_with(libraries.resolve()), str(sparse.resolve() / "usr/bin/sparse")])]
    said = _make(source, kernel, root, libraries, checked).splitlines()
    return Module(source / "driver/kvcpu.ko", [line for line in said if line.strip() and not NO_WARNING.search(line)])


def faulty(module: Module, kernel: Kernel, root: Path, libraries: Path, fault: str) -> Path:
    """Of FAULTS, the module with `fault`, beside the sound one: compiled again is what has the fault, not the rest."""
    source, kept, wrong = module.file.parents[1], module.file.with_name("sound"), module.file.with_name("faulty.ko")
    apply(FAULTS[fault], source)
    module.file.rename(kept)
    _make(source, kernel, root, libraries)
    module.file.rename(wrong)
    kept.rename(module.file)
    return wrong


def _make(source: Path, kernel: Kernel, root: Path, libraries: Path, more: Sequence[str] = ()) -> str:
    """What make complains of. GuestError where there is no module then."""
    folder = headers(root, kernel, libraries)
    command = ["make", "-C", str(folder), f"M={source.resolve()}/driver", "W=1", *OLDER_GCC, "modules", *more]
    made = subprocess.run(command, capture_output=True, text=True)
    source.with_name(f"{source.name}.log").write_text(made.stdout + made.stderr)
    if made.returncode or not (source / "driver/kvcpu.ko").exists():
        raise GuestError(f"the driver does not compile for {kernel.line}:\n{made.stderr[-2000:]}")
    return made.stderr


def complaints(checkpatch: Path) -> list[str]:
    """The lines that break the kernel's style. Passed over is how a module is written for several kernels, and its attributes."""
    passed_over = "LINUX_VERSION_CODE,CONSTANT_COMPARISON,MACRO_ARG_REUSE,MACRO_ARG_PRECEDENCE"
    files = sorted([*(ROOT / "driver").glob("*.[ch]"), *(ROOT / "driver/include").rglob("*.h")])
    words = ["--no-tree", "--strict", "--terse", "--quiet", "--no-summary", "--ignore", passed_over, "-f", *files]
    said = subprocess.run(["perl", checkpatch, *map(str, words)], capture_output=True, text=True, cwd=ROOT)
    if said.returncode not in (0, 1) or said.returncode != bool(said.stdout.strip()):
        raise GuestError(f"checkpatch ended with {said.returncode}: {said.stderr[-600:]}")
    return said.stdout.splitlines()


def test_program(folder: Path) -> Path:
    """driver/tests as one program without shared libraries, as the guest has none."""
    program = folder / "kvcpu-test"
    sources = sorted((ROOT / "driver/tests").glob("*.c"))
    command = ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/driver/include/uapi", "-o", program, *sources]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise GuestError(f"the test program does not compile (a gcc that links with -static?):\n{done.stderr[-2000:]}")
    return program


def _scores() -> bytes:
    """What driver/tests/scores.c has as `nmce`: a block, queries, and the bits of their scores."""
    folder = ROOT / "tests/data/nmce"
    cases = json.loads((folder / "expected.json").read_text())
    halves = [np.load(folder / name) for name in ("block.npy", *sorted({case["query"] for case in cases}))]
    return b"".join([*(half.tobytes() for half in halves), np.array([case["score_bits"] for case in cases], "<u4").tobytes()])


def command_line(folder: Path, python: Path) -> Path:
    """What the guest has of kvfpga: this checkout and a Python of its own, `python` with what no command needs left out."""
    stage = folder / "command-line"
    shutil.rmtree(stage, ignore_errors=True)
    unused = shutil.ignore_patterns("doc", "man", "locale", "include", "perl*", "tests", "gconv", "terminfo", "__pycache__")
    shutil.copytree(python / "usr", stage / "usr", symlinks=True, ignore=unused)
    for name in ("lib", "lib64"):
        (stage / name).symlink_to(f"usr/{name}")
    for name, source in (("kvfpga", "host"), ("fpga", "fpga")):
        shutil.copytree(ROOT / source, stage / "opt/kvfpga" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "scripts/guest/cli_test.py", stage / "cli_test.py")
    return stage


def initramfs(
    folder: Path, kernel: Kernel, module: Path, program: Path, busybox: Path, more: Path | None = None, faulty: Path | None = None
) -> Path:  # fmt: skip
    """The guest's whole file system, as the kernel takes it; `more`: a folder whose content it has as well; `faulty`: a module
    that takes the place of `module` after the tests."""
    stage, image = folder / f"initramfs-{kernel.line}", (folder / f"initramfs-{kernel.line}.cpio").resolve()
    shutil.rmtree(stage, ignore_errors=True)
    if more:
        shutil.copytree(more, stage, symlinks=True)
    for name in ("bin", "dev", "proc", "sys", "tmp"):
        (stage / name).mkdir(parents=True)
    box = next(path for path in (busybox / "usr/bin/busybox", busybox / "bin/busybox") if path.exists()).resolve()
    init = ROOT / "scripts/guest/init"
    files = {"bin/busybox": box, "init": init, "kvcpu.ko": module, "kvcpu-test": program}
    files |= {"faulty.ko": faulty} if faulty else {}
    for name, source in files.items():
        shutil.copy(source, stage / name)
        (stage / name).chmod(0o755)
    (stage / "nmce").write_bytes(_scores())
    names = "\n".join(str(path.relative_to(stage)) for path in sorted(stage.rglob("*")))
    archive = [str(box), "cpio", "-o", "-H", "newc"]
    with image.open("wb") as out:
        subprocess.run(archive, input=names.encode(), stdout=out, stderr=subprocess.DEVNULL, cwd=stage, check=True)
    return image


def bzimage(root: Path) -> Path:
    """The kernel of a root."""
    return next(path for pattern in ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz") for path in root.glob(pattern))
