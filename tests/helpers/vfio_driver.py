"""What a driver does, over a `vfio_client.Client`: commands as register writes, results and completion records taken off their
queues."""

from __future__ import annotations

from kvfpga.contract.commands import Command
from kvfpga.device.answers import bits
from kvfpga.device.codec import writes
from kvfpga.device.regmap import REGISTERS, Code
from tests.helpers.vfio_client import Client

ERROR_BUS = 1
RAM_AT = 1 << 40
"""Where the device has the guest's memory."""


def at(name: str) -> int:
    return REGISTERS[name].offset


class Driver:
    """`posted`: writes are not waited for, as QEMU has it."""

    def __init__(self, client: Client, posted: bool = True):
        self.client, self.posted = client, posted

    def send(self, command: Command) -> None:
        """Ring the doorbell. A full FIFO refuses it, and then it is rung again."""
        *before, (doorbell, value) = writes(command)
        for name, word in before:
            self.write(name, word)
        self.write(doorbell, value)
        while self.client.readl(at("ERROR")) & ERROR_BUS:
            self.client.writel(at("ERROR"), ERROR_BUS)
            self.write(doorbell, value)

    def write(self, name: str, value: int) -> None:
        size = REGISTERS[name].width // 8
        value &= (1 << 8 * size) - 1
        if self.posted:
            self.client.post(at(name), value, size)
        else:
            self.client.store(0, at(name), value.to_bytes(size, "little"))

    def result(self) -> str | None:
        """The code of the oldest result, taken off its queue; None where there is none."""
        status = self.client.readl(at("RESULT_STATUS"))
        if not status >> 31:
            return None
        self.client.readl(at("RESULT_CYCLES"))
        return Code(bits(status, REGISTERS["RESULT_STATUS"].fields["code"])).name

    def results(self) -> list[str]:
        """All that there are once the device is idle."""
        self.wait()
        return [*iter(self.result, None)]

    def records(self) -> list[int]:
        found = []
        while (record := self.client.readq(at("COMPLETION"))) >> 31 & 1:
            found.append(record)
        return found

    def wait(self) -> None:
        fields = REGISTERS["STATUS"].fields
        busy = [fields[name] for name in ("busy", "dma_busy", "resetting", "fifo_level")]
        while any(bits(status, field) for status in [self.client.readl(at("STATUS"))] for field in busy):
            pass
