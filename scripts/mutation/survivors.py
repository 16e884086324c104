"""What survives of the places that `mutate --found` draws, and why nothing is wrong with that.

The kinds: EQUIVALENT, no run of the device differs; TIME, only cycles do, which nothing promises; PORTS, only what the lockstep
does not drive or read shows it, and the test that is named does; BUILDS, only in builds of another size. A survivor that is
none of them is a hole in the stimulus: it is closed in scenarios.py, and has no row here.
"""

from __future__ import annotations

from typing import NamedTuple

EQUIVALENT, TIME, PORTS, BUILDS = "equivalent", "time", "ports", "builds"


class Survivor(NamedTuple):
    """`test`: of kind PORTS, the file below tests/ that fails with it."""

    kind: str
    why: str
    test: str = ""


SURVIVORS: dict[str, Survivor] = {
    "clock_gate.ecc4e0.equal": Survivor(
        EQUIVALENT, "a clock that has run once never rests again, which costs power and shows nowhere (D25)"
    ),
    "directory.6c6864.bit": Survivor(
        EQUIVALENT, "held_row is the row that is read again behind a host's read; nobody looks at it before a pass has read one"
    ),
    "directory.d9ff70.bit": Survivor(
        EQUIVALENT, "a read that is refused is answered with the zeros of kvcpu_axil, whatever stands here"
    ),
    "nmce_pkg.5721f2.less": Survivor(
        EQUIVALENT, "where the root is exact, the one below it is found, and the rounding behind adds 1 again"
    ),
    "nmce_tree.077d58.add": Survivor(
        EQUIVALENT, "pairs take 2k and 2k-1 then, and Verilator reads number[-1] as the last one: the same terms, in other pairs"
    ),
}
