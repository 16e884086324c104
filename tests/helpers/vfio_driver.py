"""What a driver does, over a `vfio_client.Client`: commands as register writes, results and completion records taken off their
queues."""

from __future__ import annotations

from kvfpga.contract.commands import Command
from kvfpga.device.answers import EXPS, HALVES, LARGEST, bits
from kvfpga.device.codec import writes
from kvfpga.device.regmap import REGISTERS, SCORES, Code, Opcode
from tests.helpers.vfio_client import Client

ERROR_BUS = 1
RAM_AT = 1 << 40
"""Where the device has the guest's memory."""
SOME_SCORES = (0, 4 * 7, EXPS, HALVES, LARGEST + 4)
"""Words of SCORES that are read of each SCORE."""
SCORES_READ = len(SOME_SCORES)


def at(name: str) -> int:
    return REGISTERS[name].offset


class Driver:
    """`posted`: writes are not waited for, as QEMU has it. `takes`: results are taken while the device is busy, as a SCORE waits
    for that; else nobody takes any who is not asked to."""

    def __init__(self, client: Client, posted: bool = True, takes: bool = True):
        self.client, self.posted, self.takes = client, posted, takes
        self._taken: list[str] = []

    def send(self, command: Command) -> None:
        """Ring the doorbell. A full FIFO refuses it, and then it is rung again."""
        *before, (doorbell, value) = writes(command)
        for name, word in before:
            self.write(name, word)
        self.write(doorbell, value)
        while self.client.readl(at("ERROR")) & ERROR_BUS:
            self.client.writel(at("ERROR"), ERROR_BUS)
            if self.takes:
                self._take()
            self.write(doorbell, value)

    def write(self, name: str, value: int) -> None:
        size = REGISTERS[name].width // 8
        value &= (1 << 8 * size) - 1
        if self.posted:
            self.client.post(at(name), value, size)
        else:
            self.client.store(0, at(name), value.to_bytes(size, "little"))

    def result(self) -> str | None:
        """The code of the oldest result, taken off its queue; None where there is none. Of a SCORE's scores, some are read."""
        status = self.client.readl(at("RESULT_STATUS"))
        if not status >> 31:
            return None
        code, opcode = (bits(status, REGISTERS["RESULT_STATUS"].fields[name]) for name in ("code", "opcode"))
        if (code, opcode) == (Code.OK, Opcode.SCORE):
            for offset in SOME_SCORES:
                self.client.readl(SCORES + offset)
        self.client.readl(at("RESULT_CYCLES"))
        return Code(code).name

    def results(self) -> list[str]:
        """All that there are once the device is idle."""
        while self.is_busy():
            self._take()
        self._take()
        found, self._taken = self._taken, []
        return found

    def _take(self) -> None:
        self._taken += iter(self.result, None)

    def records(self) -> list[int]:
        found = []
        while (record := self.client.readq(at("COMPLETION"))) >> 31 & 1:
            found.append(record)
        return found

    def is_busy(self) -> bool:
        fields, status = REGISTERS["STATUS"].fields, self.client.readl(at("STATUS"))
        return any(bits(status, fields[name]) for name in ("busy", "dma_busy", "resetting", "fifo_level"))

    def wait(self) -> None:
        """Until the device is idle. It never is while a SCORE waits for room: `results` makes some."""
        while self.is_busy():
            pass
