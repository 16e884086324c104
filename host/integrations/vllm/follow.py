"""Follow the KV-cache events of a running vLLM server, every batch once and in order, and tell them to a receiver (receiver.py).

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
  and follows on from there: it misses blocks (`complete` is False) but holds none that the server has not. It is complete again
  after the server has cleared its cache or begun anew
- where a replay does not answer, or something comes that cannot be read, it is not known whether anything was missed, until the
  next number says so

One engine is followed: one topic, one data-parallel rank, one count of sequence numbers. Where a second one is heard,
`SeveralEngines` is raised, because a mirror of two caches would be one of none (decision D28).
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from ...contract.errors import TargetError, UsageError
from . import events as kv_events
from .events import Batch, Message, Unread, WireError
from .receiver import Receiver

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
EMPTIED = "the mirror is emptied and follows on, incomplete"
SETTLED = 100
"""Batches in order after which a server that began anew may do so again; two that are mixed up seem to do it all the time."""
TOPIC_PARTS = b"@"
"""Between the parts of a topic such as kv@POD@MODEL: the first parts may be given alone."""


class SeveralEngines(UsageError):
    """More than one engine publishes what was asked for."""


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
    all. `malformed`: messages and events that could not be read; `unknown`: events of kinds that are not known here.
    `other_topics`: messages under topics that only begin like the one that was asked for."""

    batches: int = 0
    events: int = 0
    unknown: int = 0
    gaps: int = 0
    missing: int = 0
    replayed: int = 0
    lost: int = 0
    lost_ranges: list[tuple[int, int]] = field(default_factory=list)
    malformed: int = 0
    other_topics: int = 0
    restarts: int = 0
    unanswered: int = 0


class Follower:
    """Subscribes on creation. `topic`: all of it, or as far as an @; "" for whichever there is. `bind`: the publisher connects to
    this endpoint. `replay_patience`: seconds of silence after which a replay counts as failed. `say` gets notes for people. Set
    `stopping` to end `run` from anywhere."""

    def __init__(
        self, endpoint: str, mirror: Receiver, replay: str | None = None, topic: str = "", replay_patience: float = 5.0,
        say: Callable[[str], None] = lambda text: None, context: zmq.Context[zmq.Socket[bytes]] | None = None, bind: bool = False,
    ):  # fmt: skip
        self.endpoint, self.replay, self.mirror, self.say = endpoint, replay, mirror, say
        self.counts = Counts()
        self.stopping = threading.Event()
        self.next = 0
        self.heard = False
        self._replay_patience = replay_patience
        self._last: int | None = None  # of the batch before `next`: hash of its payload
        self._replayed: dict[int, int] = {}  # hashes of batches that may still come live, in order
        self._reconnected = False  # since the last message
        self._in_doubt = False  # something may have been published that was not read
        self._rewound: int | None = None  # how many batches had come when numbers went back though the connection stood
        self._wanted = topic.encode()
        self._topic: bytes | None = None  # of the engine that is followed, once it was heard
        self._rank: int | None = None
        self._others: set[str] = set()
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
            self._subscriber.setsockopt(zmq.SUBSCRIBE, self._wanted)
            attach(self._subscriber, endpoint, bind)
            if replay:
                with self._socket(zmq.DEALER, 0) as probe:
                    attach(probe, replay)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._opened.close()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def complete(self) -> bool:
        """Is the mirror the whole cache, as far as anything that was published can tell?"""
        return self.mirror.complete and not self._in_doubt

    def summary(self) -> dict[str, Any]:
        topic = (self._topic or b"").decode(errors="replace")
        return asdict(self.counts) | {"topic": topic, "next": self.next} | self.mirror.summary() | {"complete": self.complete}

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
                raise self._silence(patience)

    def _silence(self, patience: float) -> TargetError:
        if self._others:
            return TargetError(
                f"nothing heard under topic {self._wanted.decode()} for {patience:g} s, only under {_listed(self._others)}",
                "give one of these with --topic, all of it or as far as an @",
            )
        return TargetError(
            f"nothing heard from {self.endpoint} for {patience:g} s",
            "is the server running with --kv-events-config, does its endpoint match, is the topic right? It publishes only when "
            "its cache changes. If its endpoint has no * in it, it does not bind but connects: then --bind",
        )

    def poll(self, timeout: float) -> int:
        """Take what comes within `timeout` seconds, and run it on the device: the number of messages of this engine."""
        taken, others = 0, self.counts.other_topics
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
        return taken - (self.counts.other_topics - others)

    def catch_up(self) -> None:
        """Ask the replay, if there is one, for what was published and not heard."""
        if self.replay:
            self._fill(None)
            self.mirror.flush()

    def _watch_connection(self) -> None:
        """A server that went away may come back as another one."""
        while self._monitor.poll(0):
            recv_monitor_message(self._monitor)
            self._reconnected = True

    # ---- order -----------------------------------------------------------------------------------------------------
    def _take(self, frames: list[bytes]) -> None:
        """One published message: to be applied now, known already, or behind a gap."""
        if frames and not self._is_wanted(frames[0]):
            self.counts.other_topics += 1
            self._others.add(frames[0].decode(errors="replace"))
            return
        self.heard = True
        try:
            message = kv_events.split(frames)
        except WireError as error:
            self._malformed(error.message)
            self._in_doubt = True
            return
        batch = self._read(message)
        seq, reconnected, self._reconnected = message.seq, self._reconnected, False
        while self._replayed and next(iter(self._replayed)) < seq:
            del self._replayed[next(iter(self._replayed))]
        if seq < self.next:
            if self._replayed.get(seq) == hash(message.payload):
                return
            self._rewind(seq, reconnected)
        elif reconnected and self.next and not self._fill(seq):
            self._distrust()
        if seq > self.next:
            self._fill(seq)
        if seq == self.next and not self.stopping.is_set():
            self._in_doubt = False  # with this number nothing is missing before it
            self._apply(message, batch)

    def _is_wanted(self, topic: bytes) -> bool:
        rest = topic[len(self._wanted) :]
        return topic.startswith(self._wanted) and (not self._wanted or not rest or rest.startswith(TOPIC_PARTS))

    def _read(self, message: Message) -> Batch | WireError:
        """The batch, if it can be read and is of the engine that is followed."""
        if message.topic is not None:
            if not self._is_wanted(message.topic) or self._topic not in (None, message.topic):
                both = {self._wanted if self._topic is None else self._topic, message.topic}
                raise self._several(f"topics {_listed({topic.decode(errors='replace') for topic in both})}")
            self._topic = message.topic
        try:
            batch = kv_events.decode(message.payload)
        except WireError as error:
            return error
        if batch.rank is not None:
            if self._rank not in (None, batch.rank):
                raise self._several(f"data-parallel ranks {self._rank} and {batch.rank}")
            self._rank = batch.rank
        return batch

    def _several(self, what: str) -> SeveralEngines:
        return SeveralEngines(
            f"{self.endpoint} carries several engines: {what}",
            "one mirror is for one engine: --topic chooses one, --rank the port of one; give each a session of its own",
        )

    def _rewind(self, seq: int, reconnected: bool) -> None:
        """A number is had once more, with other contents: the server began anew. While the connection stands that would be one
        behind a forwarder, or there are two."""
        batches = self.counts.batches
        if not reconnected and self._rewound is not None and batches - self._rewound < SETTLED:
            raise self._several(f"number {seq} comes a second time, and it is not the first to do so")
        self._rewound = None if reconnected else batches
        self._begin_anew(complete=reconnected)

    def _distrust(self) -> None:
        """The number fits, but after a lost connection another server may have arrived at it."""
        if self.mirror.complete:
            self.say("the connection was lost, and no replay says whether it is the same server still: no longer complete")
        self.mirror.complete = False

    def _fill(self, behind: int | None) -> bool:
        """Replay from `next` on; up to the batch `behind`, which has come, or (None) as far as the server has any. False where no
        replay answered."""
        if behind is not None and behind > self.next:
            self.counts.gaps += 1
            self.counts.missing += behind - self.next
        more = self.replay is not None
        answered = False
        while more and not self.stopping.is_set() and (behind is None or self.next <= behind):
            more = self._replay_once()
            answered = not self._cut_short
        if behind is not None and behind > self.next and not self.stopping.is_set():
            self._lose(self.next, behind - 1, "no replay has them")
            self.next = behind
        return answered

    def _replay_once(self) -> bool:
        """One request: apply what comes. True where asking again may bring more."""
        start, is_first = self.next, True
        for message, batch in self._ask(max(self.next - 1, 0)):
            seq, payload = message.seq, message.payload
            if seq == self.next - 1 and self._last is not None and hash(payload) != self._last:
                self._begin_anew()
                return True
            if seq > self.next and not is_first and self.next > start:
                return True  # a hole within the replay: it was sent faster than it could be taken, not forgotten
            if seq > self.next:
                self._lose(self.next, seq - 1, "the server's buffer does not reach back to them")
                self.next = seq
            if seq == self.next:
                self._apply(message, batch)
                self._replayed[seq] = hash(payload)
                self.counts.replayed += 1
            is_first = False
        if is_first and not self._cut_short and self.next:  # not even the last batch: it is another server that has fewer
            first = next(self._ask(0), None)
            if first[0].seq < self.next if first else not self._cut_short:
                self._begin_anew()
                return first is not None
        return self._cut_short and self.next > start

    def _ask(self, start: int) -> Iterator[tuple[Message, Batch | WireError]]:
        """The replayed batches from `start` on. `_cut_short`: not all of them, up to their end, could be read."""
        self._cut_short = self._in_doubt = True
        if self.replay is None:
            return
        unread = False
        with self._socket(zmq.DEALER, 0) as dealer:
            attach(dealer, self.replay)
            dealer.send_multipart(kv_events.request(start))
            deadline = time.monotonic() + self._replay_patience
            while time.monotonic() < deadline and not self.stopping.is_set():
                if not dealer.poll(int(TICK * 1000)):
                    continue
                self.heard = True
                deadline = time.monotonic() + self._replay_patience
                try:
                    reply = kv_events.split_reply(dealer.recv_multipart())
                except WireError as error:
                    self._malformed(error.message)
                    unread = True
                    continue
                if reply is None:
                    self._cut_short = self._in_doubt = unread
                    return
                yield reply, self._read(reply)
        if not self.stopping.is_set():
            self.counts.unanswered += 1
            self.say(f"the replay endpoint {self.replay} has been silent for {self._replay_patience:g} s")

    def _apply(self, message: Message, batch: Batch | WireError) -> None:
        self.next, self._last = message.seq + 1, hash(message.payload)
        if isinstance(batch, WireError):
            self._malformed(batch.message)
            self._lose(message.seq, message.seq, "it cannot be read")
            return
        self.counts.batches += 1
        self.counts.events += sum(not isinstance(event, Unread) for event in batch.events)
        for event in batch.events:
            if isinstance(event, Unread):
                self._unread(event)
        self.mirror.apply(batch)

    def _unread(self, event: Unread) -> None:
        """Say what an event that may have removed blocks does to the mirror."""
        costs = EMPTIED if self.mirror.concerns(event) else "it is about another medium"
        if event.why is None:
            self.counts.unknown += 1
            self._note(self.counts.unknown, f"an event of the unknown kind {event.kind[:40]}: {costs}")
        else:
            self._malformed(f"{event.kind[:40]} cannot be read ({event.why}): {costs}")

    def _lose(self, first: int, last: int, why: str) -> None:
        self.counts.lost += last - first + 1
        self.counts.lost_ranges = [*self.counts.lost_ranges, (first, last)][-RANGES_KEPT:]
        self._last = None
        which = f"batch {first} is" if first == last else f"batches {first} to {last} are"
        self.say(f"{which} lost, {why}: {EMPTIED}")
        self.mirror.clear(complete=False)

    def _begin_anew(self, complete: bool = True) -> None:
        self.counts.restarts += 1
        self.say(f"the server at {self.endpoint} has begun anew: the mirror is emptied")
        self.mirror.clear(complete)
        self.next, self._last = 0, None
        self._replayed.clear()

    def _malformed(self, what: str) -> None:
        self.counts.malformed += 1
        self._note(self.counts.malformed, what)

    def _note(self, number: int, text: str) -> None:
        """The first ten of a sort."""
        if number <= 10:
            self.say(text + ("; further ones are only counted" if number == 10 else ""))

    # ---- sockets ---------------------------------------------------------------------------------------------------
    def _socket(self, kind: int, high_water: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_LIMIT)
        socket.setsockopt(zmq.LINGER, 0)
        return socket


def _listed(names: set[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)[:8]) + (", …" if len(names) > 8 else "")


TCP = re.compile(r"tcp://([^;\s]+;)?(?P<host>\[[^\]\s]+\]|[^:;\[\]\s/]+):(?P<port>[0-9]{1,5})")


def attach(to: zmq.Socket[bytes], endpoint: str, bind: bool = False) -> None:
    """Connect or bind, to IPv6 too. libzmq takes much that can never be reached, and waits for it: that is refused here."""
    try:
        if endpoint.startswith("tcp:"):
            found = TCP.fullmatch(endpoint)
            if not found or not 0 < int(found["port"]) <= 0xFFFF:
                raise ValueError("it needs a host and a port from 1 to 65535, an IPv6 address in brackets")
            to.setsockopt(zmq.IPV6, _has_ipv6(found["host"], bind))
        to.bind(endpoint) if bind else to.connect(endpoint)
    except (zmq.ZMQError, ValueError, OSError) as error:
        if bind:
            remedy = "such as tcp://*:5557 or tcp://[::1]:5557, an address of this machine; the server connects to it"
        else:
            remedy = (
                "such as tcp://HOST:5557 or ipc:///path; a server that binds tcp://*:5557 is reached by its host's name, and for "
                "one that connects there is --bind"
            )
        raise UsageError(
            f"{endpoint}: not an endpoint that can be {'bound' if bind else 'connected'} to ({error})", remedy
        ) from error


def require_endpoint(endpoint: str, bind: bool = False) -> None:
    """UsageError where it is none, before a device is made ready for nothing."""
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        attach(socket, endpoint, bind)


@cache  # an endpoint is tried before it is followed, and a replay asked for again and again
def _has_ipv6(host: str, bind: bool) -> bool:
    """Is libzmq to look for an IPv6 address? Of a name that has both it would take that one alone, and a server that binds
    tcp://*:5557 has the other."""
    if host.startswith("["):
        ipaddress.IPv6Address(host[1:-1])
        return True
    if bind or host == "*":
        return host == "*"
    try:
        return socket.AF_INET not in {family for family, *_ in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except socket.gaierror as error:
        raise UsageError(
            f"no machine of the name {host} is known here ({error.strerror})",
            "give its name as DNS or /etc/hosts has it, or its address",
        ) from error
