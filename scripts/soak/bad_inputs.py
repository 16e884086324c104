"""Malformed files and arguments for every command that takes some, for damage.py: `draw` gives one.

Files begin as good ones, and are damaged (damages.py). Arguments are drawn for the options that a command says it has, so a new
command is met without a word here.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

import click
import numpy as np
from numpy.lib import format as npy

from kvfpga.cli.main import cli
from scripts.soak.damages import BYTES, NASTY, NO_FILES, NO_TEXTS, TEXTS, Damage

BLOCK = 16384
LOAD = ["load", "--request", "9", "--layer", "0", "--head", "0", "--tokens", "0:31", "--va", "0x123450000"]
FILE = "FILE"


class Reader(NamedTuple):
    """A command that reads a file: the name of a good one, the words with FILE in them. `any_bytes`: takes whatever a file has.
    `keeps`: takes lines over as they are. `pipes`: may wait for what comes through a pipe (D29). `may_lack`: may be gone."""

    name: str
    words: list[str]
    any_bytes: bool = False
    keeps: bool = False
    pipes: bool = False
    may_lack: bool = False


READERS = [
    *(Reader(f"blocks.{kind}", ["load", FILE]) for kind in ("csv", "yaml", "json", "jsonl")),
    Reader("block.npy", [*LOAD, "--data", FILE]),
    Reader("block.npy", ["mem", "write", "0", "--data", FILE]),
    Reader("bytes.bin", ["mem", "write", "0x100", "--data", FILE], any_bytes=True),
    Reader("script.kvfpga", ["run", FILE], pipes=True),
    *(Reader(name, ["replay", "--limit", "5", FILE]) for name in ("mooncake.jsonl", "bailian.jsonl", "tester.json")),
    Reader("board.yaml", ["board", "show", FILE]),
    Reader("board.yaml", ["--board", FILE, "info"]),
    Reader("recording.jsonl", ["handoff", FILE]),
    Reader("keys/key", ["keys", "show"]),
    Reader("keys/authorized", ["keys", "show"], may_lack=True),
    Reader("keys/servers", ["keys", "trust", "tcp://localhost:9", "ab" * 32], keeps=True, may_lack=True),
]


def write_good(folder: Path, record: Callable[..., object]) -> None:
    """The files of READERS, as they should be. `record(*words)` runs a command of kvfpga."""
    row = {"request": 1, "layer": 0, "head": 0, "tokens": "0:31", "va": "0x7f000000", "tier": 1, "data": "block.npy"}
    rows = [row | {"tokens": f"{32 * n}:{32 * n + 31}", "va": hex(0x7F000000 + n * BLOCK)} for n in range(4)]
    (folder / "blocks.csv").write_text("\n".join([",".join(row), *(",".join(map(str, one.values())) for one in rows)]) + "\n")
    (folder / "blocks.json").write_text(json.dumps(rows))
    (folder / "blocks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "blocks.yaml").write_text("".join("- {" + ", ".join(f"{k}: {v}" for k, v in one.items()) + "}\n" for one in rows))
    np.save(folder / "block.npy", np.ones((2, 32, 128), np.float16))
    (folder / "bytes.bin").write_bytes(bytes(range(256)))
    (folder / "script.kvfpga").write_text("# a script\nstep 3\nload blocks.csv\nhot 0x7f000000 4096\ntelemetry\ndump\n")
    requests = [{"timestamp": 100 * n, "input_length": 1500, "output_length": 9, "hash_ids": [0, 1, n]} for n in range(9)]
    (folder / "mooncake.jsonl").write_text("".join(json.dumps(one) + "\n" for one in requests))
    chats = [one | {"timestamp": n + 0.5, "chat_id": n, "parent_chat_id": -1, "turn": 1} for n, one in enumerate(requests)]
    (folder / "bailian.jsonl").write_text("".join(json.dumps(one) + "\n" for one in chats))
    spoken = [{"t": n, "in": 200, "out": 9, "type": "n", "hash_ids": [0, n]} for n in range(5)]
    (folder / "tester.json").write_text(json.dumps({"id": "a", "block_size": 64, "hash_id_scope": "local", "requests": spoken}))
    (folder / "board.yaml").write_text(
        "description: one\ntarget: uart:/dev/nothing@3000000\nbuild:\n  entries: 256\n  lanes: 1\n  data_bits: 64\n"
        "  block_tokens: 32\n  head_dim: 2\n  id: 0x0123456789abcdef\ntiers: [0x0, 0x10000, 0x20000, 0x30000]\n"
    )
    (folder / "keys").mkdir(exist_ok=True)
    record("keys", "create")
    record("keys", "authorize", "cd" * 32, "somebody")
    record("keys", "trust", "tcp://localhost:9", "ab" * 32)
    record("--record", folder / "recording.jsonl", "--target", "sim", "reset", "--raw")


# ---- arrays -------------------------------------------------------------------------------------------------------------
DTYPES = [
    "<f8", ">f2", ">u2", "<c8", "|O", "<U5", "|S3", "<M8[s]", "|b1", "|V16", "<f2", [("a", "<f2"), ("b", "<u4")], "none", 7,
]  # fmt: skip
SHAPES = [(), (0,), (-1,), (2, 32, 128), (1 << 40,), (1 << 62, 4), (10**30,), (8192,), (1,) * 40, (1,) * 3000, "x", (2.5,), None]


def _array(path: Path, rng: Random) -> None:
    """A header that says anything, before bytes that may be NaN."""
    header = {"descr": rng.choice(DTYPES), "fortran_order": rng.choice([True, False, "x"]), "shape": rng.choice(SHAPES)}
    text = rng.choice([repr(header), repr(header), "(" * 5000, "{" * 90, "__import__('os')", "[1]*10**9", "9" * 9000, "'\\x'"])
    head = io.BytesIO()
    major, width, most = rng.choice([(1, 2, 1 << 15), (9, 2, 1 << 15), (2, 4, (1 << 32) - 1), (3, 4, (1 << 32) - 1)])
    head.write(npy.magic(major, 0) + rng.choice([len(text), most]).to_bytes(width, "little") + text.encode())
    path.write_bytes(head.getvalue() + np.full(BLOCK // 2, np.nan, np.float16).tobytes()[: rng.choice([0, 5, BLOCK])])


# ---- arguments ----------------------------------------------------------------------------------------------------------
ENDLESS = {"serve", "serve uart", "serve xdma", "top", "follow", "demo"}
"""Commands that go on where their arguments are right, or work for long. They get what is in ENDS."""
ENDS = [
    ["top", "--count", FILE], ["top", "--once", "--interval", FILE], ["serve", FILE], ["serve", "--listen", FILE],
    ["serve", "--uapi", "nothing/there/node", "--sysfs", FILE], ["board", "serve", "uart", "--entries", FILE],
    ["board", "serve", "uart", "--flip", FILE, "--entries", "1"], ["board", "serve", "uart", "--inject", FILE, "--entries", "1"],
    ["board", "serve", "xdma", FILE, "--entries", "1"],
    ["follow", FILE, "--patience", "0.2"], ["follow", "--bind", FILE, "--patience", "0.2"],
    *(["follow", "tcp://127.0.0.1:1", "--patience", "0.2", option, FILE] for option in ("--replay", "--rank", "--step-every")),
    ["follow", "tcp://127.0.0.1:1", "--count", "0", "--patience", FILE],
    *([option, FILE, "step", "3"] for option in ("--target", "--entries", "--lanes", "--board", "--record")),
    *([option, FILE, "step", "3"] for option in ("--trace", "--session")),
]  # fmt: skip
PLACES = [
    "",
    "nothing",
    "pipe",
    "loop",
    "folder",
    "file/below",
    "/proc/self/mem",
    "/dev/full",
    "n" * 5000,
    "n\udcff",
    "a\nb",
    "file",
]
VALUES = [
    *NASTY, *PLACES, "0", "1", "3", "255", "256", "65535", "65536", "4294967295", "18446744073709551615", "0:31", "31:0", "-0",
    "+1", "1 ", " 1", "1_000", "0b1", "0o7", "1e3", "-5", "0x7f000000", "uart:", "xdma:", "tcp://", "tcp://:0", "tcp://[::1",
    "tcp://a:99999", "unix:", "model", "sim", "uart:nothing@x", "xdma:folder", "unix:file", "tcp://127.0.0.1:1",
]  # fmt: skip


def argument(rng: Random) -> str:
    """NUL ends an argument: no process can be handed one."""
    return rng.choice(VALUES).replace("\0", "")[:100_000]


def commands(group: click.Group = cli, before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """All of them, with the words that name them."""
    found = []
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        if isinstance(command, click.Group):
            found += commands(command, (*before, name))
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.append(((*before, name), command))
    return [(words, command) for words, command in found if " ".join(words[-2:]) not in ENDLESS and words[-1] not in ENDLESS]


def make_places(folder: Path) -> None:
    """What PLACES name; some are gone after one command or another."""
    (folder / "file").write_text("a file\n")
    (folder / "folder").mkdir(exist_ok=True)
    for name, make in (("pipe", "pipe"), ("loop", "loop of links")):
        NO_FILES[make](folder / name, Random(0))


def drawn(rng: Random) -> list[str]:
    """Arguments for some command."""
    if rng.random() < 0.3:
        return [argument(rng) if word == FILE else word for word in rng.choice(ENDS)]
    words, command = rng.choice(commands())
    given = list(words)
    for option in command.params:
        if isinstance(option, click.Option):
            if option.name != "help" and rng.random() < 0.3:
                given += [option.opts[0]] if option.is_flag else [option.opts[0], argument(rng)]
        elif rng.random() < 0.9:
            given.append(argument(rng))
    return given


class Drawn(NamedTuple):
    """One bad input. `never`: it may not be taken for good."""

    what: str
    words: list[str]
    never: bool


def draw(rng: Random, scratch: Path) -> Drawn:
    """One of the files in `scratch` goes bad, or arguments."""
    if rng.random() < 0.3:
        return Drawn("arguments", drawn(rng), False)
    reader = rng.choice(READERS)
    damages: list[tuple[str, Damage, bool]] = [
        (how, damage, True) for how, damage in NO_FILES.items() if not (reader.pipes and how == "pipe")
    ]
    damages += [(how, damage, False) for how, damage in BYTES.items()]
    if reader.name.endswith(".npy"):
        damages += [("array", _array, False)] * 12
    elif not reader.any_bytes:
        damages += [(how, damage, False) for how, damage in TEXTS.items()] * 3
        damages += [(how, damage, not reader.keeps) for how, damage in NO_TEXTS.items()]
    how, damage, never = rng.choice(damages)
    path = scratch / reader.name
    damage(path, rng)
    never &= not (reader.may_lack and how in ("gone", "link to nothing"))
    return Drawn(f"{reader.name}, {how}", [str(path) if word == FILE else word for word in reader.words], never)
