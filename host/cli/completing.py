"""What a shell offers at the TAB key for names that the command line takes: a function a kind, each given the word
as far as it is typed.

A shell waits for it at every TAB, so nothing here imports numpy, opens a device or asks the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from glob import glob

from click.shell_completion import CompletionItem

from ..contract import plugins
from ..contract.errors import KvfpgaError
from ..contract.parameters import choices
from ..contract.rank_tables import AGE

PORTS = "/dev/serial/by-id/*", "/dev/ttyUSB*", "/dev/ttyACM*"
"""Where serial ports of boards are."""
XDMA = "/dev/xdma[0-9]*_user"
"""The node by which a board with the XDMA driver is known."""


def _offered(names: Mapping[str, str | None] | Iterable[str], incomplete: str) -> list[CompletionItem[str]]:
    """Those that begin so; a mapping has what to say about each."""
    helps = names if isinstance(names, Mapping) else dict.fromkeys(names)
    return [CompletionItem(name, help=text) for name, text in helps.items() if name.startswith(incomplete)]


def _or_files(names: Mapping[str, str | None] | Iterable[str], incomplete: str) -> list[CompletionItem[str]]:
    return [*_offered(names, incomplete), CompletionItem(incomplete, type="file")]


def targets(incomplete: str) -> list[CompletionItem[str]]:
    """Kinds, and the boards that are plugged in."""
    from ..targets.kinds import KINDS

    found: dict[str, str | None] = {}
    found.update((f"{name}:", f"of {plugins.package(plugins.TARGETS, name)}") for name in plugins.names(plugins.TARGETS))
    for name, kind in KINDS.items():
        found[name if kind.connect is None else f"{name}://" if "//" in kind.form else f"{name}:"] = kind.form
    found.update((f"uart:{port}", "a serial port") for pattern in PORTS for port in glob(pattern))
    found.update((f"xdma:{node.removesuffix('_user')}", "an XDMA board") for node in glob(XDMA))
    return _offered(found, incomplete)


def boards(incomplete: str) -> list[CompletionItem[str]]:
    from ..targets.boards import known

    try:
        return _or_files(known(), incomplete)
    except KvfpgaError:  # without a home folder there are no boards to offer
        return []


def registers(incomplete: str) -> list[CompletionItem[str]]:
    """Their names are taken in lower case, too, and stay as they were begun."""
    from ..device.regmap import REGISTERS

    is_lower = incomplete != "" and incomplete == incomplete.lower()
    return _offered({name.lower() if is_lower else name: r.title for name, r in REGISTERS.items()}, incomplete)


def sizes(parameter: str, incomplete: str) -> list[CompletionItem[str]]:
    return _offered(map(str, choices(parameter)), incomplete)


def rank_tables(incomplete: str) -> list[CompletionItem[str]]:
    return _or_files([AGE], incomplete)


def traces(incomplete: str) -> list[CompletionItem[str]]:
    """Those of the lab."""
    from ..lab.names import GENERATED, SAMPLE_NAME, TRAFFIC

    return _or_files([SAMPLE_NAME, *(f"{GENERATED}{name}" for name in TRAFFIC)], incomplete)


def policies(incomplete: str) -> list[CompletionItem[str]]:
    """Those of the lab, one behind the other with commas."""
    from ..lab.names import POLICIES

    known = dict.fromkeys([*POLICIES, *plugins.names(plugins.POLICIES)])
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [CompletionItem(before + comma + name) for name in known if name.startswith(last) and name not in taken]
