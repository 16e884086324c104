"""Bring-up: what to run first on a new board (`kvfpga bringup`).

It works on any `Mmio` and knows no target. Seven steps, in the order in which a board comes to life; each makes rows of a
`Report`, with a verdict, what was measured, and on failure what to look at:

    identity    DEVICE_ID, register map, BUILD_ID, capabilities
    registers   every register by its access mode, walking bits, address lines, bus errors, tearing (R1, R2)
    memory      address lines, byte lanes and a march C- over the windows of the four tiers
    directory   every entry filled, read back through BAR2 and freed, with complementary contents
    link        error rate of reads and of write and read-back
    commands    every command of contract section 4, and its refusals, in lockstep with the reference model
    speed       latency and throughput of link, memory, device

A step that fails does not stop the following ones, unless it leaves them without meaning (a device that is not a KV-CPU; a
link that died, which is a `TargetError` with the report so far as `.partial`). The steps of DESTROYS reset the device and
overwrite the tiers, so they want an empty directory or `Options.force`; afterwards the device is left reset.

    report = run(mmio, Options(), expected_build_id=None)
    report.ok, report.exit_code, report.to_json()
"""

from __future__ import annotations

from collections.abc import Callable

from ..contract.errors import DifferenceError, KvfpgaError, TargetError, UsageError
from ..contract.wording import counted
from ..transport.mmio import Mmio
from . import directory, identity, link, memory, registers, smoke, speed
from .bench import Bench, Options
from .report import Report, Row

STEPS: dict[str, Callable[[Bench], None]] = {
    "identity": identity.run, "registers": registers.run, "memory": memory.run, "directory": directory.run,
    "link": link.run, "commands": smoke.run, "speed": speed.run,
}  # fmt: skip
DESTROYS = ("memory", "directory", "commands", "speed")
"""Steps that do away with what the device holds."""


def run(
    mmio: Mmio, options: Options | None = None, expected_build_id: int | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Report:  # fmt: skip
    """Bring up the device behind `mmio`. `expected_build_id` None: whatever it is, it is only shown.
    `progress(done, total, text)` counts within the step that `text` names."""
    options = options or Options()
    steps = _chosen(options)
    bench = Bench(mmio, options, expected_build_id, progress)
    try:
        for number, name in enumerate(steps):
            bench.begin(name)
            if bench.stopped:
                bench.skipped(name, bench.stopped)
                continue
            _run_step(bench, name)
            if name == "identity":
                _refuse_to_destroy(bench, steps[number:])
        if bench.identified and not bench.stopped and set(steps) & set(DESTROYS):
            bench.begin("reset")
            bench.reset()
    except KvfpgaError as error:
        error.partial = bench.report
        raise
    return bench.report


def _chosen(options: Options) -> list[str]:
    if options.directory_entries == 0:
        raise UsageError("a directory march over 0 entries", "give 1 or more, or leave the step out: --skip directory")
    unknown = [name for name in (*options.only, *options.skip) if name not in STEPS]
    if unknown:
        raise UsageError(f"{unknown[0]} is not a step of the bring-up", "steps: " + ", ".join(STEPS))
    wanted = [name for name in STEPS if name in (options.only or STEPS) and name not in options.skip]
    return ["identity", *(name for name in wanted if name != "identity")]  # nothing can be believed before it


def _run_step(bench: Bench, name: str) -> None:
    try:
        STEPS[name](bench)
    except (TargetError, DifferenceError) as error:
        bench.failed(name, error.message, error.remedy or "the rows above, if one of them failed")
        bench.report.differs |= isinstance(error, DifferenceError)
        if not bench.alive():
            bench.stopped = f"{bench.mmio.name} stopped answering in step {name}"
            raise TargetError(f"{bench.stopped}: {error.message}", error.remedy) from error


def _refuse_to_destroy(bench: Bench, steps: list[str]) -> None:
    if bench.stopped or bench.options.force or not set(steps) & set(DESTROYS):
        return
    blocks = bench.device.telemetry()["valid_entries"]
    if blocks:
        raise UsageError(
            f"the directory of {bench.mmio.name} holds {counted(blocks, 'block')}, and the bring-up would destroy what is there",
            "--force does it; --only registers --only link leaves them alone",
        )


__all__ = ["DESTROYS", "STEPS", "Options", "Report", "Row", "run"]
