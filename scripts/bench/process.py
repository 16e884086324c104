"""One command, from the start of its process to its end: beside `python -c "import numpy"`, which whoever uses numpy pays anyway,
and beside an older commit's. By the processor time of the process; the time that passes is shown for one `kvfpga step`, since it
waits for its files."""

from __future__ import annotations

import compileall
import resource
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from kvfpga.contract.errors import TargetError

from .figures import Report, Say, Series, alone, alternate, beside
from .sizes import Sizes
from .worker.blocks import SETTINGS, block
from .workers import ROOT, TODAY, Version

SECTION = "process"
FEW = 64


class Took(NamedTuple):
    """Milliseconds."""

    processor: float
    passed: float


def measure(sizes: Sizes, say: Say, baseline: Version) -> Report:
    # As setting up does: where Python writes no bytecode of its own, an edited module would be compiled at every start.
    compileall.compile_dir(ROOT / "host", quiet=1)
    with tempfile.TemporaryDirectory(prefix="kvfpga-bench-") as folder:
        commands: dict[str, list[str | Path]] = {
            "python": [TODAY.python, "-c", ""],
            "numpy": [TODAY.python, "-c", "import numpy"],
        }
        steps = {}
        for version in (TODAY, baseline):
            commands[f"import {version.name}"] = [version.python, "-c", "import kvfpga"]
            commands[f"version {version.name}"] = [version.program, "--version"]
            for count in (FEW, sizes.entries):
                say(f"a session of {version.name} with {count:,} blocks")
                steps[f"{count} {version.name}"] = session(version, Path(folder), sizes.entries, count)
        number = 0

        def step(command: list[str | Path]) -> Took:
            nonlocal number
            number += 1
            return process([*command, "step", str(number)])

        ways = {name: lambda command=command: process(command) for name, command in commands.items()}
        ways |= {name: lambda command=command: step(command) for name, command in steps.items()}
        found = alternate(sizes.processes, ways, lambda text: say(f"processes, {text}"))

    def used(way: str, name: str) -> Series:
        return Series(name, [took.processor for took in found[way]])

    def passed(way: str, name: str) -> Series:
        return Series(name, [took.passed for took in found[way]])

    def older(way: str, name: str, of=used):
        return beside(SECTION, of(f"{way} {TODAY.name}", name), "ms", of(f"{way} {baseline.name}", baseline.name))

    numpy = used("numpy", 'python -c "import numpy"')
    figures = [alone(SECTION, used("python", 'python -c ""'), "ms"), alone(SECTION, numpy, "ms")]
    for count, aim in ((FEW, 1.6), (sizes.entries, 2)):
        name = f"kvfpga step, {count:,} blocks"
        figures += [
            beside(SECTION, used(f"{count} {TODAY.name}", name), "ms", numpy, aim, at_most=True),
            older(str(count), name),
            older(str(count), f"{name}, time passed", passed),
        ]
    figures += [older("import", 'python -c "import kvfpga"'), older("version", "kvfpga --version")]
    return Report(figures, [], [])


def session(version: Version, folder: Path, entries: int, count: int) -> list[str | Path]:
    """The beginning of a command line of that version, on a new session with that many blocks, none of which a STEP moves."""
    name = f"{version.name}-{count}"
    command = [version.program, "--entries", str(entries), "--session", folder / name]
    rows = folder / f"{name}.csv"
    lines = [f"{b.request},{b.layer},{b.head},{b.token_start}:{b.token_end},{b.va}" for b in map(block, range(count))]
    rows.write_text("\n".join(["request,layer,head,tokens,va", *lines]) + "\n")
    process([*command, "reset", "--raw"])
    evict, prefetch = SETTINGS["EVICT_THRESH"], SETTINGS["PREFETCH_THRESH"]
    process([*command, "weights", "set", "--evict", str(evict), "--prefetch", str(prefetch)])
    process([*command, "load", rows])
    return command


def process(command: list[str | Path]) -> Took:
    before, start = children(), time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        raise TargetError(f"{command[0]} cannot be run: {error.strerror}", "set its virtual environment up again") from None
    if done.returncode:
        raise TargetError(f"`{' '.join(map(str, command))}` failed:\n{done.stderr[-3000:]}")
    return Took(1e3 * (children() - before), 1e3 * (time.perf_counter() - start))


def children() -> float:
    """Seconds of processor time that ended child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
