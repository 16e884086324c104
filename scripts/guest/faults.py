"""Faults that the driver's tests must see: one place each, of the driver or of the RTL behind it (`--fault NAME`).

The first is that of a driver which takes no notice of full queues: commands or results vanish.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from .packages import GuestError

ROOT = Path(__file__).resolve().parents[2]
DRIVER, BUS = "driver", "fpga/rtl/bus"


class Fault(NamedTuple):
    """In a `file` of the checkout, what is `right`, there once, and what is `wrong`. `seen_by`: the test of driver/tests that
    fails; where the device counts wrongly, the lockstep behind the driver takes it away in the middle of that test."""

    file: str
    right: str
    wrong: str
    seen_by: str


FAULTS = {
    "ignores-full": Fault(
        f"{DRIVER}/queue.c", "READ_ONCE(kv->in_flight) < READ_ONCE(kv->depth)", "READ_ONCE(kv->in_flight) < 1000", "back_pressure"
    ),
    "loses-interrupts": Fault(
        f"{DRIVER}/pci.c", "	kvcpu_drain(kv);\n	return IRQ_HANDLED;", "	return IRQ_HANDLED;", "interrupts"
    ),
    "keeps-mapping": Fault(
        f"{DRIVER}/node.c", "unmap_mapping_range(open->file->f_mapping, 0, 0, 1);", ";", "removal_with_the_node_open"
    ),
    "swaps-operands": Fault(
        f"{DRIVER}/node.c", "kvcpu_key(load->request, load->layer, load", "kvcpu_key(load->layer, load->request, load", "blocks"
    ),
    "rtl-results-silent": Fault(
        f"{BUS}/kvcpu_csr.sv", "assign irq = (sw.IRQ_ENABLE.result.value && result_valid) || ", "assign irq = ", "interrupts"
    ),
    "rtl-moves-silent": Fault(
        f"{BUS}/kvcpu_csr.sv", " || (sw.IRQ_ENABLE.completion.value && completion_valid)", "", "moves_through_guest_memory"
    ),
    "rtl-ring-unmarked": Fault(
        f"{BUS}/kvcpu_operands.sv", "rung <= (waddr[15:12] == DOORBELLS[15:12]);", "rung <= 1'b0;", "doorbell"
    ),
    "rtl-ring-takes-all": Fault(
        f"{BUS}/kvcpu_axil.sv", "wrings <= (waddr[15:12] == DOORBELLS[15:12]);", "wrings <= 1'b0;", "doorbell"
    ),
    "rtl-ring-counts-twice": Fault(
        f"{BUS}/kvcpu_telemetry.sv", "step_count <= step_count + 64'd1;",
        "step_count <= step_count + 64'd1 + 64'(command.rung);", "doorbell",
    ),
}  # fmt: skip


def apply(fault: Fault, checkout: Path) -> None:
    """Put it into a copy of the checkout, or of the part that has its file."""
    file = checkout / fault.file
    text = file.read_text()
    if text.count(fault.right) != 1:
        raise GuestError(f"{fault.file} has {fault.right!r} not once: the fault has to follow what it breaks")
    file.write_text(text.replace(fault.right, fault.wrong))


def rtl(folder: Path, name: str | None) -> Path | None:
    """A copy of fpga/ in `folder` with the fault, as KVFPGA_RTL names one; None where it is not one of the RTL's."""
    if name is None or not FAULTS[name].file.startswith("fpga/"):
        return None
    shutil.rmtree(folder / "fpga", ignore_errors=True)
    shutil.copytree(ROOT / "fpga", folder / "fpga")
    apply(FAULTS[name], folder)
    return folder / "fpga"
