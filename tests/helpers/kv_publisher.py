"""A publisher of KV-cache events as vLLM has it (docs/vllm.md), and a cache that has such events.

It shares no code with host/integrations/vllm/: messages are built from plain lists and dicts. `Publisher` binds a PUB socket (or
connects it) and a ROUTER for replays, keeps `buffer_steps` batches, and can lose messages before they are sent.

    with Publisher(form="maps", lose=0.01) as publisher:
        publisher.publish(cache.batch())
"""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter, deque

import msgspec
import zmq

FORMS = ("arrays", "maps in arrays", "maps")
"""Releases to 0.23; since then (vllm-project/vllm pull request 42892); a later main."""
REPLIES = ("with topic", "without topic")
"""How a replay is answered: by vLLM since 0.26 (pull request 45177), and before."""
END = b"\xff" * 8
FIELDS = {
    "BlockStored": (
        "block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name", "extra_keys",
        "group_idx",
    ),
    "BlockRemoved": ("block_hashes", "medium", "group_idx"),
    "AllBlocksCleared": (),
}  # fmt: skip
REQUIRED = {"BlockStored": 7, "BlockRemoved": 2, "AllBlocksCleared": 0}
"""So many of them have no default and are always there."""


def encode(events: list[dict], form: str = "maps in arrays", ts: float = 1.0, rank: int | None = 0) -> bytes:
    """The payload of a batch. Events are dicts with a "type"."""
    if form == "arrays":
        events = [_array(event) for event in events]
    batch = {"ts": ts, "events": events, "data_parallel_rank": rank} if form == "maps" else [ts, events, rank]
    return msgspec.msgpack.encode(batch)


def _array(event: dict) -> list:
    names = FIELDS[event["type"]]
    used = max([REQUIRED[event["type"]], *(i + 1 for i, name in enumerate(names) if event.get(name) is not None)])
    return [event["type"], *(event.get(name) for name in names[:used])]


def stored(hashes, parent=None, size=16, medium="GPU", **more) -> dict:
    return {
        "type": "BlockStored", "block_hashes": list(hashes), "parent_block_hash": parent,
        "token_ids": list(range(size * len(hashes))), "block_size": size, "lora_id": None, "medium": medium, "lora_name": None,
        **more,
    }  # fmt: skip


def removed(hashes, medium="GPU", **more) -> dict:
    return {"type": "BlockRemoved", "block_hashes": list(hashes), "medium": medium, **more}


def cleared(**more) -> dict:
    return {"type": "AllBlocksCleared", **more}


class Cache:
    """A prefix cache of `size` places with random traffic: chains of blocks, copies of one content, evictions one block at a
    time, now and then a reset. `blocks` is the truth: hash → copies."""

    def __init__(self, seed: int = 0, size: int = 200, hashes: str = "int", clear: float = 0.0):
        self.random = random.Random(seed)
        self.size, self.hashes, self.clear = size, hashes, clear
        self.blocks: Counter = Counter()
        self.parents: dict = {}
        self.places: deque = deque()  # the hash in each used place, the next to go first
        self.gone: deque = deque(maxlen=500)

    def _hash(self):
        return self.random.randbytes(32) if self.hashes == "bytes" else self.random.getrandbits(64)

    def event(self) -> dict:
        r = self.random
        if r.random() < self.clear:
            self.blocks.clear()
            self.places.clear()
            return cleared()
        if len(self.places) > self.size - 8 or self.places and r.random() < 0.4:
            return self._remove(r.randint(1, min(4, len(self.places))))
        if self.places and r.random() < 0.15:  # computed twice by two requests at once
            twin = r.choice(self.places)
            return self._store([twin], self.parents[twin])
        if self.gone and r.random() < 0.15:  # computed anew after it was removed
            back = r.choice(self.gone)
            return self._store([back], self.parents[back])
        parent = r.choice(self.places) if self.places and r.random() < 0.6 else None
        return self._store([self._hash() for _ in range(r.randint(1, 5))], parent)

    def _store(self, hashes, parent):
        before = parent
        for name in hashes:
            self.parents[name] = before
            before = name
        self.blocks.update(hashes)
        self.places.extend(hashes)
        return stored(hashes, parent, group_idx=0)

    def _remove(self, number: int):
        gone = [self.places.popleft() for _ in range(number)]
        self.blocks.subtract(gone)
        self.blocks = +self.blocks
        self.gone.extend(gone)
        return removed(gone, group_idx=0)

    def batch(self, events: int) -> list[dict]:
        return [self.event() for _ in range(events)]

    @property
    def truth(self) -> dict:
        """As `Mirror.blocks` has it."""
        return {(0, name): copies for name, copies in self.blocks.items()}


class Publisher:
    """`lose`: share of messages that are not sent (they are in the buffer all the same). `endpoint` and `replay` are its
    addresses once it is entered; give them to a second one to play a restart. `connect`: to an `endpoint` that somebody else
    binds. `replies`: one of REPLIES, or None: nobody answers."""

    def __init__(
        self, form: str = "maps in arrays", buffer_steps: int = 10_000, lose: float = 0.0, topic: str = "kv-events",
        seed: int = 0, endpoint: str = "tcp://127.0.0.1:*", replay: str = "tcp://127.0.0.1:*", connect: bool = False,
        rank: int | None = 0, replies: str | None = REPLIES[0],
    ):  # fmt: skip
        self.form, self.lose, self.topic, self.rank, self.replies = form, lose, topic.encode(), rank, replies
        self.random = random.Random(seed)
        self.seq = self.lost = self.requests = self.sent = 0  # `sent`: number behind the last message that was not lost
        self.buffer: deque = deque(maxlen=buffer_steps)
        self._queue: queue.Queue = queue.Queue()
        self._joined = threading.Event()
        self._context = zmq.Context()
        self._pub, self._router = self._context.socket(zmq.XPUB), self._context.socket(zmq.ROUTER)
        self._pub.setsockopt(zmq.SNDHWM, 100_000)
        for socket in (self._pub, self._router):
            socket.setsockopt(zmq.IPV6, "[" in endpoint)
        self._pub.connect(endpoint) if connect else self._pub.bind(endpoint)
        self._router.bind(replay)
        self.endpoint, self.replay = (s.getsockopt_string(zmq.LAST_ENDPOINT) for s in (self._pub, self._router))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._queue.put(None)
        self._thread.join()
        self._pub.close(0)
        self._router.close(0)
        self._context.term()

    def publish(self, events: list[dict], lose: bool | None = None) -> None:
        """`lose`: this one or not, whatever chance says."""
        lose = self.random.random() < self.lose if lose is None else lose
        self._queue.put((encode(events, self.form, ts=1e9 + self.random.random(), rank=self.rank), lose))

    def publish_raw(self, payload: bytes) -> None:
        """Under the next number."""
        self._queue.put((payload, False))

    def send_frames(self, *frames: bytes) -> None:
        """As they are."""
        self._queue.put((frames, False))

    def wait_for_subscriber(self) -> None:
        if not self._joined.wait(60):
            raise TimeoutError("nobody subscribed")

    @property
    def has_subscriber(self) -> bool:
        return self._joined.is_set()

    def wait_until_sent(self) -> None:
        self._queue.join()

    def _serve(self) -> None:
        while True:
            while self._pub.poll(0):
                self._pub.recv()
                self._joined.set()
            if self._router.poll(0):
                self._replay_one(self._router.recv_multipart())
            try:
                found = self._queue.get(timeout=0.002)
            except queue.Empty:
                continue
            if found is None:
                return
            payload, lose = found
            if isinstance(payload, tuple):
                self._pub.send_multipart(payload)
            else:
                if not lose:
                    self._pub.send_multipart([self.topic, self.seq.to_bytes(8, "big"), payload])
                    self.sent = self.seq + 1
                self.lost += lose
                self.buffer.append((self.seq, payload))
                self.seq += 1
            self._queue.task_done()

    def _replay_one(self, frames) -> None:
        if len(frames) != 3:
            return
        self.requests += 1
        if self.replies is None:
            return
        client, _, start = frames
        topic, no_topic = ([self.topic], [b""]) if self.replies == "with topic" else ([], [])
        for seq, payload in self.buffer:
            if seq >= int.from_bytes(start, "big"):
                self._router.send_multipart([client, b"", *topic, seq.to_bytes(8, "big"), payload])
        self._router.send_multipart([client, b"", *no_topic, END, b""])
