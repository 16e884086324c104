"""Mutation test of the lockstep: breaks the RTL in one place at a time, and demands that some command's check notices.

    python -m scripts.mutation.mutate                    all of mutations.py, as a table; exit 1 when one survives
    python -m scripts.mutation.mutate --only dma-dirty   one of them (may be repeated); --list names them
    python -m scripts.mutation.mutate --assertions       those that an assertion of the RTL must notice
    python -m scripts.mutation.mutate --found 40         40 places that it finds by itself; --seed draws others, --list shows them

Each mutation is applied to a copy of fpga/rtl, built for 256 entries, 4 lanes and 128 data bits (quick_build.py),
and run through the scenarios of scenarios.py in lockstep with the reference model, until hardware and
reference differ or the device fails otherwise (no answer, a broken AXI rule). The RTL as it is must get through all of
them first. A mutation that names an assertion of the RTL runs on a model that checks them, and that assertion must fail; all
others run without.

Places found (places.py) are drawn from every module in turn. One that survives the scenarios has to pass the proofs of
tests/formal about its module, too; one of the UART board is tried by those, and by the benches at its pins (judges.py). What does
not compile is stillborn and not counted; one of which Verilator makes the same C++ is equivalent. Survivors are explained in
survivors.py: exit 1 when one is not. All places found are in one model, and one of them is chosen when it starts: so a place
costs a run and no build.

A process of its own runs each mutation, so that a crash or an endless loop counts as caught and harms nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import itertools
import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click
import numpy as np

from kvfpga.cli.output import print_rich
from kvfpga.contract.commands import Command
from kvfpga.contract.errors import BuildError, DeviceRefused, DifferenceError, KvfpgaError, TargetError, UsageError
from kvfpga.contract.parameters import Parameters
from kvfpga.device.answers import RESULT_WORDS
from kvfpga.device.regmap import REGISTERS
from kvfpga.transport.mmio import Batch
from kvfpga.transport.sim import build as verilator_build
from scripts import manual
from scripts.interrupt import interruptible
from scripts.mutation import kept
from scripts.mutation.mutations import MUTATIONS, Edit, Mutation, Unfit
from scripts.mutation.scenarios import ENTRIES, ROW, Scenario, scenarios
from scripts.mutation.survivors import SURVIVORS

if TYPE_CHECKING:
    from kvfpga.lockstep.lockstep import Lockstep
    from scripts.mutation.places import Place

LANES, DATA_BITS = ROW, 128
WORKER = (sys.executable, "-m", "scripts.mutation.mutate")
ORIGINAL = "original"
"""Name of the run without a mutation."""
TIME_LIMIT = 1800
"""Seconds of processor time that a process of one mutation may take before it is ended, which counts as caught. A busy machine
does not shorten them."""
STANDSTILL = 10 * TIME_LIMIT
"""Seconds after which one that only waits is ended."""


# ---- one mutation --------------------------------------------------------------------------------------------------
def file_of(mutation: Edit, rtl: Path) -> Path | None:
    """Where its file is: no two of the RTL have one name."""
    return next(rtl.rglob(mutation.file), None)


def mutated(mutation: Edit, rtl: Path) -> str:
    """The text of its file with the mutation in it, or Unfit."""
    path = file_of(mutation, rtl)
    return mutation.applied(path.read_text() if path else "")


def try_one(name: str, seeds: int, count: int, work: Path, among: Sequence[str] = ()) -> dict:
    """Build and run one mutation, or ORIGINAL, in this process. See `attempt` for `among` and the keys of the answer."""
    from scripts.mutation import judges, quick_build

    started, parameters = time.monotonic(), Parameters(ENTRIES, LANES, DATA_BITS)
    edit = None if name == ORIGINAL else by_name(name)
    original = verilator_build.rtl_root() / "rtl"
    place = file_of(edit, original) if edit else None
    if place and place.parent.name == "uart":
        return judges.try_uart(edit, work)
    found = {"name": name, "caught": False, "commands": 0, "scenarios": {}, "build_seconds": 0, "run_seconds": 0}
    with tempfile.TemporaryDirectory(prefix="kvfpga-mutation-") as scratch:
        rtl = Path(scratch) / "rtl"
        rtl.mkdir()
        texts = {path.name: path.read_text() for path in verilator_build.rtl_sources()}
        if among:
            from scripts.mutation.places import design

            os.environ["KVFPGA_MUTANT"] = str(1 + among.index(name) if edit else 0)
            texts = design(texts, [by_name(other) for other in among])
        elif edit:
            texts[edit.file] = mutated(edit, original)
        for file, text in texts.items():
            (rtl / file).write_text(text)
        sources = verilator_build.rtl_sources(rtl)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                quick_build.model(parameters, sources, work / "models", work / "objects")
        except BuildError as error:
            if among or isinstance(edit, Mutation):
                raise
            return found | {"stillborn": error.message}
        found["build_seconds"] = round(time.monotonic() - started, 1)
        started, lines, by_scenario = time.monotonic(), 0, {}
        for scenario in scenarios(seeds, count, place):
            done, evidence = run_scenario(scenario, sources)
            by_scenario[scenario.name] = done
            lines += done
            if evidence:
                found |= {"caught": is_proof(name, evidence), "scenario": scenario.name} | evidence
                break
        else:
            if edit and not isinstance(edit, Mutation):
                found |= judges.without_difference(edit, parameters)
        return found | {
            "commands": lines,
            "scenarios": by_scenario,
            "run_seconds": round(time.monotonic() - started, 1),
        }


def is_proof(name: str, evidence: dict) -> bool:
    """Did that notice the mutation which should: its assertion, if it names one, else anything?"""
    assertion = assertion_of(name)
    return not assertion or f"assertion {assertion} of" in evidence["device"]


def run_scenario(scenario: Scenario, sources: list[Path]) -> tuple[int, dict | None]:
    """(lines run, what gave the device away or None)."""
    from kvfpga.device.device import Device
    from kvfpga.hepc_ref import ReferenceModel
    from kvfpga.lockstep.lockstep import Lockstep
    from kvfpga.transport.sim.verilated import VerilatorSim

    done, line = 0, "reset"
    try:
        memory = {"latency": scenario.latency, "stall_percent": scenario.stall}
        sim = VerilatorSim(ENTRIES, LANES, DATA_BITS, scenario.seed, sources=sources, **memory)
        with Lockstep(Device(sim), ReferenceModel(ENTRIES)) as pair, command_line(pair) as run:
            if scenario.host:
                line = scenario.name
                scenario.host(pair.device)
                return done, None
            fill_memory(pair, scenario.seed)
            for line in scenario.lines:
                done += 1
                with contextlib.suppress(click.UsageError, UsageError):  # not a command: `kvfpga run` goes on as well
                    run(line)
            if scenario.queued:
                line = "doorbells that nobody waits for"
                run_queued(pair, scenario.queued, scenario.settles)
    except DifferenceError as error:
        first = error.report.differences[0]
        if first.where == "digest" and len(error.report.differences) > 1:
            first = error.report.differences[1]  # says more
        where, field, device, expected = first.texts()
        return done, {"line": line, "where": where, "field": field, "device": device, "expected": expected}
    except KvfpgaError as error:
        if not isinstance(error, (TargetError, DeviceRefused)):
            raise
        return done, {
            "line": line,
            "where": "device",
            "field": type(error).__name__,
            "device": error.message,
            "expected": "",
        }
    return done, None


def fill_memory(pair, seed: int) -> None:
    """Random bytes in all blocks of all tiers, so that a block in the wrong place shows."""
    size = 4 * pair.entries * pair.block_bytes
    pair.memory_write(0, np.random.default_rng(seed).bytes(size))


def run_queued(pair: Lockstep, commands: Sequence[Command], settles: bool) -> None:
    """Ring all doorbells one behind the other (R5), and only then wait. With strict=0 the end depends on the memory's timing
    (D21), so it is not compared unless it `settles`; what the RTL promises itself is checked all the same."""
    batch = Batch()
    for command in commands:
        pair.device.append_command(batch, command)
    batch.wait_idle()
    for _ in commands:
        batch.burst(REGISTERS["RESULT_STATUS"].offset, RESULT_WORDS)
    batch.drain(REGISTERS["COMPLETION"].offset)
    pair.device.mmio.run(batch)
    if settles:
        for command in commands:
            pair.model.execute(command)
    else:
        pair.sync()
    pair.verify()


@contextlib.contextmanager
def command_line(pair) -> Iterator[Callable[[str], None]]:
    """A function that runs one line of a `.kvfpga` script on `pair`, through the commands of `kvfpga` themselves."""
    from kvfpga.cli.app import App
    from kvfpga.cli.main import cli
    from kvfpga.cli.options import Options
    from kvfpga.contract import presets
    from kvfpga.targets.target import Target

    target = Target("sim", ENTRIES, LANES)
    session = SimpleNamespace(  # all that these commands ask a session for
        target=target, require=lambda purpose: None, initial=lambda: presets.sets(presets.PRESETS[presets.DEFAULT])
    )
    app = App(Options(target.kind, entries=ENTRIES, lanes=LANES, json=True), session=session, _device=pair)
    silence = io.StringIO()
    with click.Context(cli, info_name="kvfpga", obj=app) as parent:
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):

            def run(line: str) -> None:
                name, command, rest = cli.resolve_command(parent, shlex.split(line))
                with command.make_context(name, rest, parent=parent) as ctx:
                    command.invoke(ctx)
                silence.seek(0)
                silence.truncate()

            yield run


# ---- all of them ---------------------------------------------------------------------------------------------------
def attempt(name: str, seeds: int, count: int, work: Path, assertions: bool = False, among: Sequence[str] = ()) -> dict:
    """One mutation in a process of its own, with or without the assertions of the RTL: name, caught, commands (run until then),
    scenario, line, where, field, device, expected, build_seconds, run_seconds, stillborn (why), equivalent (True). `among`:
    places that are in one model, with this one or ORIGINAL chosen in it."""
    numbers = {"--seeds": seeds, "--commands": count, "--work": work}
    command = [*WORKER, "--worker", name, *(str(word) for pair in numbers.items() for word in pair)]
    command += [f"--among={other}" for other in among]
    started = time.monotonic()
    environment = os.environ | {"KVFPGA_ASSERTIONS": str(int(assertions))}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    try:
        said, complained = process.communicate(timeout=STANDSTILL)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the simulator of a bench
        process.communicate()
        return _dead(name, f"no end within {STANDSTILL} s", started)
    if process.returncode == -signal.SIGXCPU:
        return _dead(name, f"no end within {TIME_LIMIT} s of processor time", started)
    if process.returncode < 0:
        return _dead(name, f"the simulation died of signal {-process.returncode}", started)
    if process.returncode:
        raise RuntimeError(f"mutation {name} could not be tried:\n{complained[-3000:]}")
    return json.loads(said.splitlines()[-1])  # benches talk


def attempt_once(name: str, seeds: int, count: int, work: Path, *how: object) -> dict:
    """`attempt`, or what an earlier run with this work folder found (kept.py)."""
    place = kept.path(work, by_name(name), seeds, count)
    result = kept.read(place)
    if result is None:
        result = attempt(name, seeds, count, work, *how)
        kept.keep(place, result)
    return result


def _dead(name: str, what: str, started: float) -> dict:
    found = {"where": "process", "field": what, "device": "", "expected": "", "line": "", "scenario": "", "commands": 0}
    return {
        "name": name,
        "caught": True,
        "build_seconds": 0,
        "run_seconds": round(time.monotonic() - started, 1),
    } | found


@functools.cache
def found_places() -> dict[str, Place]:
    """All places that places.py finds, by name."""
    from scripts.mutation.places import places

    return {place.name: place for place in places(verilator_build.rtl_root() / "rtl")}


def by_name(name: str) -> Edit:
    for mutation in MUTATIONS:
        if mutation.name == name:
            return mutation
    if name in found_places():
        return found_places()[name]
    raise Unfit(f"there is no mutation {name}; --list names them, and --list --found 10000 all places found")


def assertion_of(name: str) -> str:
    mutation = None if name == ORIGINAL else by_name(name)
    return mutation.assertion if isinstance(mutation, Mutation) else ""


def check_places(chosen: Sequence[Edit], rtl: Path) -> None:
    """Every mutation fits the RTL and has a name of its own, else Unfit."""
    names = [mutation.name for mutation in chosen]
    if doubles := {name for name in names if names.count(name) > 1}:
        raise Unfit(f"more than one mutation is called {', '.join(sorted(doubles))}")
    for mutation in chosen:
        mutated(mutation, rtl)


def run_all(
    names: list[str], jobs: int, seeds: int, count: int, work: Path, progress: Callable[[dict], None], among: Sequence[str] = ()
) -> list[dict]:
    """Results in the order of `names`; `progress` gets each as it comes."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {
            pool.submit(
                attempt_once, name, seeds, count, work, bool(assertion_of(name)), among if name in among else ()
            ): name
            for name in names
        }
        found = {}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            progress(found[futures[future]])
    return [found[name] for name in names]


def table(results: list[dict]):
    """For people (rich)."""
    from rich.table import Table

    shown = Table(title=f"{sum(r['caught'] for r in results)} of {len(results)} mutations caught", title_justify="left")
    for name, style in (
        ("mutation", "bold"),
        ("module", None),
        ("rule", None),
        ("caught by", "green"),
        ("difference", None),
    ):
        shown.add_column(name, style=style, overflow="fold")
    shown.add_column("commands", justify="right")
    for result in results:
        mutation = by_name(result["name"])
        row = [result["name"], Path(mutation.file).stem.removeprefix("kvcpu_"), mutation.rule]
        if result["caught"]:
            row += [f"{result['scenario']}: {result['line']}", difference(result)]
        else:
            row += ["[bold red]SURVIVED[/]", difference(result) if "field" in result else mutation.why]
        shown.add_row(*row, str(result["commands"]))
    return shown


# ---- places found --------------------------------------------------------------------------------------------------
FATES = "caught", "explained", "SURVIVED", "equivalent", "stillborn"


def fate(result: dict) -> str:
    """What became of a place, as one of FATES."""
    for name in ("stillborn", "caught", "equivalent"):
        if result.get(name):
            return name
    return "explained" if result["name"] in SURVIVORS else "SURVIVED"


def table_of_found(results: list[dict]):
    """For people (rich): a row a module, and each survivor below."""
    from rich.console import Group
    from rich.table import Table

    shown = Table("module", *FATES, title=f"{len(results)} places", title_justify="left")
    for file in sorted({by_name(result["name"]).file for result in results}):
        fates = [result["fate"] for result in results if by_name(result["name"]).file == file]
        shown.add_row(Path(file).stem.removeprefix("kvcpu_"), *(str(fates.count(name) or "") for name in FATES))
    shown.add_section()
    shown.add_row("all", *(str([result["fate"] for result in results].count(name)) for name in FATES))
    left = [f"{described(result['name'])}\n    {why(result['name'])}" for result in results if result["fate"] in FATES[1:3]]
    return Group(shown, *left)


def described(name: str) -> str:
    place = by_name(name)
    old, new = (" ".join(text.split()) for text in (place.old, place.new))
    return f"{name:32} {place.file}:{place.line}  {old} → {new}"


def why(name: str) -> str:
    return f"{SURVIVORS[name].kind}: {SURVIVORS[name].why}" if name in SURVIVORS else "not explained in survivors.py"


def together(chosen: Sequence[Edit]) -> list[str]:
    """Names of those that can be in one model of the core: places found, if slang takes them so."""
    texts = {path.name: path.read_text() for path in verilator_build.rtl_sources()}
    found = [edit for edit in chosen if not isinstance(edit, Mutation) and edit.file in texts]
    if not found:
        return []
    from scripts.mutation.places import fit

    return [place.name for place in fit(texts, found, verilator_build.TOP)]


def chosen_places(count: int, seed: int) -> list[Place]:
    from scripts.mutation.places import sample

    return sample(list(found_places().values()), count, seed)


def difference(result: dict) -> str:
    if result["expected"] == "":
        return f"{result['field']} {result['device']}".strip()[:200]
    return f"{result['where']} {result['field']}: {result['device']} instead of {result['expected']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=manual.Page)
    parser.add_argument("--only", action="append", metavar="NAME", help="this mutation or place; may be repeated")
    parser.add_argument("--assertions", action="store_true", help="only those that an assertion must notice")
    parser.add_argument("--found", type=int, metavar="N", help="N places that it finds by itself, from every module in turn")
    parser.add_argument("--seed", type=int, default=1, help="draws the places (%(default)s)")
    parser.add_argument("--seeds", type=int, default=12, help="random scripts at the end of the stock (%(default)s)")
    parser.add_argument("--commands", type=int, default=400, help="commands in each of them (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="mutations tried at a time (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of the table")
    parser.add_argument("--list", action="store_true", help="name the mutations, or the places, and end")
    parser.add_argument("--work", type=Path, metavar="DIR", help="keep what was built and found here: another run goes on")
    parser.add_argument("--worker", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--among", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT + 60))
        answer = try_one(options.worker, options.seeds, options.commands, options.work, options.among)
        print(json.dumps(answer))
        return 0
    from rich.console import Console

    console = Console(stderr=True)
    try:
        chosen: Sequence[Edit] = MUTATIONS
        if options.only:
            chosen = [by_name(name) for name in options.only]
        elif options.found is not None:
            chosen = chosen_places(options.found, options.seed)
        chosen = [mutation for mutation in chosen if assertion_of(mutation.name) or not options.assertions]
        check_places(chosen, verilator_build.rtl_root() / "rtl")
    except Unfit as error:
        console.print(f"[red]{error}[/]", highlight=False)
        return 2
    if options.list:
        for mutation in chosen:
            if isinstance(mutation, Mutation):
                print(f"{mutation.name:28} {mutation.file:26} {mutation.rule:12} {mutation.why}")
            else:
                print(described(mutation.name))
        return 0

    tried = itertools.count()

    def said(result: dict) -> None:
        what = difference(result) if "field" in result else "nothing differs"
        what = what if result["caught"] or "field" not in result else f"not its assertion: {what}"
        what = "does not compile" if "stillborn" in result else what
        seconds = f"{result['build_seconds']:.0f} s build, {result['run_seconds']:.0f} s run"
        line = f"[{next(tried)}/{len(chosen)}] {result['name']}: {what} after {result['commands']} commands ({seconds})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvfpga-mutations-")))
        among = together(chosen)
        for assertions in sorted({bool(assertion_of(mutation.name)) for mutation in chosen}):
            among_these = () if assertions else among
            original = attempt(ORIGINAL, options.seeds, options.commands, work, assertions, among_these)
            said(original)
            if original["caught"]:
                console.print("[red]the RTL as it is does not get through the scenarios: repair that first[/]")
                return 1
        names = [mutation.name for mutation in chosen]
        results = run_all(names, options.jobs, options.seeds, options.commands, work, said, among)
    results = [result | {"fate": fate(result)} for result in results]
    survivors = [result["name"] for result in results if result["fate"] == "SURVIVED"]
    if options.json:
        full = [result | by_name(result["name"])._asdict() for result in results]
        print(json.dumps({"original": original, "mutations": full, "survivors": survivors}, indent=2))
    else:
        by_hand = {mutation.name for mutation in MUTATIONS}
        for print_table, part in (
            (table, [result for result in results if result["name"] in by_hand]),
            (table_of_found, [result for result in results if result["name"] not in by_hand]),
        ):
            if part:
                print_rich(print_table(part))
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(interruptible(main))
