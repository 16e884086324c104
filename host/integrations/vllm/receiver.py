"""Who is told what a vLLM server's cache does: KV-cache events (events.py) by kind, for one medium.

A follower (follow.py) tells a `Receiver` every batch once and in order. mirror.py makes entries of what the cache holds;
requests.py finds the requests behind the events, whose blocks a policy places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from .events import GPU, Batch, Cleared, Event, Removed, Stored, Unread

MEDIA = {GPU, "CPU", "CPU_PINNED", "CPU_TIER1", "CPU_TIER2", "DISK", "EXTERNAL", "FS", "OBJ", "STORAGE"}
"""As vLLM, SGLang and their connectors name them. Another name could be a new one for the medium that is mirrored."""


@dataclass
class Told:
    """`stored` and `removed`: blocks. `unread`: events after which everything was forgotten, because they may have removed
    blocks. `other_media`: what else `other_medium` events were about."""

    stored: int = 0
    removed: int = 0
    cleared: int = 0
    unread: int = 0
    other_medium: int = 0
    other_media: list[str] = field(default_factory=list)


class Receiver(ABC):
    """`apply` plans what goes to the device, `flush` runs what was planned. `complete`: has everything been seen since the cache
    was last known to be empty?"""

    counts: Told

    def __init__(self, medium: str = GPU):
        self.medium = medium.upper()
        self.complete = True

    def apply(self, batch: Batch) -> None:
        """Plan what these events come to."""
        for event in batch.events:
            if not self.concerns(event):
                self._leave_alone(event)
            elif isinstance(event, Stored):
                self.counts.stored += len(event.hashes)
                self._stored(event)
            elif isinstance(event, Removed):
                self.counts.removed += len(event.hashes)
                self._removed(event)
            elif isinstance(event, Cleared):
                self.counts.cleared += 1
                # a clear of everything may leave other media as they are (vLLM's does unless it is asked to name the tier)
                self.clear(complete=not event.partly and (event.medium or GPU) == self.medium)
            else:
                self.counts.unread += 1
                self.clear(complete=False)

    def concerns(self, event: Event) -> bool:
        """Is it, or may it be, about the cache that is followed?"""
        if isinstance(event, Unread):
            return not event.media or self.medium in event.media
        if isinstance(event, Cleared):
            return event.medium in (None, self.medium)
        return event.medium == self.medium and not event.remote

    def _leave_alone(self, event: Event) -> None:
        self.counts.other_medium += 1
        for medium in event.media if isinstance(event, Unread) else (event.medium or GPU,):
            if medium != self.medium and medium not in self.counts.other_media:
                self.counts.other_media = sorted([*self.counts.other_media, medium])
            if medium not in MEDIA and medium != self.medium:
                self.complete = False

    @property
    @abstractmethod
    def held(self) -> int:
        """Blocks that are followed at present."""

    @abstractmethod
    def flush(self) -> None:
        """Run what was planned. DeviceRefused where somebody else has changed the directory."""

    @abstractmethod
    def clear(self, complete: bool) -> None:
        """Forget every block, because the cache is empty (`complete`), or because what is in it is not known any more."""

    def finish(self) -> None:
        """Nothing more comes."""
        self.flush()

    @abstractmethod
    def verify(self) -> int:
        """Read the directory and hold it against what was planned: the number of blocks, DifferenceError where they differ."""

    @abstractmethod
    def summary(self) -> dict[str, Any]: ...

    @abstractmethod
    def _stored(self, event: Stored) -> None: ...

    @abstractmethod
    def _removed(self, event: Removed) -> None: ...
