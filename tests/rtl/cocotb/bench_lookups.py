"""The hardware lookup ports at pin level (R12, R35): rate, latency, turns, and answers held to a dictionary."""

from collections import deque

import cocotb
from cocotb.triggers import RisingEdge

from kvfpga.contract.commands import Load, Lookup, Set, Step, UnloadRequest
from kvfpga.device.regmap import Code
from tests.helpers.key_collisions import colliding
from tests.rtl.cocotb.dut_bench import Bench

LATENCY = 8
BLOCKS = 180


class Ports:
    """Asks on both ports and checks each answer. `busy`: chance that a port asks in a cycle."""

    def __init__(self, bench: Bench):
        self.dut, self.bench, self.random = bench.dut, bench, bench.random
        self.blocks: dict[tuple[int, int, int, int], tuple[int, int]] = {}  # (request, layer, head, block) → index, tier
        self.changing: set[tuple[int, int, int, int]] = set()  # keys that are being loaded or unloaded right now
        self.busy = [0.0, 0.0]
        self.asked: list[tuple[int, int, int, int] | None] = [None, None]
        self.open = [deque(), deque()]  # (cycle, key) without an answer
        self.clear()

    def clear(self) -> None:
        self.accepted, self.refused_cycles, self.hits, self.misses, self.slowest = [0, 0], 0, 0, 0, 0
        self.waited, self.waiting, self.longest = [0, 0], [0, 0], 0  # cycles not taken: all, in a row, at most

    def find(self, key) -> tuple[int, int] | None:
        request, layer, head, position = key
        own = self.blocks.get((request, layer, head, position // 32))
        return own or self.blocks.get((0, layer, head, position // 32))

    def invent(self) -> tuple[int, int, int, int]:
        """A key that is there, or falls back to request 0, or is off by one part."""
        request, layer, head, block = self.random.choice(list(self.blocks))
        kind = self.random.random()
        if kind < 0.3:
            request = self.random.choice((1, 2, 3, 9, 0xFFFF))
        elif kind < 0.4:
            layer ^= 1 << self.random.randrange(8)
        elif kind < 0.5:
            block ^= 1 << self.random.randrange(27)
        return request, layer, head, block * 32 + self.random.randrange(32)

    async def run(self) -> None:
        edge = RisingEdge(self.dut.clk)
        while True:
            await edge
            ready, done = int(self.dut.lookup_ready.value), int(self.dut.lookup_done.value)
            taken = False
            for port in (0, 1):
                if done >> port & 1:
                    self.answer(port)
                if self.asked[port] and not ready >> port & 1:
                    self.waited[port] += 1
                    self.waiting[port] += 1
                    self.longest = max(self.longest, self.waiting[port])
                if self.asked[port] and ready >> port & 1:
                    self.waiting[port] = 0
                    assert not taken, "two in one cycle"
                    taken = True
                    self.open[port].append((self.bench.cycle, self.asked[port]))
                    self.accepted[port] += 1
                    self.asked[port] = None
            self.refused_cycles += any(self.asked) and not taken
            for port in (0, 1):
                if not self.asked[port] and self.random.random() < self.busy[port]:
                    self.asked[port] = self.invent()
                assert not self.open[port] or self.bench.cycle - self.open[port][0][0] <= LATENCY, "an answer is overdue"
            self.drive()

    def drive(self) -> None:
        valid = keys = 0
        for port, key in enumerate(self.asked):
            if key:
                request, layer, head, position = key
                valid |= 1 << port
                keys |= (position << 32 | layer << 24 | head << 16 | request) << 64 * port
        self.dut.lookup_valid.value = valid
        self.dut.lookup_key.value = keys

    def answer(self, port: int) -> None:
        assert self.open[port], "an answer to nothing"
        cycle, key = self.open[port].popleft()
        self.slowest = max(self.slowest, self.bench.cycle - cycle)
        hit = int(self.dut.lookup_hit.value) >> port & 1
        place = (int(self.dut.lookup_index.value) >> 16 * port & 0xFFFF, int(self.dut.lookup_tier.value) >> 2 * port & 3)
        self.hits, self.misses = self.hits + hit, self.misses + (not hit)
        assert not int(self.dut.lookup_unresolved.value) >> port & 1, "256 keys do not overflow here"
        if {(key[0], *key[1:3], key[3] // 32), (0, *key[1:3], key[3] // 32)} & self.changing:
            return
        expected = self.find(key)
        assert (place if hit else None) == expected, f"{key}: {hit} {place}, expected {expected}"

    async def stop(self) -> None:
        self.busy = [0.0, 0.0]
        while any(self.asked) or any(self.open):
            await RisingEdge(self.dut.clk)


async def directory(dut, seed: int) -> tuple[Bench, Ports]:
    """BLOCKS blocks of requests 0 to 3 in all tiers."""
    bench = await Bench(dut, seed).start()
    await bench.execute(Set("EVICT_THRESH", 0))
    await bench.execute(Set("PREFETCH_THRESH", 0xFFFF))
    ports = Ports(bench)
    for n in range(BLOCKS):
        key, tier = (n % 4, n // 4 % 3, n // 12 % 2, n // 24 * 1000 + n % 7), n % 3 + (n % 2)
        await bench.execute(Load(*key[:3], 32 * key[3], 32 * key[3] + 31, n << 20, tier))
        ports.blocks[key] = (n, tier)
    cocotb.start_soon(ports.run())
    return bench, ports


async def measure(bench: Bench, ports: Ports, busy: list[float], cycles: int) -> int:
    """Cycles of `cycles` in which a port asked and none was taken."""
    ports.busy = busy
    await bench.clocks(4)
    ports.clear()
    await bench.clocks(cycles)
    return ports.refused_cycles


@cocotb.test()
async def one_a_cycle(dut):
    """Saturated, one lookup is accepted in every cycle, with both ports (in turn) and with either alone."""
    bench, ports = await directory(dut, seed=1)
    for busy in ([1.0, 1.0], [1.0, 0.0], [0.0, 1.0]):
        assert await measure(bench, ports, busy, 600) == 0
        assert sum(ports.accepted) == 600
        if all(busy):
            assert abs(ports.accepted[0] - ports.accepted[1]) <= 1, "not in turn"
        assert ports.hits > 200 and ports.misses > 50
        assert ports.slowest <= LATENCY
        await ports.stop()
    await bench.finish()


@cocotb.test()
async def during_a_pass(dut):
    """The same while STEP passes run: they neither slow the lookups nor change their answers, nor the other way round."""
    bench, ports = await directory(dut, seed=2)
    assert await bench.execute(Step(1)) == (Code.OK, BLOCKS, None)
    alone = await bench.get("T_LAST_COMMAND_CYCLES")
    ports.busy = [1.0, 1.0]
    await bench.clocks(4)
    ports.clear()
    start = bench.cycle
    for step in range(2, 8):
        assert await bench.execute(Step(step)) == (Code.OK, BLOCKS, None)
        assert await bench.get("T_LAST_COMMAND_CYCLES") == alone
    assert ports.refused_cycles == 0 and sum(ports.accepted) == bench.cycle - start
    assert ports.slowest <= LATENCY
    await ports.stop()
    await bench.finish()


@cocotb.test()
async def beside_commands(dut):
    """Ports that ask at random beside LOOKUP, LOAD and UNLOAD commands: every answer right, every lookup counted once."""
    bench, ports = await directory(dut, seed=3)
    hits, misses = await bench.get("RTBD_HIT_COUNT"), await bench.get("RTBD_MISS_COUNT")
    ports.clear()
    ports.busy = [0.9, 0.7]
    asked = 0
    for n in range(60):
        key = ports.invent()
        expected = ports.find(key)
        assert await bench.execute(Lookup(*key)) == (Code.OK, int(expected is not None), expected and expected[0]), key
        asked += 1
        if n % 6 == 0:
            key = (9, n % 256, 5, n)
            ports.changing.add(key)
            _, _, index = await bench.execute(Load(*key[:3], 32 * n, 32 * n + 31, 0, 2))
            ports.blocks[key] = (index, 2)
            await bench.clocks(LATENCY + 2)  # questions asked before the answer to the command
            ports.changing.clear()
        if n % 24 == 23:
            ports.changing |= {key for key in ports.blocks if key[0] == 9}
            gone = [key for key in ports.blocks if key[0] == 9]
            assert await bench.execute(UnloadRequest(9)) == (Code.OK, len(gone), None)
            for key in gone:
                del ports.blocks[key]
            await bench.clocks(LATENCY + 2)
            ports.changing.clear()
    await ports.stop()
    await bench.clocks(4)
    counted = await bench.get("RTBD_HIT_COUNT") - hits, await bench.get("RTBD_MISS_COUNT") - misses
    assert sum(counted) == sum(ports.accepted) + asked
    assert ports.slowest <= LATENCY
    await bench.finish()


async def waits(bench: Bench) -> list[int]:
    """What the device has counted: host, port 0, port 1."""
    return [await bench.get(f"T_{port}_WAITS") for port in ("HOST", "PORT0", "PORT1")]


async def beside_lookups(bench: Bench, ports: Ports, busy: list[float], count: int = 40) -> tuple[list[int], list[int]]:
    """LOOKUP commands while the ports ask as `busy` says: the cycles of each, and the waits that the device has counted."""
    before = await waits(bench)
    ports.clear()
    ports.busy = busy
    taken = []
    for _ in range(count):
        await bench.execute(Lookup(*ports.invent()))
        taken.append(await bench.get("T_LAST_COMMAND_CYCLES"))
    await ports.stop()
    await bench.clocks(4)
    return taken, [now - then for now, then in zip(await waits(bench), before, strict=True)]


@cocotb.test()
async def by_turns(dut):
    """Round-robin: whoever asks, host or port, waits for one request of each of the others at most; waits are counted."""
    bench, ports = await directory(dut, seed=5)
    (alone,), counted = await beside_lookups(bench, ports, [0.0, 0.0], 1)
    assert counted == [0, 0, 0]
    taken, (host, *counted) = await beside_lookups(bench, ports, [1.0, 1.0])
    assert counted == ports.waited and ports.longest == 2
    assert min(taken) == alone < max(taken) <= alone + 2 and host == sum(taken) - len(taken) * alone
    assert abs(ports.accepted[0] - ports.accepted[1]) <= len(taken)
    taken, (host, *counted) = await beside_lookups(bench, ports, [0.0, 1.0])
    assert counted == ports.waited and ports.longest == 1 and max(taken) - alone <= 1
    await bench.finish()


@cocotb.test()
async def by_rank(dut):
    """Fixed priority: the host waits for nobody, port 0 for the host, port 1 for both; it gets what they leave."""
    bench, ports = await directory(dut, seed=6)
    await bench.execute(Set("CONTEND_POLICY", 1))
    (alone,), _ = await beside_lookups(bench, ports, [0.0, 0.0], 1)
    assert await measure(bench, ports, [1.0, 1.0], 300) == 0
    assert ports.accepted == [300, 0]
    await ports.stop()
    taken, (host, *counted) = await beside_lookups(bench, ports, [1.0, 1.0])
    assert set(taken) == {alone} and host == 0
    assert counted == ports.waited and ports.waited[0] == len(taken) and ports.accepted[1] == 1
    assert await measure(bench, ports, [0.5, 1.0], 300) == 0
    assert sum(ports.accepted) == 300 and min(ports.accepted) > 100
    await ports.stop()
    await bench.finish()


@cocotb.test()
async def unresolved(dut):
    """Where the key index overflowed, a port says `unresolved` in time, never a wrong answer; LOOKUP then finds the block."""
    bench = await Bench(dut, seed=4).start()
    keys = colliding(256, 14)
    for n, key in enumerate(keys[:12]):
        assert await bench.execute(Load(*key, key[3] + 31, 0, 2)) == (Code.OK, 1, n)
    counted = await bench.get("RTBD_HIT_COUNT") + await bench.get("RTBD_MISS_COUNT")
    for n, (request, layer, head, position) in enumerate(keys):
        dut.lookup_key.value = (position << 32 | layer << 24 | head << 16 | request) << 64
        dut.lookup_valid.value = 2
        while True:
            await RisingEdge(dut.clk)
            if int(dut.lookup_ready.value) & 2:
                break
        dut.lookup_valid.value = 0
        for _ in range(LATENCY):
            await RisingEdge(dut.clk)
            if int(dut.lookup_done.value) & 2:
                break
        assert int(dut.lookup_done.value) == 2, f"no answer in {LATENCY} cycles"
        hit, hidden = int(dut.lookup_hit.value) >> 1, int(dut.lookup_unresolved.value) >> 1
        assert (hit, hidden) == ((1, 0) if n < 8 else (0, 1)), n
        if hit:
            assert int(dut.lookup_index.value) >> 16 == n
            counted += 1
        else:
            assert await bench.execute(Lookup(request, layer, head, position)) == (Code.OK, int(n < 12), n if n < 12 else None)
            counted += 1
    await bench.clocks(4)
    assert await bench.get("RTBD_HIT_COUNT") + await bench.get("RTBD_MISS_COUNT") == counted, "unresolved counts nowhere"
    assert await bench.get("T_INDEX_OVERFLOWS") == 4
    await bench.finish()
