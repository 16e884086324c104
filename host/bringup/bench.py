"""What the steps of a bring-up share: the device, the options, and the rows that they add to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..contract.commands import Set
from ..contract.errors import TargetError
from ..device.device import Device
from ..device.regmap import DEVICE_ID, REGISTERS
from ..transport.mmio import Mmio
from .report import FAIL, PASS, SKIPPED, Report, Row

FINDINGS_SHOWN = 3
TIER_BASES = tuple(f"TIER_BASE{tier}" for tier in range(4))


@dataclass(frozen=True)
class Options:
    """`only`, `skip`: names of steps. `memory_bytes`: how much of each tier's window is marched over; None: all of it.
    `directory_entries`: entries in the directory march; None: all up to 4,096, else 1,024; larger than ENTRIES: all.
    `link_words`: words that the link step reads. `tier_bases`: where the board's tiers are; None: where they were found.
    `force`: even if the directory holds blocks."""

    only: Sequence[str] = ()
    skip: Sequence[str] = ()
    memory_bytes: int | None = 1 << 20
    directory_entries: int | None = None
    link_words: int = 20_000
    tier_bases: Sequence[int] | None = None
    force: bool = False


class Finding(NamedTuple):
    """One thing that is wrong, and where to look."""

    what: str
    look_at: str


class Bench:
    """`identified` is None until the identity was found good; `stopped` says why the steps that are left make no sense."""

    def __init__(
        self, mmio: Mmio, options: Options, expected_build_id: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ):  # fmt: skip
        self.mmio = mmio
        self.options = options
        self.expected_build_id = expected_build_id
        self.report = Report(mmio.name)
        self.identified: Device | None = None
        self.stopped = ""
        self.step = ""
        self.tier_bases: list[int] = []
        self._progress = progress

    def begin(self, step: str) -> None:
        self.step = step
        self.tick(0, 1)

    def tick(self, done: int, total: int) -> None:
        """So much of this step is done."""
        if self._progress:
            self._progress(done, total, self.step)

    # ---- rows ------------------------------------------------------------------------------------------------------
    def passed(self, name: str, detail: str, /, **figures: float) -> None:
        self.report.rows.append(Row(self.step, name, PASS, detail, figures=figures))

    def failed(self, name: str, detail: str, look_at: str, /, **figures: float) -> None:
        self.report.rows.append(Row(self.step, name, FAIL, detail, look_at, figures))

    def skipped(self, name: str, reason: str) -> None:
        self.report.rows.append(Row(self.step, name, SKIPPED, reason))

    def conclude(self, name: str, detail: str, findings: Sequence[Finding], **figures: float) -> None:
        """Passed, unless there are findings."""
        if not findings:
            return self.passed(name, detail, **figures)
        what = [finding.what for finding in findings[:FINDINGS_SHOWN]]
        if len(findings) > FINDINGS_SHOWN:
            what.append(f"and {len(findings) - FINDINGS_SHOWN} more")
        hints = dict.fromkeys(finding.look_at for finding in findings)
        return self.failed(name, "; ".join(what), "; ".join(hints), findings=len(findings), **figures)

    # ---- the device ------------------------------------------------------------------------------------------------
    @property
    def device(self) -> Device:
        """The device, for the steps behind the identity."""
        if self.identified is None:
            raise RuntimeError("nobody knows yet who answers")
        return self.identified

    def alive(self) -> bool:
        """Does a KV-CPU still answer? Three tries: the link may be bad without being dead."""
        for _ in range(3):
            try:
                if self.mmio.read32(REGISTERS["DEVICE_ID"].offset) == DEVICE_ID:
                    return True
            except TargetError:
                pass
        return False

    def survive(self, error: TargetError) -> None:
        """Go on after an error of one access; if the whole device is gone, there is no point."""
        if not self.alive():
            raise error

    def reset(self) -> None:
        """Soft reset, and the tiers where the board has them."""
        self.device.soft_reset()
        self.device.execute_many(self.place_tiers())

    def place_tiers(self) -> list[Set]:
        """The settings that put the tiers of a device just reset where the board has them."""
        return [Set(name, base) for name, base in zip(TIER_BASES, self.tier_bases)]
