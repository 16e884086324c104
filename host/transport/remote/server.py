"""The server of the remote target: one device for clients on this machine (unix:PATH) or over TCP (docs/remote.md).

It carries the seam and nothing above it: what `remote.RemoteMmio` asks is done on an `Mmio`, whole batches at a time. A client
needs a place. There is one (exclusive), or `most` (shared: clients take turns batch by batch; one that compares in lockstep sees
what others do as differences). Who finds none free waits in a queue and is told where. A place is given back with Bye, or
when the connection ends: that of a killed process at once, that of a frozen one or a pulled cable when its heartbeats stay out.

    server thread   sockets, keys, queue: never waits for the device
    worker thread   the device: one request at a time, in the order in which they came
"""

from __future__ import annotations

import fcntl
import logging
import os
import queue
import socket
import stat
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import zmq
from zmq.utils.monitor import recv_monitor_message

from ...contract.errors import KvfpgaError, TargetError, UsageError
from ...contract.version import __version__
from ..mmio import Mmio
from . import keys as remote_keys
from . import protocol as wire
from .protocol import NOT_A_MESSAGE, PROTOCOL, Bye, Hello, encode

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    Lock: TypeAlias = AbstractContextManager[Any, Any]

MOST = 16
"""Places of a shared device."""
WAITING = 16
"""Clients in the queue; the next one is turned away."""
CONNECTIONS = 64
"""At a time, with those in their handshake; the next one is cut."""
UNREAD_BYTES = 16 << 20
"""Of answers that a client has not read yet. Who asks for more with more than that is cut off."""
UNREAD_MESSAGES = 64
"""The same, counted."""
UNDONE_BYTES = 2 * wire.MESSAGE_BYTES
"""Of a client's requests that wait for the device; the next one is refused."""
UNFINISHED_BYTES = 2 * wire.MESSAGE_BYTES
"""That came over a TCP connection since its last whole message. ZeroMQ has no limit for the frames of one, and keeps them all."""
HEARTBEAT_BYTES = 1000
"""A second, which count as none of these."""
ORPHAN_SECONDS = 5.0
"""A batch may go on for so long when its client is gone; most have ended by then, and the device is left as after a command."""
STOP_SECONDS = 2.0
"""The same, when the server is to end."""
IDLE_SECONDS = 300.0
"""A client that asks for nothing keeps its place for so long while others wait: less than they have patience."""
TICK = 0.2
"""Seconds after which a request to stop is seen at the latest."""
PROBE_SECONDS = 0.5
"""How often, while somebody waits, the others are asked for a sign of life."""
HEARTBEAT = {"HEARTBEAT_IVL": 1000, "HEARTBEAT_TIMEOUT": 4000}
"""Milliseconds. ZeroMQ's own, from a thread of its own, so that a busy Python on either side does not matter."""
HANDSHAKE_MS = 5000
LOG_LINES, LOG_SECONDS = 20, 10.0
"""What strangers do fills at most so much of the log."""
_RECEIVED = 128
"""Where tcpi_bytes_received is in Linux's struct tcp_info."""
_now = time.monotonic

log = logging.getLogger("kvfpga.remote")


def serve(
    address: str, mmio: Mmio, lock: Lock | None = None, keys: remote_keys.Keys | None = None,
    ready: Callable[[str], None] = lambda address: None, stop: threading.Event | None = None, *,
    shared: bool = False, most: int = MOST, waiting: int = WAITING, memory: int | None = None,
    endpoint: wire.Endpoint | None = None,
) -> None:  # fmt: skip
    """Serve `mmio` at unix:PATH or tcp://HOST:PORT until `stop` is set; `mmio` stays open.

    lock: held around each request, where others in this process use the device too. keys: this server's (None: the user's; not
    needed for unix:PATH). ready(address): called once clients can come; port 0 is the one that was free. memory: bytes that a
    simulation's memory may grow to. endpoint: of the address, where somebody has looked its host up already.
    """
    if memory is not None:
        mmio.bound_memory(memory)
    server = Server(address, mmio, lock, keys, shared, most, waiting, endpoint)
    try:
        server.listen()
        ready(server.address)
        server.run(stop or threading.Event())
    finally:
        server.close()


class Client:
    """One connection that said Hello."""

    def __init__(self, id: bytes, label: str, connection: Connection | None):
        self.id, self.label, self.connection = id, label, connection
        self.last = -1
        self.pending = self.undone_bytes = 0
        self.asked_at = time.monotonic()
        self.gone_at: float | None = None
        self._unread: deque[tuple[zmq.MessageTracker, int]] = deque()

    @property
    def gone(self) -> bool:
        return self.gone_at is not None

    def leave(self) -> None:
        if self.gone_at is None:
            self.gone_at = time.monotonic()

    def answer(self, data: bytes) -> zmq.Frame:
        """A message to this client, which counts as unread until ZeroMQ has let go of it."""
        frame = zmq.Frame(data, track=True, copy=False)
        if frame.tracker:
            self._unread.append((frame.tracker, len(data)))
        return frame

    def unread(self) -> int:
        while self._unread and self._unread[0][0].done:
            self._unread.popleft()
        return sum(size for _, size in self._unread)


class Connection:
    """A socket of ZeroMQ's, duplicated: it shows what has come, and can be cut. That goes for whoever it belongs to."""

    def __init__(self, fd: int):
        self.socket = socket.socket(fileno=os.dup(fd))
        self.whole()

    def whole(self) -> None:
        """A message is complete."""
        self._received, self._since = self._count(), time.monotonic()

    def unfinished(self) -> float:
        return self._count() - self._received - HEARTBEAT_BYTES * (time.monotonic() - self._since)

    def _count(self) -> int:
        """Bytes received; 0 where the kernel does not count them (UNIX sockets, which are the owner's)."""
        if self.socket.family == socket.AF_UNIX:
            return 0
        try:
            return int(struct.unpack_from("=Q", self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), _RECEIVED)[0])
        except (OSError, struct.error):
            return 0

    def cut(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Sent(Enum):
    """What became of a message. NO_ROOM: UNREAD_MESSAGES wait already. GONE: nobody is there any more."""

    GOOD, NO_ROOM, GONE = range(3)


class Server:
    def __init__(
        self, address: str, mmio: Mmio, lock: Lock | None = None, keys: remote_keys.Keys | None = None,
        shared: bool = False, most: int = MOST, waiting: int = WAITING, endpoint: wire.Endpoint | None = None,
    ):  # fmt: skip
        self.address, self.mmio = address, mmio
        self.path = wire.socket_path(address)
        self._endpoint = endpoint
        self.shared, self.places, self.waiting = shared, most if shared else 1, waiting
        if self.places < 1 or waiting < 0:
            raise UsageError(f"{most} places and {waiting} waiting clients make no sense", "name at least 1, and at least 0")
        self.keys = None if self.path else keys or remote_keys.load()
        self.inside: dict[bytes, Client] = {}
        self.queue: dict[bytes, Client] = {}
        self._connections: dict[int, Connection] = {}
        self._context = zmq.Context()
        self._worker = Worker(self._context, mmio, lock or nullcontext())
        self._probe_at = 0.0
        self._warnings = self._unsaid = 0
        self._warned_at = _now()
        self._bound: tuple[int, int] | None = None

    # ---- opening and closing -----------------------------------------------------------------------------------------
    def listen(self) -> None:
        """Accept clients from here on."""
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind("inproc://zeromq.zap.01")  # first: without it everybody would be let in
        self._done = self._context.socket(zmq.PULL)
        self._done.bind(Worker.DONE)
        router = self._router = self._context.socket(zmq.ROUTER)
        router.zap_domain = b"kvfpga"  # ZAP for unix:PATH as well, and no peer that is too old for it
        router.router_mandatory = 1  # sending to somebody who is gone is an error
        router.maxmsgsize = wire.MESSAGE_BYTES
        router.rcvhwm = wire.PENDING
        router.sndhwm = UNREAD_MESSAGES
        router.linger = 500
        router.handshake_ivl = HANDSHAKE_MS
        for name, value in HEARTBEAT.items():
            router.setsockopt(getattr(zmq, name), value)
        events = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        events |= zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        self._monitor = router.get_monitor_socket(events)
        if self.path:
            self._listen_unix(self.path)
        elif self.keys:
            self._listen_tcp(self.keys)
        self._worker.start()
        log.info("serving %s at %s, %s", self.mmio.name, self.address, f"{self.places} places" if self.shared else "exclusive")

    def _listen_tcp(self, keys: remote_keys.Keys) -> None:
        keys.authorized()  # a list that cannot be used is better known now
        self._router.curve_server = 1
        self._router.curve_publickey, self._router.curve_secretkey = keys.public, keys.secret
        endpoint, self._router.ipv6 = self._endpoint or wire.tcp_endpoint(self.address, listen=True)
        try:
            self._router.bind(endpoint)
        except zmq.ZMQError as error:
            raise TargetError(
                f"cannot listen at {self.address}: {error.strerror}", "is the port in use, or the address another host's?"
            ) from None
        port = self._router.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
        self.address = f"{self.address.rpartition(':')[0]}:{port}"

    def _listen_unix(self, path: Path) -> None:
        """The socket is made here, not by ZeroMQ: it has its mode from the beginning, and nobody's file is removed."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)  # two servers that find the same old socket at once
                _remove_old(path)
                os.fchmod(listener.fileno(), 0o600)
                listener.bind(str(path))
                about = path.lstat()
                self._bound = about.st_dev, about.st_ino
            finally:
                os.close(folder)
            listener.listen(64)
        except OSError as error:
            listener.close()
            raise TargetError(f"cannot listen at {path}: {error.strerror}", "name a path in a folder of yours") from error
        except BaseException:
            listener.close()
            raise
        self._router.setsockopt(zmq.USE_FD, listener.detach())
        self._router.bind(f"ipc://{path}")

    def close(self) -> None:
        """Tell the clients, wait for the request that is running, let go of everything but the device."""
        for client in [*self.inside.values(), *self.queue.values()]:
            client.leave()
            self._deliver(client.id, encode(wire.Closing()))
        self._worker.stop()
        if self.path and self._bound:
            try:
                about = self.path.lstat()
                if (about.st_dev, about.st_ino) == self._bound:
                    self.path.unlink()
            except FileNotFoundError:
                pass
        self._context.destroy()
        for connection in self._connections.values():
            connection.socket.close()

    # ---- the loop ----------------------------------------------------------------------------------------------------
    def run(self, stop: threading.Event) -> None:
        poller = zmq.Poller()
        handlers = {
            self._zap: self._authenticate, self._monitor: self._event, self._done: self._reply, self._router: self._receive,
        }  # fmt: skip
        for one in handlers:
            poller.register(one, zmq.POLLIN)
        while not stop.is_set():
            ready = dict(poller.poll(int(TICK * 1000)))
            for one, handle in handlers.items():
                if one in ready:
                    handle()
            if self._probe_at and time.monotonic() >= self._probe_at:
                self._probe()
            self._watch()

    def _watch(self) -> None:
        """Cut connections on which a message grows without end."""
        for connection in self._connections.values():
            if (size := connection.unfinished()) > UNFINISHED_BYTES:
                who = next((one.label for one in self.inside.values() if one.connection is connection), "somebody")
                self._warn(f"{who} is cut off: {int(size):,} bytes of a message without an end, at most {UNFINISHED_BYTES:,}")
                connection.cut()
                connection.whole()

    def _receive(self) -> None:
        sender, *frames = self._router.recv_multipart(copy=False)
        id = sender.bytes
        client = self.inside.get(id) or self.queue.get(id)
        connection = self._connection(frames)
        if connection:
            connection.whole()
        try:
            if len(frames) != 1:
                raise ValueError(f"{len(frames)} frames instead of one")
            message = wire.decode_request(frames[0].buffer)
        except NOT_A_MESSAGE as error:
            return self._refuse(id, client.label if client else _label(frames), f"a message that means nothing: {error}")
        except MemoryError:
            return self._refuse(id, _label(frames), "there is no memory for its message", "send less at once")
        if isinstance(message, Hello):
            if client:
                return self._refuse(id, client.label, "a second Hello")
            return self._hello(Client(id, _label(frames), connection), message)
        if client is None:
            return self._refuse(id, _label(frames), f"{type(message).__name__} before Hello")
        if isinstance(message, Bye):
            return self._leave(client, "says goodbye")
        if id in self.queue:
            return self._refuse(id, client.label, f"{type(message).__name__} before its turn")
        if message.number <= client.last or client.pending >= wire.PENDING:
            return self._refuse(id, client.label, f"request {message.number} behind {client.last}, {client.pending} unanswered")
        size = len(frames[0])
        if client.undone_bytes + size > UNDONE_BYTES:
            waiting = f"{client.undone_bytes:,} bytes of requests wait already, at most {UNDONE_BYTES:,}"
            return self._refuse(id, client.label, waiting, "wait for the answers")
        client.last = message.number
        client.pending += 1
        client.undone_bytes += size
        self._worker.jobs.put(Job(client, message, size))
        return None

    def _reply(self) -> None:
        self._done.recv()
        job, answer = self._worker.answers.get()
        client = job.client
        client.pending -= 1
        client.undone_bytes -= job.size
        client.asked_at = time.monotonic()
        if client.id not in self.inside:
            return
        if isinstance(answer, int):
            return self._cut(client, f"{answer:,} bytes of answers are not read, at most {UNREAD_BYTES:,}")
        if not self._send(client, answer):
            self._cut(client, f"{UNREAD_MESSAGES} messages are not read, and there is an answer more")
        return None

    def _connection(self, frames: list[zmq.Frame]) -> Connection | None:
        """That over which a message came."""
        try:
            return self._connections.get(int(frames[0].get(zmq.SRCFD)))
        except (IndexError, TypeError, zmq.ZMQError):
            return None

    # ---- places ------------------------------------------------------------------------------------------------------
    def _hello(self, client: Client, hello: Hello) -> None:
        id = client.id
        label = client.label = f"{client.label} ({hello.who!r})"
        if hello.protocol != PROTOCOL:
            return self._refuse(
                id, label, f"the server speaks protocol {PROTOCOL} (kvfpga {__version__}), the client {hello.protocol} "
                f"(kvfpga {hello.version})", "use the same kvfpga on both sides",
            )  # fmt: skip
        self._probe()  # somebody may have left
        if len(self.inside) >= self.places and len(self.queue) >= self.waiting:
            return self._refuse(
                id, label, f"the device is in use, with {len(self.queue)} waiting already", "try again later"
            )
        self.queue[id] = client
        self._admit()
        if id in self.queue:
            log.info("%s waits, place %d", label, len(self.queue))
        return None

    def _admit(self) -> None:
        """Give free places to those who have waited longest; tell the others where they are."""
        while self.queue and len(self.inside) < self.places:
            client = next(iter(self.queue.values()))
            del self.queue[client.id]
            self.inside[client.id] = client
            client.asked_at = time.monotonic()
            if self._deliver(client.id, encode(wire.Welcome(self.mmio.name, self.shared))) is not Sent.GONE:
                log.info("%s has a place", client.label)
            else:
                del self.inside[client.id]
        for place, client in enumerate(list(self.queue.values()), 1):
            self._send(client, encode(wire.Place(place)))
        self._probe_at = time.monotonic() + PROBE_SECONDS if self.queue else 0.0

    def _leave(self, client: Client, how: str) -> None:
        client.leave()
        if self.inside.pop(client.id, None) or self.queue.pop(client.id, None):
            log.info("%s %s", client.label, how)
            self._admit()

    def _probe(self) -> None:
        """Who has a place and is gone, without goodbye? Sending to them shows it."""
        for client in list(self.inside.values()):
            self._send(client, encode(wire.Waiting(len(self.queue))))
            if self.queue and not client.pending and (idle := time.monotonic() - client.asked_at) > IDLE_SECONDS:
                text = f"nothing asked for {idle:.0f} s, at most {IDLE_SECONDS:.0f} while others wait for the place"
                self._refuse(client.id, client.label, text, "connect again")
                self._leave(client, "has lost its place")
        for client in list(self.queue.values()):
            self._send(client, encode(wire.Waiting(len(self.queue))))
        self._probe_at = time.monotonic() + PROBE_SECONDS if self.queue else 0.0

    # ---- sending -----------------------------------------------------------------------------------------------------
    def _send(self, client: Client, message: bytes | zmq.Frame) -> bool:
        """Was there room?"""
        sent = self._deliver(client.id, message)
        if sent is Sent.GONE:
            self._leave(client, "is gone without a goodbye: killed, frozen, cut off, or its frame was too large")
        return sent is not Sent.NO_ROOM

    def _cut(self, client: Client, why: str) -> None:
        """Somebody who harms the server: its connection ends, and all that waits in it goes."""
        self._warn(f"{client.label} is cut off: {why}")
        if client.connection:
            client.connection.cut()
        self._leave(client, "was cut off")

    def _deliver(self, id: bytes, message: bytes | zmq.Frame) -> Sent:
        """Whoever does not read gets no more messages, and nobody waits for that."""
        try:
            self._router.send_multipart([id, message], zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return Sent.NO_ROOM
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return Sent.GONE
        return Sent.GOOD

    def _refuse(self, id: bytes, label: str, text: str, remedy: str | None = None) -> None:
        self._warn(f"{label} refused: {text}")
        self._deliver(id, encode(wire.Refused(PROTOCOL, __version__, text, remedy)))

    def _warn(self, text: str) -> None:
        """A line about what others do wrong, and one line; a flood of them must not fill the disk."""
        now = _now()
        if now - self._warned_at > LOG_SECONDS:
            if self._unsaid:
                log.warning("%d more lines like these were left out", self._unsaid)
            self._warned_at, self._warnings, self._unsaid = now, 0, 0
        self._warnings += 1
        if self._warnings <= LOG_LINES:
            log.warning("%s", "".join(c if c.isprintable() else "?" for c in text[:500]))
        else:
            self._unsaid += 1

    # ---- strangers ---------------------------------------------------------------------------------------------------
    def _authenticate(self) -> None:
        """ZeroMQ asks (ZAP, RFC 27) whether somebody may connect, at the end of the handshake."""
        version, number, _, address, _, mechanism, *credentials = self._zap.recv_multipart()
        where = address.decode(errors="replace")
        try:
            name = self._name(where, mechanism, credentials)
        except KvfpgaError as error:
            name = None
            self._warn(f"nobody can be let in: {error.message}")
        if name is None:
            self._warn(f"connection from {where} refused: {_stranger(credentials) if self.keys else 'another user'}")
        code, user = (b"400", b"") if name is None else (b"200", name.encode()[:200])
        self._zap.send_multipart([version, number, code, b"", user, b""])

    def _name(self, where: str, mechanism: bytes, credentials: list[bytes]) -> str | None:
        """What the log calls them; None where they may not come in."""
        if self.keys:
            if mechanism != b"CURVE" or len(credentials) != 1:
                return None
            name = self.keys.authorized().get(credentials[0])
            return name and f"{name} at {where}"
        _, user, _, process = (":::" + where).rsplit(":", 3)  # of a unix socket it is NAME:USER:GROUP:PROCESS, from the kernel
        return f"process {process}" if user == str(os.geteuid()) else None

    def _event(self) -> None:
        event = recv_monitor_message(self._monitor)
        match event["event"]:
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                reasons: dict[int, str] = {
                    zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC: "it has another key for this server, or spoils its messages",
                    zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: "it comes without a key",
                }
                wrong = reasons.get(event["value"], f"it breaks the protocol ({event['value']:#x})")
                self._warn(f"a connection failed in the handshake: {wrong}")
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                wrong = "no key for this server, or none of ZeroMQ" if self.keys else "it hung up, or is none of ZeroMQ"
                self._warn(f"a connection failed in the handshake: {wrong}")
            case zmq.EVENT_ACCEPTED:
                self._accepted(int(event["value"]))
            case zmq.EVENT_DISCONNECTED:  # the router finds out a moment later
                if ended := self._connections.pop(int(event["value"]), None):
                    ended.socket.close()
                self._probe_at = time.monotonic() + 0.05

    def _accepted(self, fd: int) -> None:
        try:
            connection = Connection(fd)
        except OSError:
            return  # it has ended already
        if old := self._connections.pop(fd, None):
            old.socket.close()
        self._connections[fd] = connection
        if len(self._connections) > CONNECTIONS:
            self._warn(f"a connection is cut: there are {CONNECTIONS} already, which is the most")
            connection.cut()


class Job(NamedTuple):
    """A request, and the bytes of its message."""

    client: Client
    request: wire.Access
    size: int


class Worker(threading.Thread):
    """Does requests on the device. A message at the socket DONE says that `answers` has one more: a job, and what to send; or a
    number, where its client has not read so many bytes of what it got before. Only this thread counts them: it adds to them."""

    DONE = "inproc://done"

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], mmio: Mmio, lock: Lock):
        super().__init__(name="kvfpga device", daemon=True)
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Job, zmq.Frame | int]] = queue.SimpleQueue()
        self._context, self._mmio, self._lock = context, mmio, lock
        self._client: Client | None = None
        self._stop_at: float | None = None

    def stop(self) -> None:
        """After what runs now, which has STOP_SECONDS; what waits is dropped."""
        if self.is_alive():
            self._stop_at = time.monotonic() + STOP_SECONDS
            self.jobs.put(None)
            self.join()

    def run(self) -> None:
        done = self._context.socket(zmq.PUSH)
        done.linger = 0
        done.connect(self.DONE)
        self._mmio.unwanted = self._unwanted
        while (job := self.jobs.get()) is not None:
            client = self._client = job.client
            if self._stop_at or client.gone:
                continue
            unread = client.unread()
            is_read = unread <= UNREAD_BYTES
            self.answers.put((job, client.answer(self._answer(client, job.request)) if is_read else unread))
            done.send(b"")
        self._mmio.unwanted = None
        done.close()

    def _unwanted(self) -> bool:
        """May what runs be cut off?"""
        now, gone_at = time.monotonic(), self._client.gone_at if self._client else None
        is_late = self._stop_at is not None and now >= self._stop_at
        return is_late or (gone_at is not None and now >= gone_at + ORPHAN_SECONDS)

    def _answer(self, client: Client, request: wire.Access) -> bytes:
        try:
            with self._lock:
                return encode(perform(self._mmio, request))
        except KvfpgaError as error:
            return encode(wire.pack_error(request.number, error))
        except MemoryError:
            text = f"the server has not enough memory for this {type(request).__name__}"
            return encode(wire.pack_error(request.number, TargetError(text, "ask for less at once")))
        except Exception as error:
            log.exception("%s: %s ended with an error that nobody expected", client.label, type(request).__name__)
            text = f"the server met an unexpected error: {type(error).__name__}: {error}"
            return encode(wire.pack_error(request.number, TargetError(text, "its log has more")))


def perform(mmio: Mmio, request: wire.Access) -> wire.Value | wire.Data | wire.Ran:
    """Do what a request says."""
    number = request.number
    match request:
        case wire.Run(_, ops):
            answer = mmio.run(wire.unpack_batch(ops))
            return wire.Ran(number, _bytes(answer.words, "<u4"), _bytes(answer.records, "<u8"))
        case wire.Read32(_, offset):
            return wire.Value(number, int(mmio.read32(offset)))
        case wire.Write32(_, offset, value):
            mmio.write32(offset, value)
            return wire.Value(number, None)
        case wire.ReadBurst(_, offset, words):
            return wire.Data(number, _bytes(mmio.read_burst(offset, words), "<u4"))
        case wire.MemoryRead(_, addr, size):
            return wire.Data(number, bytes(mmio.memory_read(addr, size)))
        case wire.MemoryWrite(_, addr, data):
            mmio.memory_write(addr, data)
            return wire.Value(number, None)
        case wire.MemoryReadBlocks(_, addrs, size):
            if len(addrs) % 8 or len(addrs) // 8 * size > wire.MEMORY_BYTES:
                raise UsageError(f"{len(addrs)} bytes of addresses, {size} bytes each: not the request of a kvfpga")
            return wire.Data(number, mmio.memory_read_blocks(np.frombuffer(addrs, "<u8").astype(np.uint64), size).tobytes())
        case wire.WaitIdle(_, budget):
            return wire.Value(number, mmio.wait_idle(budget))
        case wire.ClockCycles():
            return wire.Value(number, mmio.clock_cycles)
    raise TypeError(f"not a request: {request!r}")


def _bytes(numbers: NDArray[Any], kind: str) -> bytes:
    return np.asarray(numbers, kind).tobytes()


def _label(frames: list[zmq.Frame]) -> str:
    """Who sent this, as `Server._name` said when they came in."""
    try:
        return str(frames[0].get("User-Id"))
    except (IndexError, zmq.ZMQError):
        return "somebody"


def _stranger(credentials: list[bytes]) -> str:
    return f"the key {credentials[0].hex()} is not in the list" if credentials else "it comes without a key"


def _remove_old(path: Path) -> None:
    """Take away the socket that a killed server left; nothing else."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(about.st_mode):
        raise UsageError(f"{path} is there, and is not a socket", "name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise TargetError(f"somebody else serves at {path}", "use that one, or another path")
