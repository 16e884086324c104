"""Step 5: how often the link lies. Constants are read and SCRATCH is written and read back, in batches.

Errors that the transport repairs by itself (repeated frames) do not fail the step; they are shown as the transport counts
them, in its attribute `link`.
"""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..device.regmap import REGISTERS
from ..transport.mmio import Batch, Mmio
from .bench import Bench
from .diagnosis import name_bits, stuck_bits, stuck_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = 64
"""Rounds in a batch, each of CONSTANTS words at DEVICE_ID, and one of SCRATCH after a write."""
CONSTANTS = 5
RULE_OF_THREE = 3.0
"""No error in n tries: the rate is below 3/n with 95% confidence."""
NOISE = (
    "the line: cable, ground, baud rate against the board's clock (UART); link width and AER errors (PCIe); "
    "timing of the build at this clock"
)


def run(bench: Bench) -> None:
    scratch, first = REGISTERS["SCRATCH"].offset, REGISTERS["DEVICE_ID"].offset
    saved = bench.mmio.read32(scratch)
    constants = _constants(bench, first)
    random, per_batch = np.random.default_rng(1), ROUNDS * (CONSTANTS + 1)
    batches = max(1, -(-bench.options.link_words // per_batch))
    before = counters(bench.mmio)
    expected, read = [], []
    try:
        for number in range(batches):
            batch, values = Batch(), random.integers(0, 1 << 32, ROUNDS, np.uint32)
            for value in values.tolist():
                batch.burst(first, CONSTANTS)
                batch.write(scratch, value)
                batch.read(scratch)
            expected.append(np.hstack([np.tile(constants, (ROUNDS, 1)), values[:, None]]))
            read.append(bench.mmio.run(batch).words.reshape(ROUNDS, CONSTANTS + 1))
            bench.tick(number + 1, batches)
    finally:
        bench.mmio.write32(scratch, saved)  # a session may know the board by it
    after = counters(bench.mmio)
    _judge(bench, np.concatenate(expected), np.concatenate(read))
    if after:
        _show(bench, {name: value - before.get(name, 0) for name, value in after.items()}, per_batch * batches * 4)


def _constants(bench: Bench, first: int) -> NDArray[np.uint32]:
    """What the constants are, by majority: this may be a bad link."""
    words = np.stack([bench.mmio.read_burst(first, CONSTANTS) for _ in range(5)])
    found: NDArray[np.uint32] = np.median(words, axis=0).astype(np.uint32)
    return found


def _judge(bench: Bench, expected: NDArray[np.uint32], read: NDArray[np.uint32]) -> None:
    wrong = expected != read
    errors, words = int(wrong.sum()), read.size
    if not errors:
        bound = RULE_OF_THREE / words
        text = f"0 errors in {words:,} words; the rate is below {bound:.1e} a word (95%)"
        return bench.passed("error rate", text, words=words, errors=0, error_rate_bound=bound)
    rate = errors / words
    stuck = stuck_bits(expected[wrong], read[wrong])
    bits = stuck.at_0 | stuck.at_1 | stuck.others
    in_scratch = int(wrong[:, CONSTANTS:].sum())
    text = f"{errors:,} of {words:,} words wrong, {rate:.1e} a word ({in_scratch} of them read back from SCRATCH)"
    look_at = NOISE
    if bits.bit_count() <= 2 and errors > 2:
        text += f": {stuck_text(stuck) or name_bits(bits)}"
        look_at = f"this data line of the register bus; {NOISE}"
    return bench.failed("error rate", text, look_at, words=words, errors=errors, error_rate=rate)


def _show(bench: Bench, counts: dict[str, int], size: int) -> None:
    text = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in counts.items() if value) or "nothing counted"
    bench.passed("what the transport counts", f"{text}, for {size:,} bytes of data", **counts)


def counters(mmio: Mmio) -> dict[str, int]:
    """The numbers of the transport's `link`, whatever it is made of; empty where it has none."""
    link = getattr(mmio, "link", None)
    if link is None:
        return {}
    if is_dataclass(link) and not isinstance(link, type):
        found = asdict(link)
    elif hasattr(link, "_asdict"):
        found = link._asdict()
    else:
        found = dict(link) if isinstance(link, dict) else vars(link)
    return {name: value for name, value in found.items() if isinstance(value, int) and not name.startswith("_")}
