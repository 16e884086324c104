"""Register reads beside what kvfpga replaces: cocotb with cocotbext-axi's AxiLiteMaster (scripts/bench/cocotb_reads.py),
pyverilator driven signal by signal, and a plain C++ loop around the same model, which nobody who reads from Python can beat."""

from __future__ import annotations

from . import workers
from .cocotb_reads import ROW_WORDS
from .figures import Report, Say, Series, alone, alternate, beside
from .sizes import Sizes

SECTION = "reads"


def measure(sizes: Sizes, say: Say) -> Report:
    say("opening the simulations, of kvfpga and of cocotb")
    with workers.simulation(workers.TODAY, sizes) as sim, workers.cocotb(sizes) as cocotb:

        def rate(what: str, count: int):
            return lambda: count / sim.ask(what, count=count)["seconds"]

        def cocotb_rate(what: str, **arguments: int) -> float:
            answer = cocotb.ask(what, **arguments)
            return answer["words"] / answer["seconds"]

        rows = -(-sizes.slow_reads // ROW_WORDS)
        names = {
            "single": "kvfpga read32",
            "batched": "kvfpga Batch",
            "plain": "plain C++ loop",
            "signals": "pyverilator, signal by signal",
            "cocotb": "cocotb, a read at a time",
            "rows": f"cocotb, {ROW_WORDS} words a call",
        }
        ways = {
            "single": rate("single", sizes.single_reads),
            "batched": rate("batched", sizes.reads),
            "plain": rate("plain", sizes.reads),
            "signals": rate("signals", sizes.slow_reads),
            "cocotb": lambda: cocotb_rate("single", count=sizes.slow_reads),
            "rows": lambda: cocotb_rate("rows", rows=rows),
        }
        found = {name: Series(names[name], rates) for name, rates in alternate(sizes.rounds, ways, say).items()}

    def figure(ours: str, other: str, aim: float | None = None):
        return beside(SECTION, found[ours], "reads/s", found[other], aim)

    figures = [
        *(alone(SECTION, found[name], "reads/s") for name in ("cocotb", "rows", "signals", "plain")),
        figure("single", "cocotb", 50),
        figure("single", "signals", 20),
        figure("batched", "cocotb", 300),
        figure("batched", "rows"),
        figure("batched", "plain", 0.9),
    ]
    return Report(figures, [], [])
