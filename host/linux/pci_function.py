"""The configuration space of the PCI function that a guest finds: who it is, two BARs, one MSI vector.

The client of vfio-user (QEMU) assigns addresses to the BARs by itself and never asks here where they are; what it writes of
command register and MSI capability is kept for it to read.
"""

from __future__ import annotations

import struct

VENDOR, DEVICE, SUBSYSTEM = 0x1DE5, 0x0A10, 0x0001
"""What the driver binds to."""
SIZE = 256
_ACCELERATOR = 0x120000  # class code: processing accelerator
_COMMAND, _STATUS_CAPABILITIES = 4, 0x10
_INTERRUPT_LINE, _CAPABILITIES, _MSI = 0x3C, 0x34, 0x40
_MSI_64_BIT = 0x80


class ConfigSpace:
    """256 bytes, of which the client may change some."""

    def __init__(self) -> None:
        self._bytes = bytearray(SIZE)
        struct.pack_into("<HHHHI", self._bytes, 0, VENDOR, DEVICE, 0, _STATUS_CAPABILITIES, _ACCELERATOR << 8)
        struct.pack_into("<HH", self._bytes, 0x2C, VENDOR, SUBSYSTEM)
        self._bytes[_CAPABILITIES] = _MSI
        struct.pack_into("<BBH", self._bytes, _MSI, 0x05, 0, _MSI_64_BIT)
        self._writable = bytearray(SIZE)
        struct.pack_into("<H", self._writable, _COMMAND, 0x0747)  # memory, bus master and what else has a meaning for PCIe
        self._writable[_INTERRUPT_LINE] = 0xFF
        struct.pack_into("<HQH", self._writable, _MSI + 2, 1, 0xFFFF_FFFF_FFFF_FFFC, 0xFFFF)  # enable, address, data

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._bytes[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        for place, value in enumerate(data, offset):
            mask = self._writable[place]
            self._bytes[place] = self._bytes[place] & ~mask | value & mask
