"""Follow the KV-cache events of a running vLLM server, every batch once and in order, and mirror them (mirror.py).

    follower = Follower("tcp://server:5557", Mirror(device), replay="tcp://server:5558")
    follower.run(count=1000)

Publishing is lossy: a subscriber that comes late, or is slow, misses messages and only sees that sequence numbers are missing.
The server keeps its last batches (`buffer_steps`) for a second socket, which sends all of them from a given number on. So:

- at the start, everything that the server still has is replayed; that makes the mirror whole if nothing is older than that
- a gap is replayed before the message behind it is applied. The request begins one batch before the gap: if that batch is not
  the one that was applied, a restarted server has overtaken the number that was expected. Replayed batches that then come live
  are dropped, known by their number and contents
- a number that was had before, with other contents, is a server that began anew: the mirror is emptied and 0 is expected
- after a lost connection, and whenever nothing has come for a while, the replay is asked whether anything was missed
- a batch that no replay has, or that cannot be read, is lost. What the cache holds is then not known, so the mirror is emptied
  and follows on from there: it misses blocks (`Mirror.complete` is False) but holds none that the server has not. It is
  complete again after the server has cleared its cache or begun anew
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ...contract.errors import TargetError, UsageError
from . import events as kv_events
from .events import WireError
from .mirror import Mirror

HIGH_WATER = 100_000
"""Messages that wait in this process; vLLM's own default on its side."""
MESSAGE_LIMIT = 1 << 28
"""Bytes of the longest message taken; libzmq drops the connection that sends a longer one."""
BURST = 256
"""Messages taken before what they planned is run."""
TICK = 0.1
"""Seconds within which a stop is noticed."""
IDLE = 2.0
"""Seconds without a message after which the replay is asked, once: a gap at the end shows in no later number."""
NOTE_AFTER = 5.0
"""Seconds without any sign of the server after which that is said."""
RANGES_KEPT = 100


def rank_endpoint(endpoint: str, rank: int) -> str:
    """Where the engine with this data-parallel rank publishes, when rank 0 does so at `endpoint`: the port is higher by the
    rank."""
    if rank == 0:
        return endpoint
    if endpoint.startswith("inproc://"):
        return f"{endpoint}_dp{rank}"
    address, _, port = endpoint.rpartition(":")
    if not endpoint.startswith("tcp://") or not port.isdecimal() or int(port) + rank > 0xFFFF:
        raise UsageError(f"{endpoint}: no port that could be raised by rank {rank}", "ranks are for tcp://HOST:PORT")
    return f"{address}:{int(port) + rank}"


@dataclass
class Counts:
    """`batches` were applied, `replayed` of them from the replay. `gaps`: how often numbers were missing, `missing` of them in
    all. `malformed`: messages that could not be read; `unknown`: events of kinds that are not known here."""

    batches: int = 0
    events: int = 0
    unknown: int = 0
    gaps: int = 0
    missing: int = 0
    replayed: int = 0
    lost: int = 0
    lost_ranges: list[tuple[int, int]] = field(default_factory=list)
    malformed: int = 0
    restarts: int = 0
    unanswered: int = 0


class Follower:
    """Subscribes on creation. `topic`: a prefix, "" for all. `replay_patience`: seconds of silence after which a replay counts as
    failed. `say` gets notes for people. Set `stopping` to end `run` from anywhere."""

    def __init__(
        self, endpoint: str, mirror: Mirror, replay: str | None = None, topic: str = "", replay_patience: float = 5.0,
        say: Callable[[str], None] = lambda text: None, context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ):  # fmt: skip
        self.endpoint, self.replay, self.mirror, self.say = endpoint, replay, mirror, say
        self.counts = Counts()
        self.stopping = threading.Event()
        self.next = 0
        self.heard = False
        self._replay_patience = replay_patience
        self._last: int | None = None  # of the batch before `next`: hash of its payload
        self._replayed: dict[int, int] = {}  # hashes of batches that may still come live, in order
        self._in_doubt = False
        self._context = context or zmq.Context()
        self._opened = ExitStack()
        if context is None:
            self._opened.callback(self._context.term)
        try:
            self._subscriber = self._socket(zmq.SUB, HIGH_WATER)
            self._opened.callback(self._subscriber.close, 0)
            self._monitor = self._subscriber.get_monitor_socket(zmq.EVENT_DISCONNECTED)
            self._opened.callback(self._monitor.close, 0)
            self._opened.callback(self._subscriber.disable_monitor)
            self._subscriber.setsockopt(zmq.SUBSCRIBE, topic.encode())
            self._connect(self._subscriber, endpoint)
            if replay:
                with self._socket(zmq.DEALER, 0) as probe:
                    self._connect(probe, replay)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def summary(self) -> dict[str, Any]:
        return asdict(self.counts) | {"next": self.next} | self.mirror.summary()

    # ---- running ---------------------------------------------------------------------------------------------------
    def run(
        self, count: int | None = None, patience: float | None = None, progress: Callable[[], None] = lambda: None
    ) -> None:
        """Follow until `stopping` is set, `count` batches were applied, or nothing was heard for `patience` seconds (None: ever
        so long). TargetError where that is so from the beginning. `progress` is called now and then."""
        started = last = time.monotonic()
        self.catch_up()
        asked, noted = self.replay is not None, False
        while not self.stopping.is_set() and (count is None or self.counts.batches < count):
            if self.poll(TICK):
                last, asked = time.monotonic(), False
            progress()
            silent = time.monotonic() - last
            if silent >= IDLE and not asked and self.replay:
                asked = True
                self.catch_up()
            if not self.heard and not noted and time.monotonic() - started >= NOTE_AFTER:
                noted = True
                self.say(f"nothing heard from {self.endpoint} yet; waiting")
            if patience is not None and silent >= patience:
                if self.heard:
                    return
                raise TargetError(
                    f"nothing heard from {self.endpoint} for {patience:g} s",
                    "is the server running with --kv-events-config, does its endpoint match, is the topic right? It publishes "
                    "only when its cache changes",
                )

    def poll(self, timeout: float) -> int:
        """Take what comes within `timeout` seconds, and run it on the device: the number of messages."""
        taken = 0
        if self._subscriber.poll(int(timeout * 1000)):
            while taken < BURST and not self.stopping.is_set():
                try:
                    frames = self._subscriber.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                taken += 1
                self._watch_connection()
                self._take(frames)
        self._watch_connection()
        self.mirror.flush()
        return taken

    def catch_up(self) -> None:
        """Ask the replay, if there is one, for what was published and not heard."""
        if self.replay:
            self._fill(None)
            self.mirror.flush()

    def _watch_connection(self) -> None:
        """A server that went away may come back as another one."""
        while self._monitor.poll(0):
            recv_monitor_message(self._monitor)
            self._in_doubt = True

    # ---- order -----------------------------------------------------------------------------------------------------
    def _take(self, frames: list[bytes]) -> None:
        """One published message: to be applied now, known already, or behind a gap."""
        self.heard = True
        try:
            seq, payload = kv_events.split(frames)
        except WireError as error:
            self._malformed(error)
            return
        while self._replayed and next(iter(self._replayed)) < seq:
            del self._replayed[next(iter(self._replayed))]
        if seq < self.next:
            if self._replayed.get(seq) == hash(payload):
                return
            self._begin_anew()
        if seq > self.next or self._in_doubt:
            self._fill(seq)
        if seq == self.next and not self.stopping.is_set():
            self._apply(seq, payload)

    def _fill(self, behind: int | None) -> None:
        """Replay from `next` on; up to the batch `behind`, which has come, or (None) as far as the server has any."""
        self._in_doubt = False
        if behind is not None and behind > self.next:
            self.counts.gaps += 1
            self.counts.missing += behind - self.next
        more = self.replay is not None
        while more and not self.stopping.is_set() and (behind is None or self.next <= behind):
            more = self._replay_once()
        if behind is not None and behind > self.next and not self.stopping.is_set():
            self._lose(self.next, behind - 1, "no replay has them")
            self.next = behind

    def _replay_once(self) -> bool:
        """One request: apply what comes. True where asking again may bring more."""
        start, is_first = self.next, True
        for seq, payload in self._ask(max(self.next - 1, 0)):
            if seq == self.next - 1 and self._last is not None and hash(payload) != self._last:
                self._begin_anew()
                return True
            if seq > self.next and not is_first and self.next > start:
                return True  # a hole within the replay: it was sent faster than it could be taken, not forgotten
            if seq > self.next:
                self._lose(self.next, seq - 1, "the server's buffer does not reach back to them")
                self.next = seq
            if seq == self.next:
                self._apply(seq, payload)
                self._replayed[seq] = hash(payload)
                self.counts.replayed += 1
            is_first = False
        if is_first and not self._cut_short and self.next:  # not even the last batch: it is another server that has fewer
            if next(self._ask(0), (self.next, b""))[0] < self.next:
                self._begin_anew()
                return True
        return self._cut_short and self.next > start

    def _ask(self, start: int) -> Iterator[tuple[int, bytes]]:
        """The replayed batches from `start` on. `_cut_short`: their end was not seen."""
        self._cut_short = True
        if self.replay is None:
            return
        with self._socket(zmq.DEALER, 0) as socket:
            self._connect(socket, self.replay)
            socket.send_multipart(kv_events.request(start))
            deadline = time.monotonic() + self._replay_patience
            while time.monotonic() < deadline and not self.stopping.is_set():
                if not socket.poll(int(TICK * 1000)):
                    continue
                self.heard = True
                deadline = time.monotonic() + self._replay_patience
                try:
                    reply = kv_events.split_reply(socket.recv_multipart())
                except WireError as error:
                    self._malformed(error)
                    continue
                if reply is None:
                    self._cut_short = False
                    return
                yield reply
        if not self.stopping.is_set():
            self.counts.unanswered += 1
            self.say(f"the replay endpoint {self.replay} has been silent for {self._replay_patience:g} s")

    def _apply(self, seq: int, payload: bytes) -> None:
        self.next, self._last = seq + 1, hash(payload)
        try:
            batch = kv_events.decode(payload)
        except WireError as error:
            self._malformed(error)
            self._lose(seq, seq, "it cannot be read")
            return
        self.counts.batches += 1
        self.counts.events += len(batch.events)
        self.counts.unknown += batch.unknown
        self.mirror.apply(batch)

    def _lose(self, first: int, last: int, why: str) -> None:
        self.counts.lost += last - first + 1
        self.counts.lost_ranges = [*self.counts.lost_ranges, (first, last)][-RANGES_KEPT:]
        self._last = None
        which = f"batch {first} is" if first == last else f"batches {first} to {last} are"
        self.say(f"{which} lost, {why}: the mirror is emptied and follows on, incomplete")
        self.mirror.clear(complete=False)

    def _begin_anew(self) -> None:
        self.counts.restarts += 1
        self.say(f"the server at {self.endpoint} has begun anew: the mirror is emptied")
        self.mirror.clear(complete=True)
        self.next, self._last = 0, None
        self._replayed.clear()

    def _malformed(self, error: WireError) -> None:
        self.counts.malformed += 1
        if self.counts.malformed <= 10:
            self.say(f"{error}" + ("; further ones are only counted" if self.counts.malformed == 10 else ""))

    # ---- sockets ---------------------------------------------------------------------------------------------------
    def _socket(self, kind: int, high_water: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_LIMIT)
        socket.setsockopt(zmq.LINGER, 0)
        return socket

    @staticmethod
    def _connect(socket: zmq.Socket[bytes], endpoint: str) -> None:
        try:
            port = endpoint.rpartition(":")[2]
            if endpoint.startswith("tcp://") and port.isdecimal() and not 0 < int(port) <= 0xFFFF:
                raise ValueError("no such port")
            socket.connect(endpoint)
        except (zmq.ZMQError, ValueError) as error:
            raise UsageError(
                f"{endpoint}: not an endpoint that can be connected to ({error})",
                "such as tcp://HOST:5557 or ipc:///path; a server that binds tcp://*:5557 is reached by its host's name",
            ) from error
