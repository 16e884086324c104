"""What other packages add to kvfpga, by entry points: a name in a group, and the object that it stands for.

    [project.entry-points."kvfpga.targets"]
    pcie2 = "my_package.target:KIND"            # a targets.kinds.Kind: --target pcie2:ADDRESS
    [project.entry-points."kvfpga.boards"]
    lab7 = "my_package.boards:LAB7"             # the pathlib.Path of a board file: --board lab7
    [project.entry-points."kvfpga.policies"]
    mine = "my_package.policy:MINE"             # a lab.policies.contender.Contender: kvfpga lab run --policy mine
    [project.entry-points."kvfpga.trace_formats"]
    ours = "my_package.traces:OURS"             # a lab.trace_formats.Foreign: kvfpga replay FILE

kvfpga's own names come first, and nothing is searched for while they suffice: looking through what is installed takes longer than
a command does. A plugin that cannot be loaded, is not what its group holds, or has a name that two packages bring, is a
UsageError that names its package. Lists leave it out and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from .errors import UsageError, in_brief

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

TARGETS, BOARDS, POLICIES, TRACE_FORMATS = "kvfpga.targets", "kvfpga.boards", "kvfpga.policies", "kvfpga.trace_formats"
Found = TypeVar("Found")


class Plugin(NamedTuple):
    """`package`: the distribution that brings it."""

    name: str
    package: str
    point: EntryPoint


@cache
def _installed(group: str) -> dict[str, list[Plugin]]:
    """All of a name, of which there should be one."""
    from importlib.metadata import entry_points

    found: dict[str, list[Plugin]] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, []).append(Plugin(point.name, point.dist.name if point.dist else point.module, point))
    return found


def names(group: str) -> list[str]:
    """What is installed in a group, nothing of it loaded."""
    return sorted(_installed(group))


def package(group: str, name: str) -> str:
    """The distribution that brings a plugin."""
    return _installed(group)[name][0].package


def load(group: str, name: str, kind: type[Found]) -> Found | None:
    """The object of that name, of that kind; None where nobody brings one. UsageError where it is none."""
    brought = _installed(group).get(name)
    if brought is None:
        return None
    plugin, *others = brought
    if others:
        packages = " and ".join(sorted(one.package for one in brought))
        raise UsageError(f"the plugin {name} ({group}) is brought by {packages}", "uninstall all of them but one")
    remedy = f"mend or uninstall {plugin.package}"
    try:
        found = plugin.point.load()
    except Exception as error:  # whatever the code of another package does when it is imported
        what = f"the plugin {name} of {plugin.package} ({group}) cannot be loaded: {type(error).__name__}: {in_brief(error)}"
        raise UsageError(what, remedy) from error
    if not isinstance(found, kind):
        what = f"the plugin {name} of {plugin.package} ({group}) is of type {type(found).__name__}, not {kind.__name__}"
        raise UsageError(what, remedy)
    return found


def load_all(group: str, kind: type[Found]) -> Iterator[Found]:
    """Every object of a group, in the order of their names."""
    for name in names(group):
        found = load(group, name, kind)
        if found is not None:
            yield found
