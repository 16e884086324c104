"""The kinds of targets, one row each: how `--target` names them, and how their hardware is reached (contract section 8).

A new kind is a folder in transport/ and a row here; command line, help, error messages and board files read these rows. Other
packages bring kinds as plugins (contract/plugins.py), with a `connect`; board files do not name those.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ..contract.errors import UsageError

if TYPE_CHECKING:
    from ..transport.mmio import Mmio
    from .boards import Board


class Kind(NamedTuple):
    """`form`: how it is written. `connect(address, board)` reaches the device of a board; `board` is what `--board` named. It is
    None where the device lives in this process. `check(address)` raises UsageError for an address that is none. `in_files`: may
    a board file name it as its target?"""

    name: str
    form: str
    connect: Callable[[str, Board | None], Mmio] | None = None
    check: Callable[[str], None] = lambda address: None
    in_files: bool = False


def _check_uart(address: str) -> None:
    if not re.fullmatch(r"[^@]+(@[1-9][0-9]{2,7})?", address):
        raise UsageError(
            f"--target uart:{address}: the baud rate is not one", "uart:PORT@BAUD, such as uart:/dev/ttyUSB0@3000000"
        )


def _check_tcp(address: str) -> None:
    from ..transport.remote.protocol import host_and_port

    host_and_port(f"tcp:{address}")


def _uart(address: str, board: Board | None) -> Mmio:
    from ..uart_bridge import UartBridge

    port, _, baud = address.partition("@")
    return UartBridge(port, int(baud)) if baud else UartBridge(port)


def _xdma(address: str, board: Board | None) -> Mmio:
    from ..pcie_mmio import PcieMmio

    if board is None:
        return PcieMmio(address)
    return PcieMmio(
        address, bar_offsets=board.bar_offsets, memory_offset=board.memory_offset, bar_bytes=board.bar_bytes
    )


def _kvcpu(address: str, board: Board | None) -> Mmio:
    from ..node_mmio import NodeMmio

    return NodeMmio(address)


def _remote(kind: str) -> Callable[[str, Board | None], Mmio]:
    def connect(address: str, board: Board | None) -> Mmio:
        from ..transport.remote.client import RemoteMmio

        return RemoteMmio(f"{kind}:{address}", say=lambda text: print(f"kvfpga: {text}", file=sys.stderr))

    return connect


KINDS = {
    kind.name: kind
    for kind in (
        Kind("sim", "sim"),
        Kind("model", "model"),
        Kind("uart", "uart:PORT[@BAUD]", _uart, _check_uart, in_files=True),
        Kind("xdma", "xdma:DIR", _xdma, in_files=True),
        Kind("kvcpu", "kvcpu:NODE", _kvcpu),
        Kind("unix", "unix:PATH", _remote("unix")),
        Kind("tcp", "tcp://HOST:PORT", _remote("tcp"), _check_tcp),
    )
}


def find(name: str) -> Kind | None:
    """The kind of that name, kvfpga's own or a plugin's. UsageError for a plugin that is none."""
    if name in KINDS:
        return KINDS[name]
    from ..contract import plugins

    found = plugins.load(plugins.TARGETS, name, Kind)
    if found and not found.connect:
        raise UsageError(f"the target {name} of {plugins.package(plugins.TARGETS, name)} has no connect", "give its Kind one")
    return found


def forms() -> str:
    """How targets are written, plugins' too."""
    from ..contract import plugins

    brought = [name for name in plugins.names(plugins.TARGETS) if name not in KINDS]
    return ", ".join([*(kind.form for kind in KINDS.values()), *(f"{name}:…" for name in brought)])


IN_FILES = {name: kind.form for name, kind in KINDS.items() if kind.in_files}
"""What a board file may name as its target, and how that is written."""
