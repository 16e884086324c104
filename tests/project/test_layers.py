"""Who may import whom: the folders of host/ are layers, and no modules import each other in a circle.

The rules are the table below; docs/architecture.md tells why. Imports inside functions count, whether for type checkers or not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.places import HOST

BELOW_LOCKSTEP = ("contract", "model", "hepc_ref", "transport", "uart_bridge", "pcie_mmio", "node_mmio", "device")
BELOW_TARGETS = (*BELOW_LOCKSTEP, "lockstep")
BELOW_SESSION = (*BELOW_TARGETS, "targets", "blackbox")
ALLOWED: dict[str, tuple[str, ...]] = {
    "contract": (),
    "model": ("contract",),
    "hepc_ref": ("model", "contract"),
    "transport": ("contract",),
    "uart_bridge": ("transport", "contract"),
    "pcie_mmio": ("transport", "device.regmap", "contract"),
    "node_mmio": ("transport", "device.regmap", "device.codec", "contract"),
    "device": ("transport.mmio", "contract"),
    "rtl": ("transport", "contract"),
    "lockstep": ("device", "model", "hepc_ref", "contract"),
    "targets": BELOW_TARGETS,
    "blackbox": (*BELOW_TARGETS, "targets"),
    "session": BELOW_SESSION,
    "bringup": BELOW_TARGETS,
    "policy": ("contract",),
    "lab": ("policy", "contract"),
    "claims": ("transport", "device", "lockstep", "lab", "contract"),
    "linux": (*BELOW_SESSION, "session"),
    "monitor": (*BELOW_SESSION, "session"),
    "integrations": ("lockstep", "targets.target", "linux.ioctls", "policy", "contract"),
    "cli": (*BELOW_SESSION, "session", "bringup", "policy", "lab", "claims", "linux", "monitor", "integrations"),
    "__init__": (*BELOW_SESSION, "session", "lab"),
    "__main__": ("cli.main",),
}
"""What the modules of a folder (or the one module of that name) may import, besides their own folder."""


class Import(NamedTuple):
    """`module` imports `name`, both from host/ on; `for_types`: only a type checker sees it."""

    module: str
    name: str
    line: int
    for_types: bool


def modules(root: Path) -> dict[str, Path]:
    """Every module by its dotted name from `root` on; a package by its folder's name, the root itself as __init__."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)] = path
    return found


def imports(module: str, path: Path, known: set[str]) -> Iterator[Import]:
    """Every import of one of the project's own modules, wherever it stands in the file."""
    inside = module.split(".") if path.name == "__init__.py" and module != "__init__" else module.split(".")[:-1]

    def walk(node: ast.AST, for_types: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                package, _, name = alias.name.partition(".")
                if package == "kvfpga":
                    yield Import(module, name or "__init__", node.lineno, for_types)
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "kvfpga"):
            named = node.module.split(".") if node.module else []
            base = [*inside[: len(inside) - node.level + 1], *named] if node.level else named[1:]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield Import(module, whole if whole in known else ".".join(base) or "__init__", node.lineno, for_types)
        for child in ast.iter_child_nodes(node):
            is_block = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            yield from walk(child, for_types or (is_block and child in node.body))

    yield from walk(ast.parse(path.read_text()), False)


def all_imports(root: Path) -> list[Import]:
    known = modules(root)
    return [found for module, path in known.items() for found in imports(module, path, set(known))]


def breaches(found: list[Import]) -> list[str]:
    """Imports that the table does not allow."""
    told = []
    for module, name, line, _ in found:
        layer, other = module.split(".")[0], name.split(".")[0]
        if layer not in ALLOWED:
            told.append(f"{module}: the folder {layer} has no row in the table")
        elif other != layer and not any(name == allowed or name.startswith(f"{allowed}.") for allowed in ALLOWED[layer]):
            told.append(f"{module}, line {line}: {layer} must not import {name}")
    return told


def circles(found: list[Import]) -> list[list[str]]:
    """Groups of modules that import each other at run time, directly or by way of others."""
    graph: dict[str, set[str]] = {}
    for module, name, _, for_types in found:
        if not for_types:
            graph.setdefault(module, set()).add(name)
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen, pending = set(), list(graph[start])
        while pending:
            if (now := pending.pop()) not in seen:
                seen.add(now)
                pending += graph.get(now, ())
        reach[start] = seen
    groups = {tuple(sorted(m for m in reach[start] if start in reach.get(m, ()))) for start in graph if start in reach[start]}
    return [list(group) for group in sorted(groups)]


def test_every_import_is_allowed():
    assert breaches(all_imports(HOST)) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(all_imports(HOST)) == []


def test_every_row_of_the_table_is_a_folder_or_module():
    assert set(ALLOWED) == {name.split(".")[0] for name in modules(HOST)}


# ---- the test itself ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
    """Writes a small package: {file: text}."""

    def write(files: dict[str, str]) -> list[Import]:
        for name, text in {"__init__.py": "", **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()
        return all_imports(tmp_path)

    return write


@pytest.mark.parametrize("text", [
    "from ..lockstep import report",
    "from ..lockstep.report import Report",
    "import kvfpga.lockstep.report",
    "from kvfpga.lockstep.report import Report",
    "from kvfpga.lockstep import report",
    "def f():\n    from ..lockstep.report import Report",
    "if TYPE_CHECKING:\n    from ..lockstep.report import Report",
    "class A:\n    def f(self):\n        if self:\n            from ..lockstep import report",
])  # fmt: skip
def test_a_forbidden_import_is_told(tree, text):
    found = tree({"device/a.py": text, "lockstep/report.py": ""})
    assert len(breaches(found)) == 1 and "device must not import lockstep.report" in breaches(found)[0]


def test_only_the_named_module_of_a_layer_is_allowed(tree):
    found = tree({"device/a.py": "from ..transport.mmio import Mmio\nfrom ..transport.recording import X",
                  "transport/mmio.py": "", "transport/recording.py": ""})  # fmt: skip
    assert breaches(found) == ["device.a, line 2: device must not import transport.recording"]


def test_a_folder_without_a_row_is_told(tree):
    assert breaches(tree({"fresh/a.py": "from . import b", "fresh/b.py": ""})) == [
        "fresh.a: the folder fresh has no row in the table"
    ]


def test_a_circle_through_a_function_is_told(tree):
    found = tree({"model/a.py": "from . import b", "model/b.py": "from .c import x",
                  "model/c.py": "def f():\n    from .a import y"})  # fmt: skip
    assert circles(found) == [["model.a", "model.b", "model.c"]]


def test_a_circle_for_type_checkers_alone_is_none(tree):
    assert circles(tree({"model/a.py": "from .b import x", "model/b.py": "if TYPE_CHECKING:\n    from .a import y"})) == []
