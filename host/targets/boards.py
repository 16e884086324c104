"""Boards as data: one YAML file says how a board is reached, what was built for it, and where its tiers lie.

    description: ULX3S, bring-up build over the USB serial port
    target: uart:/dev/ttyUSB0@3000000        # or xdma:DIR; `--target` beside `--board` overrides it
    build:                                   # the parameters of the design (contract section 1)
      entries: 256
      lanes: 1
      data_bits: 64
      block_tokens: 32
      head_dim: 2
      classes: 16
      nmce: false                            # the compute engine (R36); left out: where it fits
      id: 0x0123456789abcdef                 # BUILD_ID, only where it is not the hash of this kvfpga's RTL
    bars:                                    # xdma only: where BAR0 and BAR2 of the contract lie in the user BAR
      bar0: 0x0
      bar2: 0x400000
      bytes: 0x800000                        # size of the user BAR, where sysfs cannot tell
    memory_offset: 0x0                       # xdma only: what to add to a device address for the DMA nodes
    tiers: [0x0, 0x10000, 0x20000, 0x30000]  # TIER_BASE0..3, programmed by `reset`
    program:                                 # for `kvfpga program`
      bitstream: build/ulx3s/kvcpu_ulx3s.bit
      board: ulx3s
      cable: ft232RL

`--board NAME` looks for NAME.yaml in the folder that KVFPGA_BOARDS names, in `boards` of the user's configuration folder, and
among the files that come with kvfpga (fpga/boards), then among those of plugins (contract/plugins.py); NAME may be a path as
well. Everything wrong in a file is told at once, with line, key and what is allowed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import folders, inputs, plugins
from ..contract.errors import UsageError
from ..contract.parameters import BLOCK_BYTES, LIMITS, Parameters, choices
from ..contract.wording import short
from ..transport.sim.build import build_id, rtl_root
from .kinds import IN_FILES

if TYPE_CHECKING:
    from yaml.nodes import Node

NUMBER = {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["target", "build"],
    "properties": {
        "description": {"type": "string"},
        "target": {"type": "string", "pattern": f"^({'|'.join(IN_FILES)}):."},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "required": ["entries", "lanes", "data_bits"],
            "properties": {
                **{name: {"enum": choices(name)} for name in LIMITS},
                "nmce": {"type": "boolean"},
                "id": NUMBER,
            },
        },
        "bars": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "bar0": {**NUMBER, "multipleOf": 4},
                "bar2": {**NUMBER, "multipleOf": 4},
                "bytes": {**NUMBER, "minimum": 4096},
            },
        },
        "memory_offset": NUMBER,
        "tiers": {"type": "array", "items": NUMBER, "minItems": 4, "maxItems": 4},
        "program": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "bitstream": {"type": "string"},
                "board": {"type": "string"},
                "cable": {"type": "string"},
            },
        },
    },
}
"""JSON Schema of a board file."""


@dataclass(frozen=True)
class Board:
    """`file` is where it came from. `build_id` None: that of this kvfpga's RTL with these parameters. `bar_offsets`: of BAR0
    and BAR2 in the user BAR; `bar_bytes` None: sysfs tells. `tiers` None: the reset values of TIER_BASE."""

    name: str
    file: Path
    description: str
    target: str
    parameters: Parameters
    build_id: int | None = None
    bar_offsets: tuple[int, int] = (0, 0x400000)
    bar_bytes: int | None = None
    memory_offset: int = 0
    tiers: tuple[int, int, int, int] | None = None
    bitstream: Path | None = None
    program_board: str | None = None
    program_cable: str | None = None

    def expected_build_id(self, sources: list[Path] | None = None) -> int:
        return build_id(self.parameters, sources) if self.build_id is None else self.build_id


# ---- finding -----------------------------------------------------------------------------------------------------------


def board_folders() -> list[Path]:
    """Where board files are looked for, first match first."""
    own = [Path(os.environ["KVFPGA_BOARDS"])] if os.environ.get("KVFPGA_BOARDS") else []
    return [*own, folders.config() / "boards", rtl_root() / "boards"]


def known() -> dict[str, str]:
    """Every board by its name, plugins' too, and where it comes from. None of them is read."""
    brought = {name: f"of {plugins.package(plugins.BOARDS, name)}" for name in plugins.names(plugins.BOARDS)}
    return brought | {name: str(path) for name, path in _own().items()}


def _own() -> dict[str, Path]:
    """Those in the folders."""
    found: dict[str, Path] = {}
    for folder in board_folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


@cache
def find_board(name: str) -> Board:
    """The board of that name, or of the file at that path. UsageError where there is none, or where it is wrong."""
    try:
        path = Path(name)
    except TypeError:
        raise UsageError(f"board {name!r} is not text", "give the name of a board, or the path of its file") from None
    if path.suffix not in (".yaml", ".yml"):
        found = _own().get(name) or plugins.load(plugins.BOARDS, name, Path)
        if found is None:
            raise UsageError(
                f"--board {name}: no such board; there are {', '.join(sorted(known())) or 'none'}",
                "name one of them, or a board file ending in .yaml (`kvfpga board --help`)",
            )
        path = found
    return load(path)


# ---- reading -----------------------------------------------------------------------------------------------------------


def load(path: Path) -> Board:
    """One board file. UsageError lists everything that is wrong in it."""
    from ..contract import strict_yaml

    try:
        content, tree = strict_yaml.values(inputs.read_text(path))
    except ValueError as error:
        raise UsageError(f"board file {path}, {error}", "it must be plain YAML: names, numbers in decimal or 0x, text") from None
    problems = _problems(content, tree)
    if problems:
        raise UsageError(
            "\n".join(f"board file {path}, line {line}: {text}" for line, text in problems),
            "`kvfpga board show NAME` of a board that comes with kvfpga shows a complete file",
        )
    build, bars, program = content["build"], content.get("bars", {}), content.get("program", {})
    bitstream = program.get("bitstream")
    return Board(
        name=path.stem,
        file=path,
        description=content.get("description", ""),
        target=content["target"],
        parameters=_parameters(content),
        build_id=build.get("id"),
        bar_offsets=(bars.get("bar0", 0), bars.get("bar2", 0x400000)),
        bar_bytes=bars.get("bytes"),
        memory_offset=content.get("memory_offset", 0),
        tiers=tuple(content["tiers"]) if "tiers" in content else None,
        bitstream=Path(bitstream) if bitstream else None,
        program_board=program.get("board"),
        program_cable=program.get("cable"),
    )


def _parameters(content: dict[str, Any]) -> Parameters:
    return Parameters(**{key: value for key, value in content["build"].items() if key != "id"})


def _problems(content: Any, tree: Node | None) -> list[tuple[int, str]]:
    """(line, what is wrong there and what is allowed), in the order of the lines."""
    from jsonschema import Draft202012Validator

    found = []
    for error in Draft202012Validator(SCHEMA).iter_errors(content):
        path = list(error.absolute_path)
        if error.validator == "additionalProperties":
            for key in sorted(set(error.instance) - set(error.schema["properties"]), key=str):
                allowed = ", ".join(error.schema["properties"])
                found.append((_line(tree, [*path, key]), f"{_dotted([*path, key])} is no key; allowed are {allowed}"))
        elif error.validator == "required":
            missing = next(key for key in error.validator_value if f"'{key}'" in error.message)
            allowed = _allowed(error.schema["properties"][missing])
            found.append((_line(tree, path), f"{_dotted([*path, missing])} is missing: {allowed}"))
        else:
            is_value = not isinstance(error.instance, (dict, list))
            shown = f"{short(repr(error.instance))} is not allowed" if is_value else "is not right"
            found.append((_line(tree, path), f"{_dotted(path) or 'the file'}: {shown}; {_allowed(error.schema)}"))
    if not found:
        found += _beyond_schema(content, tree)
    return sorted(found)


def _beyond_schema(content: dict[str, Any], tree: Node | None) -> list[tuple[int, str]]:
    """What one key says about another."""
    found = []
    try:
        size = _parameters(content).block_bytes
    except UsageError as error:
        return [(_line(tree, ["build", "nmce"]), f"build.nmce: {error.message}")]
    least, most = BLOCK_BYTES
    if not least <= size <= most:
        text = f"build: a block has 4 * block_tokens * head_dim = {size} bytes; allowed are {least} to {most}"
        found.append((_line(tree, ["build"]), text))
    elif any(base % size for base in content.get("tiers", ())):
        found.append((_line(tree, ["tiers"]), f"tiers: each must be a multiple of the {size} bytes of a block"))
    if content["target"].startswith("uart:"):
        for key in ("bars", "memory_offset"):
            if key in content:
                found.append((_line(tree, [key]), f"{key}: a serial port has none; allowed with target xdma:DIR"))
    return found


def _allowed(schema: Any) -> str:
    if "enum" in schema:
        return "allowed are " + ", ".join(map(str, schema["enum"]))
    if "pattern" in schema:
        return "allowed is " + " or ".join(IN_FILES.values())
    match schema.get("type"):
        case "boolean":
            return "allowed are true, false"
        case "object":
            return "a mapping with " + ", ".join(schema["properties"])
        case "array":
            return "a list of four addresses"
        case "integer":
            step = f", multiple of {schema['multipleOf']}" if "multipleOf" in schema else ""
            return f"allowed is a number from {schema['minimum']:#x} to {schema['maximum']:#x}{step}"
    return "allowed is text"


def _dotted(path: list[str | int]) -> str:
    return ".".join(map(str, path))


def _line(node: Node | None, path: list[str | int]) -> int:
    """The line of a key or item, counted from 1; that of its parent where the file does not have it."""
    from yaml.nodes import MappingNode, SequenceNode

    line = node.start_mark.line if node else 0
    for step in path:
        below = None
        if node and isinstance(node.value, list):
            if isinstance(step, int) and isinstance(node, SequenceNode):
                below = node.value[step] if step < len(node.value) else None
                line = below.start_mark.line if below else line
            elif isinstance(node, MappingNode):
                for key, value in node.value:
                    if key.value == str(step):
                        below, line = value, key.start_mark.line
        if below is None:
            break
        node = below
    return line + 1
