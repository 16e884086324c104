"""The host's end of the UART link: one request at a time, answered exactly once (docs/uart-bridge.md).

`Link.run` sends a bus program under the next sequence number and returns its reply. What is lost or damaged is
repeated under the same number, so the bridge answers from its stored reply and executes nothing twice. When the link gives up,
or is interrupted in the middle of an exchange, nobody knows whether the last request was executed: the link is broken from
then on, and every call raises the same error.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from ...contract.errors import TargetError
from ...contract.wording import counted
from .frames import HELLO, NAK, OVERHEAD, REPLY, RUN, STATS, Decoder, Frame, encode
from .port import SerialPort, users

VERSION = 1
MAGIC = b"KVUB"
GREETING = MAGIC + bytes((VERSION,))
RATES = (3_000_000, 2_000_000, 1_000_000, 921_600, 500_000, 460_800, 230_400, 115_200)
"""Rates that are tried when nothing answers."""
BAUD = RATES[0]
"""Where no rate is named: the fastest that the usual USB bridges and the bring-up build have."""
CONNECT_SECONDS, HELLO_SECONDS = 1.6, 0.6
"""Longest time to connect, other rates tried included, and the part of it for the rate that was asked for."""
PATIENCE = 1.5
BUSIER = 8
"""A simulated board may suddenly be so many times slower than it was at its best: its machine has other work too."""
TRIES = 200
"""A link over which whole frames still come is not given up before a request was sent so often."""
GAP_BYTES = 64
"""What the line could carry in a pause after which nothing more is expected, beyond the slack."""
BODY_OF_HELLO = 16
"""Bytes of its reply."""
LEAST_BODY = 128
"""Bytes of a body that are tried however bad the link is."""
LEAST_BUFFER = 32
"""Buffers of a bridge in which every single operation fits."""

NO_SESSION, BAD_SEQUENCE = 6, 7
VIRTUAL = "A virtual one may have too little of its machine."
MISMATCH = "bridge and kvfpga do not fit together: load a bitstream that was built with this kvfpga"
COUNTERS = (
    "frames_accepted", "frames_damaged", "bad_stop_bits", "runs_executed", "runs_repeated", "frames_dropped", "refused",
)  # fmt: skip
"""What STATS counts, in its order."""


@dataclass
class LinkStatistics:
    """What this end of the link has seen since it was opened. `longest_recovery`: seconds from a request that needed a
    repetition to its reply."""

    exchanges: int = 0
    frames_sent: int = 0
    frames_received: int = 0
    repeats: int = 0
    naks: int = 0
    damaged: int = 0
    timeouts: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    longest_recovery: float = 0.0


class Bridge(NamedTuple):
    """What HELLO tells of the bridge. Buffers in bytes: body of a RUN, data in its reply."""

    version: int
    request_buffer: int
    reply_buffer: int
    clock_hz: int


class Reply(NamedTuple):
    """Of a RUN; see the table of statuses in docs/uart-bridge.md."""

    status: int
    word: int
    position: int
    data: bytes


class Link:
    """`patience`: seconds for which a link may stay silent or bad. Opening one begins a session and touches no register."""

    def __init__(self, path: str, baud: int, patience: float = PATIENCE):
        self.path, self.baud, self.patience = path, baud, patience
        self.statistics = LinkStatistics()
        self._pace = _Pace()
        self._decoder = Decoder()
        self._longest_reply = _on_the_line(BODY_OF_HELLO)
        self._intact, self._grew = True, 0.0  # no frame was damaged since the last whole one; when a reply under way last grew
        self._next = 0  # sequence of the next RUN
        self._asked = 0  # sequence of the last HELLO or STATS: the bridge only repeats it
        self._broken: TargetError | None = None
        self._port = SerialPort(path, baud)
        try:
            self.bridge = self._connect()
        except BaseException:
            self._port.close()
            raise

    @property
    def room(self) -> Bridge:
        """The bridge, with its buffers cut down to what gets through a bad line now and then."""
        s = self.statistics
        damage = s.damaged + s.naks + s.timeouts
        if not damage:
            return self.bridge
        most = max(LEAST_BODY, (s.bytes_in + s.bytes_out) // damage)
        request, reply = (min(size, most) for size in (self.bridge.request_buffer, self.bridge.reply_buffer))
        return self.bridge._replace(request_buffer=request, reply_buffer=reply)

    # ---- requests ------------------------------------------------------------------------------------------------------
    def run(self, body: bytes, reply_bytes: int, seconds: float) -> Reply:
        """Execute a bus program once. `reply_bytes`: data that it is likely to give. `seconds`: longest time of its waits."""
        with self._or_broken():
            frame = self._exchange(RUN, self._next, body, 4 + reply_bytes, seconds, self.patience)
            if len(frame.body) < 4:
                raise TargetError(f"the bridge at {self.path} sent a reply without a status", MISMATCH)
            status, word, position = struct.unpack_from("<BBH", frame.body)
            if status == NO_SESSION:
                raise TargetError(
                    f"the bridge at {self.path} has lost this session: the board was reset, or another program has taken it over;"
                    " the last command may or may not have run",
                    "connect again and compare (`kvfpga sync` takes the device's state), or `kvfpga reset`",
                )
            if status == BAD_SEQUENCE:
                raise TargetError(
                    f"the bridge at {self.path} expects another sequence number: somebody else speaks in this session",
                    "end the other program and connect again",
                )
            self._next = (self._next + 1) % 256
            return Reply(status, word, position, frame.body[4:])

    def bridge_statistics(self) -> dict[str, int]:
        """The bridge's own counters, since its reset."""
        with self._or_broken():
            self._asked = (self._asked + 1) % 256
            frame = self._exchange(STATS, self._asked, b"", 32, 0.0, self.patience)
            if len(frame.body) != 32:
                found = counted(len(frame.body), "byte")
                raise TargetError(f"the bridge at {self.path} sent {found} of statistics, not 32", MISMATCH)
            return dict(zip(COUNTERS, struct.unpack("<8I", frame.body)))

    def close(self) -> None:
        if self._broken is None:
            self._broken = TargetError(f"uart:{self.path} was closed")
        self._port.close()

    @contextmanager
    def _or_broken(self) -> Iterator[None]:
        """Whatever ends a request before its reply leaves the link without a known state."""
        if self._broken:
            raise self._broken.with_traceback(None)
        try:
            yield
        except TargetError as error:
            self._broken = error
            self._accuse(error)
            raise
        except BaseException:
            self._broken = TargetError(
                f"a command over {self.path} was interrupted before its reply; it may or may not have run", "connect again"
            )
            raise

    # ---- one exchange --------------------------------------------------------------------------------------------------
    def _exchange(
        self, kind: int, sequence: int, body: bytes, reply_bytes: int, seconds: float, patience: float,
        late: Iterable[tuple[int, int, int]] = (),
    ) -> Frame:  # fmt: skip
        """Send a request, again and again, until its reply comes. `late`: kind, session and sequence of replies to earlier
        requests that are as welcome."""
        request = encode(Frame(kind, self._session, sequence, body))
        line = 10 * (len(request) + OVERHEAD + reply_bytes) / self.baud
        patience += (1 + BUSIER * (self._pace.ratio - 1)) * (line + seconds)
        started = self._port.now()
        give_up = started + patience
        heard, whole, attempt = self.statistics.bytes_in, self.statistics.frames_received, 0
        wanted = {(kind | REPLY, self._session, sequence), *late}
        self._intact, self._grew = True, started
        while attempt == 0 or self._port.now() < give_up:
            self._send(request, attempt)
            if self.statistics.frames_received > whole and attempt < TRIES:  # bad, but not dead
                whole = self.statistics.frames_received
                give_up = max(give_up, self._port.now() + patience)
            frame = self._receive(wanted, len(request), reply_bytes, seconds, give_up, attempt)
            if self._growing:  # slow, but not dead
                give_up = max(give_up, self._grew + patience)
            if frame:
                self.statistics.exchanges += 1
                if attempt:
                    self.statistics.longest_recovery = max(self.statistics.longest_recovery, self._port.now() - started)
                return frame
            attempt += 1
        if self.statistics.bytes_in == heard or self._growing:
            raise _Silence(
                f"the bridge at {self.path} has stopped answering" + (" in the middle of a reply" if self._growing else ""),
                f"is the board powered, and still the one that was opened? {VIRTUAL}",
            )
        raise _Noise(
            f"the link at {self.path} is too bad: no whole reply in {counted(attempt, 'try', 'tries')}",
            f"check cable and ground, or use a lower rate than {self.baud} (board and host)",
        )

    @property
    def _growing(self) -> bool:
        """Is a reply under way, on a line that has damaged nothing since the last whole frame? Then the board is alive, however
        long its reply takes."""
        return self._intact and 0 < self._decoder.unfinished <= self._longest_reply

    def _send(self, request: bytes, attempt: int) -> None:
        self._port.write(request)
        self.statistics.frames_sent += 1
        self.statistics.bytes_out += len(request)
        self.statistics.repeats += attempt > 0

    def _receive(
        self, wanted: set[tuple[int, int, int]], request_bytes: int, reply_bytes: int, seconds: float, give_up: float,
        attempt: int,
    ) -> Frame | None:  # fmt: skip
        """The wanted frame; None when it is time to ask again."""
        sent, pace = self._port.now(), self._pace
        slack = pace.slack * (1 + min(attempt, 4)) + pace.ratio * 10 * GAP_BYTES / self.baud
        out, back = (10 * size / self.baud for size in (request_bytes, reply_bytes + OVERHEAD))
        deadline = sent + pace.ratio * (2 * out + seconds) + slack
        latest = min(give_up, deadline + 3 * pace.ratio * back + slack)
        first, came = 0.0, 0
        while (now := self._port.now()) < (until := deadline if self._growing else min(deadline, latest)):
            chunk = self._port.read(until - now)
            if not chunk:
                continue
            now = self._port.now()
            first = first or now - sent
            came += len(chunk)
            self.statistics.bytes_in += len(chunk)
            deadline = max(deadline, now + slack)
            again = False
            for frame in self._decoder.feed(chunk):
                self._intact = frame is not None
                if frame is None:
                    self.statistics.damaged += 1
                    again = True
                    continue
                self.statistics.frames_received += 1
                if frame[:3] in wanted:
                    if not attempt:
                        pace.learn(first, out, now - sent, out + 10 * came / self.baud)
                    return frame
                if frame.kind == NAK:
                    self.statistics.naks += 1
                    again = True
            if again and not self._decoder.unfinished:
                return None
            if self._growing:
                self._grew = now
        self.statistics.timeouts += 1
        if not came:
            pace.back_off()
        return None

    # ---- connecting ----------------------------------------------------------------------------------------------------
    def _connect(self) -> Bridge:
        """Begin a session that the bridge cannot have had: after the first HELLO its session is another than the second's."""
        self._end = self._port.now() + CONNECT_SECONDS
        first, second = random.SystemRandom().sample(range(1, 1 << 16), 2)
        self._begin(first)
        try:
            self._hello(HELLO_SECONDS)
        except (_Silence, _Noise):
            self._look_elsewhere()
        self._begin(second)
        bridge = self._hello(self.patience)
        if min(bridge.request_buffer, bridge.reply_buffer) < LEAST_BUFFER or not bridge.clock_hz:
            raise TargetError(f"the bridge at {self.path} tells nonsense of itself: {bridge}", MISMATCH)
        self._longest_reply = _on_the_line(4 + bridge.reply_buffer)
        return bridge

    def _hello(self, patience: float) -> Bridge:
        frame = self._greet(patience)
        if len(frame.body) < 5 or frame.body[:4] != MAGIC:
            raise TargetError(f"what answers at {self.path} is not a KV-CPU bridge", "is the right bitstream loaded?")
        version = frame.body[4]
        if version != VERSION:
            raise TargetError(
                f"the bridge at {self.path} speaks version {version} of the protocol, this kvfpga version {VERSION}",
                "load a bitstream that was built with this kvfpga, or use the kvfpga that it was built with",
            )
        if len(frame.body) != BODY_OF_HELLO:
            raise TargetError(f"the bridge at {self.path} tells nonsense of itself: {frame.body.hex()}", MISMATCH)
        _, version, _, request_buffer, reply_buffer, _, clock_hz = struct.unpack("<4sBBHHHI", frame.body)
        return Bridge(version, request_buffer, reply_buffer, clock_hz)

    def _begin(self, session: int) -> None:
        self._session = session
        self._greeted: dict[tuple[int, int, int], int] = {}  # kind, session and sequence of HELLO's replies: the rate

    def _greet(self, patience: float) -> Frame:
        """The reply to a HELLO, or to an earlier one of this session that comes late; each has a sequence of its own."""
        self._asked = (self._asked + 1) % 256
        self._greeted[HELLO | REPLY, self._session, self._asked] = self.baud
        return self._exchange(HELLO, self._asked, GREETING, BODY_OF_HELLO, 0.0, patience, self._greeted)

    def _look_elsewhere(self) -> None:
        """Nothing answered: at which rate does something? Always raises, except where the answer at the rate that was asked for
        only came late."""
        heard, wanted = self.statistics.bytes_in, self.baud
        others = [rate for rate in RATES if rate != wanted]
        for number, rate in enumerate(others):
            share = (self._end - self._port.now()) / (len(others) - number)
            if share <= 0 or not self._set_baud(rate):
                continue
            try:
                right = self._greeted[self._greet(share)[:3]]
            except (_Silence, _Noise):
                continue
            if right == wanted and self._set_baud(wanted):
                return
            found = f"no bridge answers at {wanted} baud on {self.path}; one does at {right}"
            raise TargetError(found, f"use --target uart:{self.path}@{right}")
        self._accuse()
        if heard:
            raise TargetError(
                f"{self.path} sends bytes ({heard} came), but no frame of a KV-CPU bridge",
                f"another device, or another baud rate (this was {wanted}): choose the port or name the rate, uart:PORT@BAUD",
            )
        raise TargetError(
            f"no bridge answers at {self.path}: silence at {wanted} baud and at {len(self._greeted) - 1} other rates",
            f"is the board powered and its bitstream loaded (`kvfpga program`), and is this its port? {VIRTUAL}",
        )

    def _accuse(self, error: TargetError | None = None) -> None:
        """TargetError where another process has the port open: it takes what the board says, whatever the `error` looks like."""
        if readers := users(self.path):
            what = error.message if error else f"no bridge answers at {self.path}"
            raise TargetError(
                f"{what}; the port is open in {' and '.join(readers)} as well, which takes bytes of the board's answers",
                "end that program: a port has one user at a time",
            ) from error

    def _set_baud(self, rate: int) -> bool:
        """Begin anew at this rate, of which nothing is known yet. False where the port cannot do it."""
        if not self._port.set_baud(rate):
            return False
        self.baud, self._decoder, self._pace = rate, Decoder(), _Pace()
        return True

    def now(self) -> float:
        """Seconds, on the clock of the port."""
        return self._port.now()


def _on_the_line(body: int) -> int:
    """Bytes that a frame with this body may take, when each one is escaped."""
    return 2 * (OVERHEAD + body)


class _Silence(TargetError):
    """Not one byte came, or no more of a reply that had begun."""


class _Noise(TargetError):
    """Bytes came, and no reply."""


class _Pace:
    """How long replies take, learned from those that came at once, so that a lost frame costs little on a quick board, and a slow
    simulation is not asked again before it can have answered.

    `ratio`: how many times slower than the bare line the link is at its best of late, 1 at least: next to 1 on a board, much more
    where the line is simulated. `slack`: seconds to wait for the first byte beyond that.
    """

    LEAST, FIRST, MOST = 0.03, 0.2, 0.5
    SLOWEST = 1024.0

    def __init__(self) -> None:
        self.slack, self.ratio = self.FIRST, 1.0
        self._ratios: deque[float] = deque(maxlen=16)
        self._mean = self._spread = 0.0

    def back_off(self) -> None:
        """Nothing came. The line may have lost a frame, or be slower than was known; the next reply that comes at once tells."""
        self.ratio = min(2 * self.ratio, self.SLOWEST)

    def learn(self, first: float, out: float, whole: float, line: float) -> None:
        """Seconds until the first byte and the whole reply came; and what the line takes for the request, and for both."""
        self._ratios.append(whole / line)
        self.ratio = max(1.0, min(self._ratios))
        seconds = max(0.0, first - self.ratio * out)
        if len(self._ratios) == 1:
            self._mean, self._spread = seconds, seconds / 2
        self._spread += (abs(seconds - self._mean) - self._spread) / 4
        self._mean += (seconds - self._mean) / 8
        if len(self._ratios) >= 8:
            self.slack = min(self.MOST, max(self.LEAST, self._mean + 4 * self._spread + self.LEAST / 2))
