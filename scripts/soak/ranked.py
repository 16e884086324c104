"""The ranked policy beside a real vLLM: chats in, decisions out, told from inside and seen from outside.

    python -m scripts.soak.ranked                             60 rounds; the first time it installs vLLM, as scripts.soak.follow
    python -m scripts.soak.ranked --rounds 200 --seed 4

An engine with prefix caching serves chats (sessions of some turns that share a few system prompts, and single long prompts that
nobody repeats), more at once than it runs. A `KvCpuConnector` in it tells a device what is queued, runs and ends, over a socket:
the Verilated RTL, which `kvfpga serve` shares, in lockstep with a reference in the engine. At the same time `kvfpga follow
--policy ranked`, from outside, makes what it can of the engine's events, on a simulation of its own.

Shown are the hits of both in tier 1 beside LRU's, on the touches that each has seen. Exit code 1 where device and reference
differ anywhere, nothing was announced or FINAL, no table was learnt, or `follow` has not heard every batch.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from random import Random

from scripts.interrupt import interruptible
from scripts.soak.follow import VERSION, Engine, begin, install, options_about, tokens
from scripts.soak.progress import shown

ENTRIES, T1_CAPACITY = 1024, 128
STEP_MS = 40.0
"""About what a step of this engine takes."""
SYSTEM_PROMPTS, SESSIONS = 5, 30
ONCE = 0.3
"""The share of prompts that nobody repeats."""
LONGEST = 900
"""Tokens of a session that goes on: the model reads 1,024."""
KVFPGA = (sys.executable, "-m", "kvfpga.cli.main", "--json", "--entries", str(ENTRIES))


class Chats:
    """Sessions take turns; those that end are followed by new ones."""

    def __init__(self, rng: Random):
        self._rng = rng
        self._system = [tokens(rng, rng.randint(64, 320)) for _ in range(SYSTEM_PROMPTS)]
        self._sessions = [self._new() for _ in range(SESSIONS)]

    def _new(self) -> list[int]:
        weights = [1 / (place + 1) for place in range(SYSTEM_PROMPTS)]
        return list(self._rng.choices(self._system, weights)[0])

    def turns(self, most: int) -> tuple[list[list[int]], list[int], list[int | None]]:
        """Prompts, the places of those that end their session, and each one's session (None: of none)."""
        rng = self._rng
        whose = [None if rng.random() < ONCE else one for one in rng.sample(range(SESSIONS), rng.randint(2, most))]
        prompts, final = [], []
        for place, one in enumerate(whose):
            if one is None:
                prompts.append(tokens(rng, rng.randint(100, 600)))
                final.append(place)
                continue
            prompts.append(self._sessions[one] + tokens(rng, rng.randint(20, 120)))
            if len(prompts[-1]) > LONGEST - 200 or rng.random() < 0.15:
                final.append(place)
        return prompts, final, whose

    def answered(self, prompts: list[list[int]], answers: list[list[int]], final: list[int], whose: list[int | None]) -> None:
        for place, one in enumerate(whose):
            if one is not None:
                self._sessions[one] = self._new() if place in final else prompts[place] + answers[place]


def serving(folder: Path) -> subprocess.Popen[str]:
    """A device for the engine, to be interrupted."""
    command = [*KVFPGA, "--session", str(folder / "shared"), "serve", "--listen", f"unix:{folder / 'device'}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (folder / "device").exists():
        if process.poll() is not None:
            raise SystemExit(f"kvfpga serve has ended with {process.returncode}")
        time.sleep(0.1)
    return process


def following(folder: Path, engine: Engine) -> subprocess.Popen[str]:
    """`kvfpga follow`, to be interrupted."""
    command = [*KVFPGA, "--session", str(folder / "followed"), "follow", engine.endpoint, "--replay", engine.replay]
    command += ["--policy", "ranked", "--t1-capacity", str(T1_CAPACITY), "--step-ms", str(STEP_MS), "--report", "10"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=600)
    return process.returncode, out or ""


def main() -> int:
    parser = options_about(__doc__.splitlines()[0])
    parser.add_argument("--no-announce", action="store_true", help="FINAL alone: LRU cannot know what comes, either")
    options = parser.parse_args()
    folder = begin(options)
    python, rng = install(folder), Random(options.seed)
    chats = Chats(rng)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        device = serving(scratch)
        stack.callback(device.wait)
        stack.callback(device.terminate)
        connector = {"target": f"unix:{scratch / 'device'}", "t1_capacity": T1_CAPACITY, "step_ms": STEP_MS}
        connector["announces"] = not options.no_announce
        engine = stack.enter_context(closing(Engine(folder, python, connector)))
        follow = following(scratch, engine)
        stack.callback(follow.wait)
        stack.callback(follow.terminate)
        requests = asked = cached = 0
        for _ in shown(range(options.rounds), "rounds"):
            prompts, final, whose = chats.turns(14)
            engine.round(prompts=prompts, tokens=rng.randint(10, 80), final=final)
            chats.answered(prompts, engine.found["answers"], final, whose)
            requests += len(prompts)
            asked += sum(map(len, prompts))
            cached += engine.found["cached"]
        told = engine.found["decided"]
        time.sleep(3)  # until an idle follower has asked the replay
        code, out = ended(follow)
    *intervals, seen = [json.loads(line) for line in out.splitlines()] or [{}]
    found = {
        "vllm": VERSION, "seed": options.seed, "rounds": options.rounds, "requests": requests, "t1_capacity": T1_CAPACITY,
        "vllm_cached_share": cached / asked, "told": told, "seen": seen, "intervals": intervals,
    }  # fmt: skip
    wrong = [
        name for name, right in {
            "differences": told["differences"] == 0 and told["checks"] > 0, "requests": told["requests"] == requests,
            "announced": (told["announced"] == requests and told["telemetry"]["prefetch_count"] > 0) != options.no_announce,
            "final": told["finals"] > 0 and told["final_blocks"] > 0, "tables": told["tables"] > 1,
            "follow": code == 0 and seen.get("batches") == engine.published and seen.get("tables", 0) > 1,
        }.items() if not right
    ]  # fmt: skip
    print(json.dumps(found | {"wrong": wrong}) if options.json else "\n".join(lines(found)))
    for name in wrong:
        print(f"not as it should be: {name} (follow ended with {code})", file=sys.stderr)
    return int(bool(wrong))


def lines(found: dict) -> list[str]:
    told, seen = found["told"], found["seen"]
    written = [f"{name:18} {found[name]}" for name in ("vllm", "seed", "rounds", "requests", "t1_capacity")]
    written.append(f"{'in vLLM’s cache':18} {found['vllm_cached_share']:.1%} of the prompts’ tokens")
    for name, one in (("told from inside", told), ("seen from outside", seen)):
        written.append(
            f"{name:18} {one['requests']} requests, {one['touches']} touches: ranked {one['hit_rate']:.2%}, LRU "
            f"{one['lru_hit_rate']:.2%}; {one['tables']} tables, {one['evictions']} evicted, {one['prefetches']} fetched, "
            f"θ {one['theta']}, pool {one['pool']}"
        )
    written.append(
        f"{'told besides':18} {told['announced']} announced ({told['telemetry']['prefetch_count']} PREFETCH), "
        f"{told['finals']} FINAL ({told['final_blocks']} of {told['entries']} blocks have their classes)"
    )
    written.append(f"{'lockstep':18} {told['checks']} checks, {told['differences']} differences")
    return written


if __name__ == "__main__":
    sys.exit(interruptible(main))
