"""Step 1: who answers (contract R4)? Nothing else is believed before this."""

from __future__ import annotations

from ..contract import parameters
from ..contract.errors import BusError
from ..contract.wording import counted
from ..device.device import CAPABILITIES, Device, Identity
from ..device.regmap import DEVICE_ID, MAJOR_VERSION, REGISTERS, REGMAP_HASH
from .bench import TIER_BASES, Bench, Finding
from .diagnosis import byte_order

LIMITS = {**parameters.LIMITS, "fifo_depth": (1, 1 << 16)}
"""Capabilities that are powers of two, smallest and largest."""
BITSTREAM = "the bitstream: another design, or built from other sources than this kvfpga"


def run(bench: Bench) -> None:
    bench.stopped = "the identity is wrong"
    try:
        words = bench.mmio.read_burst(REGISTERS["DEVICE_ID"].offset, 5).tolist()
        found = bench.mmio.read_burst(REGISTERS["CAP_ENTRIES"].offset, CAPABILITIES).tolist()
    except BusError as error:
        bench.failed("device", error.message, "BAR offset or base address of the AXI4-Lite slave; is the bitstream loaded?")
        return
    device_id, version, build_low, build_high, regmap_hash = words
    if device_id != DEVICE_ID:
        bench.failed("device", f"DEVICE_ID reads {device_id:#010x}, expected {DEVICE_ID:#010x}", _why(words))
        return
    bench.passed("device", f"KV-CPU {version >> 16}.{version & 0xFFFF}")

    if regmap_hash != REGMAP_HASH or version >> 16 != MAJOR_VERSION:
        text = f"register map {regmap_hash:#010x}, this kvfpga has {REGMAP_HASH:#010x}"
        bench.failed("register map", text, f"{BITSTREAM} (`make regs` after a change, then build it again)")
        return
    bench.passed("register map", f"{regmap_hash:#010x}, as this kvfpga's")

    build, expected = build_high << 32 | build_low, bench.expected_build_id
    if expected not in (None, build):
        bench.failed("build", f"BUILD_ID {build:#018x}, expected {expected:#018x}", f"{BITSTREAM}; or its parameters differ")
    else:
        bench.passed("build", f"BUILD_ID {build:#018x}" + ("" if expected is None else ", as expected"))

    identity = Identity("", build, *found)
    problems = implausible(identity)
    text = (
        f"{identity.entries:,} entries, {counted(identity.lanes, 'lane')}, "
        f"blocks of {identity.block_tokens} x {identity.head_dim} ({identity.block_bytes:,} bytes), "
        f"{identity.data_bits}-bit memory"
    )
    bench.conclude("capabilities", text, problems)
    if problems:
        return
    bench.identified = Device(bench.mmio)
    settings = bench.device.settings()
    bench.tier_bases = list(bench.options.tier_bases or (settings[name] for name in TIER_BASES))
    bench.stopped = ""


def _why(words: list[int]) -> str:
    """What DEVICE_ID and the four words behind it look like."""
    if set(words) == {0xFFFFFFFF}:
        return "a dead link: board power, PCIe link or cable, BAR size; a clock that does not run"
    if not any(words):
        return "the clock or reset of the design, or an address decoder that answers for nobody; BAR offset"
    order = byte_order(DEVICE_ID.to_bytes(4, "little"), words[0].to_bytes(4, "little"))
    if order:
        return f"byte lanes of the register bus: {order}"
    if DEVICE_ID in words:
        return f"BAR offset: DEVICE_ID is {4 * words.index(DEVICE_ID)} bytes further on"
    return f"BAR offset or base address; {BITSTREAM}"


def implausible(identity: Identity) -> list[Finding]:
    """Capabilities that no build of the design has."""
    problems = []
    for name, (least, most) in LIMITS.items():
        value = getattr(identity, name)
        if not least <= value <= most or value & (value - 1):
            problems.append(Finding(f"{name} is {value}, not a power of two of {least} to {most}", BITSTREAM))
    if identity.nmce not in (0, 1):
        problems.append(Finding(f"nmce is {identity.nmce}, not 0 or 1", BITSTREAM))
    size = 4 * identity.block_tokens * identity.head_dim
    if identity.block_bytes != size:
        problems.append(Finding(f"a block has {identity.block_bytes} bytes, not 4 x tokens x head_dim = {size}", BITSTREAM))
    if not identity.lookup_ports:
        problems.append(Finding("no lookup port", BITSTREAM))
    return problems
