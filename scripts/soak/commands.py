"""Run random command scripts in lockstep on the Verilated RTL and check every line of output against contract section 8.

    python -m scripts.soak.commands                                  20 seeds, 400 commands each, at 256 and at 65,536 entries
    python -m scripts.soak.commands --seeds 100:200 --entries 256    other seeds, one size
    python -m scripts.soak.commands --through uart --entries 256     through a virtual board: xdma, uart, or uart-nmce, which has
                                                                     a compute engine

The RTL's assertions are checked too. Each script ends with `verify`, a full read-back. Exit code 1 when a run differs, 0
when all agree. The scripts are those of tests/helpers/random_script.py: one seed, one script.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from scripts.interrupt import interruptible
from scripts.soak.progress import shown
from tests.helpers import section8
from tests.helpers.random_script import Script, random_halves, random_queries, random_tables

KVFPGA = [sys.executable, "-m", "kvfpga.cli.main"]
TOKENS = 32
"""In a block."""
HEAD_DIM = {"uart": 2, "uart-nmce": 4}
"""Of virtual boards, where it is not 128; the least one with which there can be a compute engine is 4."""
CLASSES = {"uart": 16, "uart-nmce": 16}
"""Of virtual boards, where it is not 256."""
FILLED = 256
"""Slots of each tier that begin with random bytes: more than most scripts load."""


@contextlib.contextmanager
def target(through: str, entries: int):
    """Options that name the simulation, or a virtual board that lives meanwhile."""
    if through == "sim":
        yield ["--entries", str(entries)]
        return
    with tempfile.TemporaryDirectory() as folder:
        serve = {
            "xdma": ["board", "serve", "xdma", f"{folder}/card", "--entries", str(entries)],
            "uart": ["board", "serve", "uart", "--clock-hz", "24000000", "--entries", str(entries)],
            "uart-nmce": ["--board", engine_board(Path(folder), entries), "board", "serve", "uart", "--clock-hz", "24000000"],
        }[through]
        with subprocess.Popen([*KVFPGA, *serve], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as board:
            try:
                yield ["--target", board.stdout.readline().strip()]
            finally:
                board.terminate()


def engine_board(folder: Path, entries: int) -> str:
    """The file of a UART board with a compute engine."""
    sizes = f"block_tokens: {TOKENS}, head_dim: {HEAD_DIM['uart-nmce']}, classes: {CLASSES['uart-nmce']}"
    build = f"{{entries: {entries}, lanes: 1, data_bits: 64, {sizes}, nmce: true}}"
    file = folder / "board.yaml"
    file.write_text(f"description: a virtual board with an engine\ntarget: uart:/dev/null\nbuild: {build}\n")
    return str(file)


def fill(folder: Path, entries: int, seed: int, block_bytes: int) -> list[str]:
    """Lines that put random FP16 values into the first slots of every tier, so that a block in the wrong place shows."""
    lines = []
    for tier in range(4):
        values = random_halves(4 * seed + tier, min(entries, FILLED) * block_bytes // 2)
        (folder / f"tier-{tier}.bin").write_bytes(values.tobytes())
        lines.append(f"mem write {tier * entries * block_bytes:#x} --data {folder / f'tier-{tier}.bin'}")
    return lines


def run(options: list[str], entries: int, seed: int, commands: int, head_dim: int, classes: int) -> dict:
    """One script in a session of its own; raises AssertionError when an answer is not as contract section 8 has it."""
    with tempfile.TemporaryDirectory() as folder:
        block_bytes = 4 * TOKENS * head_dim
        blocks, tables = 400 if entries < 1024 else 3000, random_tables(Path(folder), seed, classes)
        queries = random_queries(Path(folder), seed, head_dim) if head_dim >= 4 else []
        script = [
            "reset --raw", *fill(Path(folder), entries, seed, block_bytes),
            *Script(seed, blocks, block_bytes, tables, classes, queries).lines(commands), "verify",
        ]  # fmt: skip
        file = Path(folder) / "random.kvfpga"
        file.write_text("\n".join(script) + "\n")
        program = [*KVFPGA, "--session", f"{folder}/session", *options, "--json"]
        started = time.perf_counter()
        done = subprocess.run([*program, "run", file], capture_output=True, text=True)
        seconds = time.perf_counter() - started
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    differs = done.returncode not in (0, 1) or len(answers) != len(script)
    for line, answer in zip(script, answers):
        section8.check(line, answer)
    return {
        "entries": entries,
        "seed": seed,
        "commands": len(script),
        "checked": sum(answer.get("checked") is True for answer in answers),
        "refused": sum(answer.get("code", "OK") != "OK" for answer in answers),
        "triggers": sum(len(answer.get("triggers", ())) for answer in answers),
        "differs": differs,
        "seconds": round(seconds, 2),
        "stderr": done.stderr[-2000:] if differs else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:20", help="FIRST:END, default 0:20")
    parser.add_argument("--commands", type=int, default=400)
    parser.add_argument("--entries", type=int, nargs="+", default=[256, 65536])
    parser.add_argument("--through", choices=["sim", "xdma", *HEAD_DIM], default="sim", help="itself, or a virtual board")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run instead of the table")
    options = parser.parse_args()
    os.environ["KVFPGA_ASSERTIONS"] = "1"
    print("models with assertions, built the first time: minutes each", file=sys.stderr)
    seeds = range(*map(int, options.seeds.split(":")))
    jobs = [(entries, seed) for entries in options.entries for seed in seeds]
    runs = []
    for entries, seed in shown(jobs, "scripts"):
        with target(options.through, entries) as chosen:
            sizes = HEAD_DIM.get(options.through, 128), CLASSES.get(options.through, 256)
            runs.append(run(chosen, entries, seed, options.commands, *sizes))
        if options.json:
            print(json.dumps(runs[-1]))
        if runs[-1]["differs"]:
            print(runs[-1]["stderr"], file=sys.stderr)
    if not options.json:
        table = Table(title=f"{len(runs)} scripts of {options.commands} commands")
        for column in ("entries", "scripts", "commands", "checked", "refused", "triggers", "differences", "seconds"):
            table.add_column(column, justify="right")
        for entries in options.entries:
            mine = [r for r in runs if r["entries"] == entries]
            sums = [sum(r[key] for r in mine) for key in ("commands", "checked", "refused", "triggers", "differs", "seconds")]
            table.add_row(str(entries), str(len(mine)), *(f"{value:,.0f}" for value in sums))
        Console().print(table)
    return int(any(r["differs"] for r in runs))


if __name__ == "__main__":
    sys.exit(interruptible(main))
