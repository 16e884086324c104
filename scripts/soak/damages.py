"""Ways in which a file goes bad: each is `damage(path, rng)`, and leaves something else there."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random

Damage = Callable[[Path, Random], None]
HUGE = 1 << 40
"""Bytes of a file that has as good as none on the disk."""
NASTY = [
    "NaN", "Infinity", "-Infinity", "null", "true", '""', "[]", "{}", "-1", "0x", "1e999", "1.5", "'", '"', "\\", "9" * 5000,
    "1" * 60, "18446744073709551616", "-9223372036854775809", "4294967296", "0x1_0", "٣", "é", "\ufeff", "\u2028", "\x00",
    "\x1b[31m", "&a [*a]", "!!python/object:os.system", "2024-01-01", "1:30", "0:1:2", "..", "%s%n", "a" * 70_000, "\r",
    "{" * 3000, "\t", "-", "--", "#",
]  # fmt: skip


# ---- something else in its place ----------------------------------------------------------------------------------------
def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def instead(make: Callable[[Path], object]) -> Damage:
    def damage(path: Path, rng: Random) -> None:
        remove(path)
        make(path)

    return damage


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")  # a path of a socket is short
    os.close(folder)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, HUGE)


NO_FILES: dict[str, Damage] = {
    "gone": instead(lambda path: None),
    "folder": instead(lambda path: path.mkdir()),
    "folder with a file": instead(lambda path: (path.mkdir(), (path / "file").write_text("x"))),
    "loop of links": instead(lambda path: path.symlink_to(path)),
    "links in a circle": instead(lambda path: (path.symlink_to(f"{path}.2"), Path(f"{path}.2").symlink_to(path))),
    "link to nothing": instead(lambda path: path.symlink_to(path.parent / "nothing")),
    "link to a folder": instead(lambda path: path.symlink_to(path.parent)),
    "link to zeros": instead(lambda path: path.symlink_to("/dev/zero")),
    "pipe": instead(os.mkfifo),
    "socket": instead(_socket),
    "huge": instead(_huge),
}
"""What is no file that anybody could have meant."""


# ---- other bytes --------------------------------------------------------------------------------------------------------
def bytes_by(change: Callable[[bytes, Random], bytes]) -> Damage:
    def damage(path: Path, rng: Random) -> None:
        path.write_bytes(change(path.read_bytes(), rng))

    return damage


def _flip(data: bytes, rng: Random) -> bytes:
    bad = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        if bad:
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
    return bytes(bad)


def _page(data: bytes, rng: Random) -> bytes:
    """A page of zeros, or of another place, as a disk leaves it."""
    at, other = (4096 * rng.randrange(max(1, len(data) // 4096)) for _ in range(2))
    page = data[other : other + 4096] if rng.random() < 0.5 else bytes(min(4096, len(data) - at))
    return data[:at] + page + data[at + 4096 :]


def _line(data: bytes, rng: Random) -> bytes:
    """The same bit of two words of a page, as a stuck line of a memory leaves it."""
    bad, bit = bytearray(data), rng.choice([63, 63, 62, 31, rng.randrange(64)])
    page = 4096 * rng.randrange(max(1, len(data) // 4096))
    for word in rng.sample(range(512), 2):
        if page + 8 * word + 8 <= len(bad):
            bad[page + 8 * word + bit // 8] ^= 1 << bit % 8
    return bytes(bad)


BYTES: dict[str, Damage] = {
    "bits": bytes_by(_flip),
    "line": bytes_by(_line),
    "cut": bytes_by(lambda data, rng: data[: rng.randrange(len(data) + 1)]),
    "a byte less": bytes_by(lambda data, rng: data[:-1]),
    "empty": bytes_by(lambda data, rng: b""),
    "zeros": bytes_by(lambda data, rng: bytes(len(data))),
    "noise": bytes_by(lambda data, rng: rng.randbytes(rng.randrange(1, 5000))),
    "page": bytes_by(_page),
    "more behind it": bytes_by(lambda data, rng: data + rng.randbytes(rng.randrange(1, 100))),
    "twice": bytes_by(lambda data, rng: data + data),
    "gap": bytes_by(lambda data, rng: data[: (at := rng.randrange(len(data) + 1))] + data[at + rng.randrange(1, 50) :]),
}


# ---- other text ---------------------------------------------------------------------------------------------------------
def text_by(change: Callable[[str, Random], str]) -> Damage:
    return bytes_by(lambda data, rng: change(data.decode("latin-1"), rng).encode("utf-8", "surrogatepass"))


def _word(text: str, rng: Random) -> str:
    """Some words or numbers become something nasty."""
    words = list(re.finditer(r'"[^"\n]*"|[\w.]+', text)) or [re.match("", text)]
    for found in sorted(rng.sample(words, min(len(words), rng.choice([1, 1, 2, 5]))), key=lambda found: -found.start()):
        text = text[: found.start()] + rng.choice(NASTY) + text[found.end() :]
    return text


def _lines(text: str, rng: Random) -> str:
    lines = text.splitlines(keepends=True)
    rng.shuffle(lines)
    return "".join(lines + rng.choices(lines, k=len(lines))) if lines else text


TEXTS: dict[str, Damage] = {
    "words": text_by(_word),
    "sign": text_by(lambda text, rng: "".join(rng.choice("[]{},:\"'#\n") if rng.random() < 0.02 else one for one in text)),
    "lines": text_by(_lines),
    "end of line": text_by(lambda text, rng: text.replace("\n", rng.choice(["\r", "\r\n", "\x85", "\u2028", "\0", " "]))),
}

NO_TEXTS: dict[str, Damage] = {
    "latin-1": bytes_by(lambda data, rng: b"\xe9\xff" + data),
    "half a character": bytes_by(lambda data, rng: data + b"\xe2\x82"),
    "UTF-16": bytes_by(lambda data, rng: data.decode("latin-1").encode("utf-16")),
    "deep": bytes_by(lambda data, rng: rng.choice([b"[", b'{"a":', b"- ", b"(", b"{"]) * 100_000),
    "deep value": bytes_by(lambda data, rng: b'{"call": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "long line": bytes_by(lambda data, rng: data[:5] + b"x" * (40 << 20)),
}
"""What no text is that anybody could have meant."""
