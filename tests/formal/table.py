"""The properties: what each is about, how far it is shown, and the mutations of the RTL that it must catch."""

from __future__ import annotations

from typing import NamedTuple

from scripts.mutation.mutations import Mutation


class Row(NamedTuple):
    """`top`: the property is module formal_{top} in {top}.sv. `mode`: bmc, from reset for `depth` cycles; prove, by induction
    over `depth` cycles. `sources`: files anywhere below fpga/rtl; the packages go with every row."""

    name: str
    top: str
    mode: str
    depth: int
    sources: tuple[str, ...]
    mutations: tuple[Mutation, ...]
    parameters: dict[str, int] = {}

    @property
    def parts(self) -> tuple[str, ...]:
        return ("bmc", "induction") if self.mode == "prove" else ("bmc",)


RESET = "kvcpu_reset.sv"
FIFO, RESULTS, TELEMETRY = "kvcpu_fifo.sv", "kvcpu_result_queue.sv", "kvcpu_telemetry.sv"

ROWS: tuple[Row, ...] = (
    Row("fifo", "fifo", "prove", 6, (FIFO,), (
        Mutation("formal-fifo-full", FIFO, "(AW+1)'(DEPTH - 1));", "(AW+1)'(DEPTH - 2));", "R5", "a queue is full too early"),
        Mutation("formal-fifo-order", FIFO, "? mem[second] :", "? mem[tail - 1'b1] :", "R5", "the newest word comes first"),
    )),
    Row("results", "results", "prove", 3, (FIFO, RESULTS), (
        Mutation("formal-results-adjacent", RESULTS, "(full || fills)", "full", "R5",
                 "of two results in adjacent cycles one is lost unsaid, where the first fills the queue"),
        Mutation("formal-results-held", RESULTS, ".push(held_valid)", ".push(held_valid && !push)", "R5",
                 "the first of two adjacent results is lost"),
    )),
    Row("reset", "reset", "prove", 3, (RESET,), (
        Mutation("formal-reset-torn", RESET, "DRAIN:   if (dma_idle) phase", "DRAIN:   phase", "D20", "bursts are cut off"),
        Mutation("formal-reset-bus", RESET, "QUIET:   if (bus_quiet) phase", "QUIET:   phase", "D20", "a bus access is cut off"),
        Mutation("formal-reset-open", RESET, "(phase == QUIET) || (phase == PULSE)", "(phase == PULSE)", "D20",
                 "new accesses keep a reset waiting"),
    )),
    Row("telemetry", "telemetry", "prove", 2, (TELEMETRY,), (
        Mutation("formal-step-count-width", TELEMETRY, "step_count <= step_count + 64'd1;",
                 "step_count <= 64'(32'(step_count + 64'd1));", "R23", "step_count is 32 bits"),
        Mutation("formal-high-word-late", TELEMETRY, "latching <= !rst && read && !read_addr[2];",
                 "latching <= !rst && select && !read_addr[2];", "R1", "a low word looked at, not taken, latches"),
    )),
)  # fmt: skip
