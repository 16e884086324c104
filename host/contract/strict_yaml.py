"""YAML as board files and block files need it: plain values, lists and mappings (D29).

Aliases let a few hundred bytes stand for gigabytes; tags and YAML's own idea of dates, floats and numbers to base 60 make values
that nobody meant. There are none of them here: a number is decimal or 0x, all else is text, true, false or null.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

DEEPEST = 20
"""Levels of lists and mappings in each other. A board file has three."""
MOST_NODES = 2_000_000
"""Values in one file: a block file of 65,536 rows has half of that."""


class _Strict:
    """Refuses while it composes, before anything grows."""

    depth = 0
    nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[attr-defined]
        if isinstance(event, AliasEvent):
            raise _wrong("aliases (*name) are not read; write the value out", event.start_mark)
        if event.tag not in (None, "!"):
            raise _wrong(f"tags ({event.tag[:40]}) are not read; leave it out", event.start_mark)
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _wrong(f"more than {MOST_NODES:,} values in one file; split it", event.start_mark)
        if self.depth >= DEEPEST:
            raise _wrong(f"nested deeper than {DEEPEST} levels", event.start_mark)
        self.depth += 1
        node: Node | None = super().compose_node(parent, index)  # type: ignore[misc]
        self.depth -= 1
        if isinstance(node, MappingNode):
            _check_keys(node)
        return node


class _Texts(_Strict, yaml.BaseLoader):
    """Leaves every value as text."""


class _Values(_Strict, yaml.SafeLoader):
    """Knows numbers, true, false and null."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


_Values.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Values.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Values.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"(?:-?(?:0|[1-9][0-9]{0,19})|0x[0-9a-fA-F]{1,16})$"), list("-0123456789")
)


def texts(text: str) -> Any:
    """The content of a file with every value as text. ValueError where it is not that kind of YAML."""
    return _load(text, _Texts)[0]


def values(text: str) -> tuple[Any, Node | None]:
    """The content of a file, and its nodes, which know their lines. ValueError likewise."""
    return _load(text, _Values)


def _load(text: str, kind: type[Any]) -> tuple[Any, Node | None]:
    try:
        loader = kind(text)
        node = loader.get_single_node()
        return (None if node is None else loader.construct_document(node)), node
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(line + str(getattr(error, "problem", None) or str(error).splitlines()[0])) from None


def _check_keys(node: MappingNode) -> None:
    names = set()
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise _wrong("a name must be one word", key.start_mark)
        if key.value in names:
            raise _wrong(f"{key.value[:40]!r} stands twice", key.start_mark)
        names.add(key.value)


def _wrong(what: str, mark: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=mark)
