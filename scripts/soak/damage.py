"""Kill commands, damage what is stored and hand in nonsense: nothing is lost, no damage accepted, and there are no tracebacks.

    python -m scripts.soak.damage                   500 kills, 200 sessions, 300 checkpoints, 300 restores, 400 inputs
    python -m scripts.soak.damage --seed 7 --kills 50 --inputs 0
    python -m scripts.soak.damage --only inputs:17  one case again, with all that it said

kills        a command gets SIGKILL at a change of a file or at any moment: the session holds the state before or behind it
sessions     files of sessions and failure folders go bad: a command refuses, or has the true state; --recover gives a state that
             there was, and `reset` always gets out
checkpoints  the same of the pages that hold the checkpoint of a simulation and the reference model
restores     a checkpoint that a simulation wrote goes bad, with no session around it: it is refused, and changes nothing
inputs       malformed files and arguments (bad_inputs.py): an exit code of contract section 8, in bounded memory and time, and a
             command that was refused has changed nothing

Exit code 1 when anything else happened, 0 when not. One seed, one run, but for the moments of kills.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol

from rich.console import Console
from rich.table import Table

from kvfpga.contract.errors import BuildError, SessionError
from kvfpga.contract.waveforms import SUFFIXES
from kvfpga.session.session import Session
from kvfpga.targets.target import Target
from scripts.interrupt import interruptible
from scripts.soak import bad_inputs
from scripts.soak.damages import BYTES, NO_FILES, remove
from scripts.soak.processes import Ended, Processes
from scripts.soak.progress import shown
from tests.helpers.file_events import Watched, compile_library

BLOCK = 16384
CODES = range(5)
"""Exit codes of contract section 8."""
MEMORY = 2560 << 20
"""Bytes of memory that no command needs: 1 GiB of the device's may be written at once, and is copied on its way."""
KINDS = "tracebacks", "losses", "acceptances", "others"
"""Of faults. `others`: an exit code that there is not, no word of what is wrong, no end, memory without bound, no way out."""
PREPARE = [
    "reset --raw",
    *(f"load --request {n % 3} --layer 0 --head 0 --tokens {32 * n}:{32 * n + 31} --va {n * BLOCK:#x}" for n in range(6)),
    f"mem write {3 * BLOCK:#x} 00112233445566778899aabbccddeeff", "step 3", f"share 0 {BLOCK}", f"hot {BLOCK:#x} 5", "step 4",
]  # fmt: skip
LOOK = ["telemetry", "dump", "config", "weights", f"mem read {3 * BLOCK:#x} 64", "verify"]
AFRESH = ["reset --raw", "dump", "step 2"]

Faults = list[tuple[str, str]]
"""Kind and what happened."""


class Cases(Protocol):
    """A section. `text`: of the last case, for people."""

    text: str

    def run(self, rng: Random) -> Faults:
        """One case."""


class Bench:
    """A folder and processes, shared by the sections."""

    def __init__(self, folder: Path, kvfpga: Processes):
        self.folder, self.kvfpga = folder, kvfpga

    def script(self, name: str, lines: list[str]) -> Path:
        path = self.folder / f"{name}.kvfpga"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def on(self, session: Path, kind: str, *words: object, kill_after: float | None = None) -> Ended:
        options = ["--json", "--target", kind, "--entries", "256", "--session", session]
        return self.kvfpga(*options, *words, kill_after=kill_after)

    def look(self, session: Path, kind: str, *options: str) -> Ended:
        return self.on(session, kind, *options, "run", self.script("look", LOOK))

    def prepare(self, session: Path, kind: str) -> None:
        for number, line in enumerate(PREPARE):
            self.right(self.on(session, kind, "run", self.script("prepare", [line])), f"line {number}")

    @staticmethod
    def right(ended: Ended, what: str) -> Ended:
        """What nobody has damaged yet has to work."""
        if ended.code:
            raise RuntimeError(f"{what}: exit code {ended.code}\n{ended.out}{ended.err}")
        return ended


def copy(source: Path, to: Path) -> None:
    remove(to)
    if source.exists():
        shutil.copytree(source, to)


def spoken(ended: Ended, what: str) -> Faults:
    """What no command may do, whatever it was handed."""
    found = []
    if ended.traceback:
        found.append(("tracebacks", f"{what}: {ended.err[-2000:]}"))
    elif ended.code not in CODES:
        ends = "does not end" if ended.code == -signal.SIGALRM else f"exit code {ended.code}"
        found.append(("others", f"{what}: {ends}: {ended.err[-500:]}"))
    elif ended.code in (2, 3, 4) and not ended.err:
        found.append(("others", f"{what}: exit code {ended.code} without a word"))
    if ended.peak > MEMORY or "not enough memory" in ended.err:
        found.append(("others", f"{what}: {ended.peak >> 20} MiB of memory"))
    return found


# ---- kills --------------------------------------------------------------------------------------------------------------
class Known(NamedTuple):
    """A command that nobody kills: what it finds and leaves, how many changes of files it makes, how long it takes."""

    before: str
    after: str
    events: int
    seconds: float


class Kills:
    """SIGKILL, half of them at a change of a file and half at any moment."""

    COMMANDS = [
        ["step", 9], ["hot", 0, 9 * BLOCK], ["evict", 0, BLOCK], ["prefetch", 0, 9 * BLOCK, 50], ["share", BLOCK, 1],
        ["release", 0, 1], ["unload", 0, BLOCK], ["weights", "set", "--w-r", 7], ["config", "--t1-capacity", 3],
        ["reset", "--raw"], ["load", "--request", 9, "--layer", 0, "--head", 0, "--tokens", "0:31", "--va", 100 * BLOCK],
        ["mem", "write", 3 * BLOCK, "ff" * 3000], ["run", "several.kvfpga"],
    ]  # fmt: skip

    def __init__(self, bench: Bench, closing_last: ExitStack):
        self.bench, self.session = bench, bench.folder / "killed"
        several = bench.script("several", ["step 6", f"share {2 * BLOCK} 1", "lookup 1 0 0 40 --touch", "step 8"])
        self.commands = [[str(several) if word == "several.kvfpga" else word for word in words] for words in self.COMMANDS]
        library = compile_library(bench.folder)
        self.watched = {}
        for kind in ("model", "sim"):
            bench.prepare(bench.folder / f"first-{kind}", kind)
            watched = Watched(library, self.session, "--json", "--target", kind, "--entries", "256")
            self.watched[kind] = closing_last.enter_context(closing(watched))
        self.known: dict[tuple[str, bool, int], Known] = {}
        self.text = ""

    def run(self, rng: Random) -> Faults:
        """`is_new`: the command is the first of its session."""
        case = kind, is_new, number = rng.choice(list(self.watched)), rng.random() < 0.1, rng.randrange(len(self.commands))
        words, known = self.commands[number], self._known(*case)
        while True:
            self._put_back(kind, is_new)
            at_change = rng.random() < 0.5
            if at_change:
                change = rng.randint(1, known.events)
                self.text = f"{kind}, {'new, ' if is_new else ''}{words[0]}, killed at change {change} of {known.events}"
                done = self.watched[kind](*words, kill=change)
                code, out = done.returncode, done.stdout
            else:
                moment = rng.uniform(0, 1.1 * known.seconds)
                self.text = f"{kind}, {'new, ' if is_new else ''}{words[0]}, killed after {moment * 1e3:.1f} ms"
                ended = self.bench.on(self.session, kind, *words, kill_after=moment)
                code, out = ended.code, ended.out
            if code == -signal.SIGKILL:
                return self._judge(kind, known, stored=bool(out) and words[0] != "run")

    def _known(self, kind: str, is_new: bool, number: int) -> Known:
        case, words, right = (kind, is_new, number), self.commands[number], self.bench.right
        if case not in self.known:
            self._put_back(kind, is_new)
            before = right(self.bench.look(self.session, kind), "look").out
            self._put_back(kind, is_new)
            began = time.monotonic()
            if (code := self.bench.on(self.session, kind, *words).code) not in (0, 1):
                raise RuntimeError(f"{words}: exit code {code}")
            seconds = time.monotonic() - began
            after = right(self.bench.look(self.session, kind), "look").out
            self._put_back(kind, is_new)
            self.watched[kind](*words)
            self.known[case] = Known(before, after, len(self.watched[kind].log), seconds)
        return self.known[case]

    def _put_back(self, kind: str, is_new: bool) -> None:
        copy(self.bench.folder / ("nothing" if is_new else f"first-{kind}"), self.session)

    def _judge(self, kind: str, known: Known, stored: bool) -> Faults:
        """What was shown is stored, but for a `run`: that shows its lines as it goes and stores at its end. Else the state may be
        the one before as well."""
        found = self.bench.look(self.session, kind)
        faults = spoken(found, "the next command")
        if found.code or found.out not in ((known.after,) if stored else (known.before, known.after)):
            faults.append(("losses", f"{'shown as done' if stored else 'not shown'}; found: {found.code} {found.out}{found.err}"))
        later = self.bench.on(self.session, kind, "step", 1000)
        faults += spoken(later, "the step behind it")
        home = self.session / kind
        if later.code or len(list(home.glob("pages-*"))) != 1 or list(home.glob("*.new")):
            faults.append(("others", f"left behind: {sorted(path.name for path in home.iterdir())}, {later.code} {later.err}"))
        return faults


# ---- sessions -----------------------------------------------------------------------------------------------------------
class Source(NamedTuple):
    """A session that is whole. What a look, a step and a look behind it say; what looks at all its states say; older copies."""

    folder: Path
    kind: str
    look: tuple[int, str]
    step: tuple[int, str]
    behind: tuple[int, str]
    states: list[tuple[int, str]]
    older: list[Path]


class Sessions:
    """One file of a session, or of a failure folder, goes bad."""

    STEP = ("step", 900)
    NAMES = "*"

    def __init__(self, bench: Bench, _: ExitStack):
        self.bench, self.folder = bench, bench.folder / type(self).__name__
        self.session, self.second = self.folder / "damaged", self.folder / "second"
        self.sources = [self._grown("model"), self._grown("sim"), self._failure()]
        self.text = ""

    def run(self, rng: Random) -> Faults:
        source = rng.choice(self.sources)
        while True:
            seed = rng.random()
            for session in (self.session, self.second):
                copy(source.folder, session)
                self.text = self._damage(source, session, Random(seed))
            if not _same(source.folder, self.session):
                return [*self._judge(source), *self._recover(source), *self._get_out(source)]

    def _grown(self, kind: str) -> Source:
        """Command by command; each state is kept."""
        folder = self.folder / f"grown-{kind}"
        states, older = [], []
        for number, line in enumerate(PREPARE):
            self.bench.right(self.bench.on(folder, kind, *line.split()), line)
            ended = self.bench.right(self.bench.look(folder, kind), line)
            states.append((ended.code, ended.out))
            older.append(self.folder / f"older-{kind}-{number}")
            copy(folder, older[-1])
        return self._source(folder, kind, states, older[:-1])

    def _failure(self) -> Source:
        """The folder of a difference: the reference has counted one `share` too many."""
        folder = self.folder / "differs"
        self.bench.prepare(folder, "sim")
        with Session(Target("sim", 256), folder) as session:
            session.open(check=False).model.counters["share_count"] += 1
            session.save()
        if (code := self.bench.on(folder, "sim", "step", 9).code) != 4:
            raise RuntimeError(f"no difference: exit code {code}")
        (failure,) = (folder / "failures").iterdir()
        return self._source(failure, "sim", [], [])

    def _source(self, folder: Path, kind: str, states: list[tuple[int, str]], older: list[Path]) -> Source:
        copy(folder, self.session)
        look, step, behind = (
            (ended.code, ended.out)
            for ended in (
                self.bench.look(self.session, kind),
                self.bench.on(self.session, kind, *self.STEP),
                self.bench.look(self.session, kind),
            )
        )
        return Source(folder, kind, look, step, behind, [*states, look], older)

    def _damage(self, source: Source, session: Path, rng: Random) -> str:
        path = rng.choice([path for path in sorted(session.rglob(self.NAMES)) if path.is_file()])
        name = path.relative_to(session)
        if source.older and rng.random() < 0.1:
            older = rng.choice(source.older) / name
            if older.is_file():
                shutil.copy(older, path)
            return f"{source.folder.name}: {name} is an older one"
        how, damage = rng.choice([*BYTES.items(), *NO_FILES.items()])
        damage(path, rng)
        return f"{source.folder.name}: {name}, {how}"

    def _judge(self, source: Source) -> Faults:
        look = self.bench.look(self.session, source.kind)
        faults = [*spoken(look, "look"), *_accepted(look, [source.look], "look")]
        step = self.bench.on(self.session, source.kind, *self.STEP)
        faults += [*spoken(step, "step"), *_accepted(step, [source.step], "step")]
        if step.code != 3:
            faults += _accepted(self.bench.look(self.session, source.kind), [source.behind], "look behind the step")
        return faults

    def _recover(self, source: Source) -> Faults:
        """On a second copy, damaged alike."""
        recovered = self.bench.look(self.second, source.kind, "--recover")
        faults = [*spoken(recovered, "--recover"), *_accepted(recovered, source.states, "--recover")]
        if recovered.code != 3:
            again = self.bench.look(self.second, source.kind)
            faults += _accepted(again, source.states, "look behind --recover", refusable=False)
        return faults

    def _get_out(self, source: Source) -> Faults:
        out = self.bench.on(self.session, source.kind, "run", self.bench.script("afresh", AFRESH))
        faults = spoken(out, "reset")
        if out.code or json.loads(out.out.splitlines()[1])["entries"]:
            faults.append(("others", f"no way out by reset: {out}"))
        return faults


def _accepted(ended: Ended, true: list[tuple[int, str]], what: str, refusable: bool = True) -> Faults:
    """Where it is not refused, the answer has to be a true one."""
    if refusable and ended.code == 3 or (ended.code, ended.out) in true:
        return []
    return [("acceptances" if ended.code in (0, 1) else "others", f"{what}: {ended}; true: {true[-1]}")]


def _same(one: Path, other: Path) -> bool:
    """Do both hold the same files? Looked at without opening what is none."""

    def content(folder: Path) -> dict[Path, bytes | None]:
        small = {path: path.is_file() and path.lstat().st_size < 1 << 30 and not path.is_symlink() for path in folder.rglob("*")}
        return {path.relative_to(folder): path.read_bytes() if read else None for path, read in small.items()}

    return content(one) == content(other)


# ---- checkpoints --------------------------------------------------------------------------------------------------------
class Checkpoints(Sessions):
    """The same of nothing but the pages that hold the checkpoint of a simulation and the reference model."""

    NAMES = "pages-*.bin"


# ---- restores -----------------------------------------------------------------------------------------------------------
class Restores:
    """A file of `VerilatorSim.save`, and `restore` of it."""

    def __init__(self, bench: Bench, closing_last: ExitStack):
        self.folder, self.good, self.now = (bench.folder / name for name in ("restores", "whole", "now"))
        self.simulation = closing_last.enter_context(closing(Target("sim", 256).open_simulation()))
        for block in range(20):
            self.simulation.memory_write(block * BLOCK, bytes([block + 1]) * BLOCK)
        self.simulation.save(self.good)
        self.whole = self.good.read_bytes()
        self.text = ""

    def run(self, rng: Random) -> Faults:
        remove(self.folder)
        self.folder.mkdir()
        bad = self.folder / "checkpoint"
        shutil.copy(self.good, bad)
        self.text, damage = rng.choice([*BYTES.items(), *NO_FILES.items()])
        damage(bad, rng)
        if bad.is_file() and bad.stat().st_size == len(self.whole) and bad.read_bytes() == self.whole:
            return self.run(rng)
        try:
            self.simulation.restore(bad)
        except SessionError:
            self.simulation.save(self.now)
            return [] if self.now.read_bytes() == self.whole else [("losses", "refused, and yet the simulation is another one")]
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a fault
            return [("tracebacks", repr(error))]
        return [("acceptances", "restored")]


# ---- inputs -------------------------------------------------------------------------------------------------------------
class Inputs:
    """Files that go bad, and arguments that cannot be meant."""

    def __init__(self, bench: Bench, _: ExitStack):
        self.bench, self.good, self.scratch = bench, bench.folder / "good", bench.folder / "scratch"
        self.good.mkdir()
        self.scratch.mkdir()
        bench.prepare(self.good / "session", "model")
        elsewhere = self.good / "elsewhere"
        bad_inputs.write_good(self.scratch, lambda *words: bench.right(bench.on(elsewhere, "model", *words), str(words)))
        shutil.copytree(self.scratch, self.good, dirs_exist_ok=True)
        self.whole = bench.right(bench.look(self.good / "session", "model"), "look").out
        self.text = ""

    def run(self, rng: Random) -> Faults:
        copy(self.good, self.scratch)
        bad_inputs.make_places(self.scratch)
        drawn = bad_inputs.draw(rng, self.scratch)
        self.text = f"{drawn.what}: kvfpga {' '.join(word[:60] for word in drawn.words)!r}"
        self.ended = ended = self.bench.on(self.scratch / "session", "model", *drawn.words)
        faults = spoken(ended, "command")
        if ended.code == 0 and drawn.never:
            faults.append(("acceptances", f"taken for good: {ended.out[:500]}"))
        look = self.bench.look(self.scratch / "session", "model")
        if look.code:
            faults.append(("losses", f"the session cannot be used any more: {look.err[:500]}"))
        elif ended.code in (2, 3) and drawn.words[:1] != ["run"] and look.out != self.whole:
            faults.append(("losses", f"refused ({ended.code}), and yet the session is another one: {ended.err[:500]}"))
        return faults


# ---- all of it ----------------------------------------------------------------------------------------------------------
SECTIONS: dict[str, tuple[int, Callable[[Bench, ExitStack], Cases]]] = {
    "kills": (500, Kills), "sessions": (200, Sessions), "checkpoints": (300, Checkpoints), "restores": (300, Restores),
    "inputs": (400, Inputs),
}  # fmt: skip
"""How many cases, and what makes them."""


def run(name: str, cases: Cases, numbers: range, seed: int) -> dict[str, object]:
    counts = dict.fromkeys(KINDS, 0)
    began = time.perf_counter()
    for number in shown(numbers, name):
        faults = cases.run(Random(f"{seed} {name} {number}"))
        for kind, what in faults:
            counts[kind] += 1
            print(f"{name}:{number}  {kind}  {cases.text}\n    {what}", file=sys.stderr)
    return {"section": name, "cases": len(numbers), **counts, "seconds": round(time.perf_counter() - began)}


def build_models() -> None:
    """The simulation, and the one that records the waveform of a difference: before anybody's time is limited."""
    target = Target("sim", 256)
    target.open_simulation().close()
    for suffix in SUFFIXES:  # the first that can be built, as a failure folder has it
        with suppress(BuildError):
            target.open_simulation(wave=suffix[1:]).close()
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, (count, _) in SECTIONS.items():
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"default {count}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="SECTION:NUMBER", help="one case again")
    parser.add_argument("--json", action="store_true", help="print one JSON object a section instead of the table")
    options = parser.parse_args()
    wanted = {name: range(getattr(options, name)) for name in SECTIONS}
    if options.only:
        chosen, _, number = options.only.partition(":")
        wanted = {chosen: range(int(number), int(number) + 1)}
    os.environ["KVFPGA_ASSERTIONS"] = "1"
    build_models()
    found = []
    with tempfile.TemporaryDirectory(prefix="kvfpga-soak-") as name, ExitStack() as closing_last:
        folder = Path(name)
        os.environ |= {
            "KVFPGA_KEYS": f"{folder}/scratch/keys",
            "XDG_CONFIG_HOME": f"{folder}/config",
            "XDG_STATE_HOME": f"{folder}/state",
        }
        bench = Bench(folder, closing_last.enter_context(Processes(folder / "scratch")))
        for section, numbers in wanted.items():
            if not numbers:
                continue
            cases = SECTIONS[section][1](bench, closing_last)
            found.append(run(section, cases, numbers, options.seed))
            if options.only:
                print(cases.text, getattr(cases, "ended", ""), file=sys.stderr)
            if options.json:
                print(json.dumps(found[-1]), flush=True)
    if not options.json:
        table = Table(title=f"seed {options.seed}")
        for column in ("section", "cases", *KINDS, "seconds"):
            table.add_column(column, justify="left" if column == "section" else "right")
        for row in found:
            table.add_row(*map(str, row.values()))
        Console().print(table)
    return int(any(row[kind] for row in found for kind in KINDS))


if __name__ == "__main__":
    sys.exit(interruptible(main))
