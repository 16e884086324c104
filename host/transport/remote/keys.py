"""Keys of the remote target over TCP: who one is, whom one lets in, whom one believes (docs/remote.md).

A folder, the user's configuration folder or the one that KVFPGA_KEYS names, holds

    key           this user's own pair, public and secret; readable by nobody else, or it is refused
    authorized    whom a server of this user lets in: a line each, public key and a name
    servers       whom a client of this user believes to be a server: a line each, tcp://HOST:PORT and its public key

Keys are written in 64 hexadecimal digits (Curve25519). Lines that begin with # are comments. The lists are read anew for each
connection, so nobody has to restart a server.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ...contract import folders
from ...contract.errors import TargetError, UsageError
from ...contract.inputs import LARGEST_TEXT
from .protocol import host_and_port

KEY, AUTHORIZED, SERVERS = "key", "authorized", "servers"


@dataclass(frozen=True)
class Keys:
    """A key pair, 32 bytes each, and the folder with the lists that go with it."""

    folder: Path
    public: bytes
    secret: bytes = field(repr=False)

    def authorized(self) -> dict[bytes, str]:
        """The clients that may come in: public key → name."""
        found = {}
        for where, line in _lines(self.folder / AUTHORIZED):
            key, _, name = line.partition(" ")
            found[_key(key, where)] = name.strip() or key[:8]
        return found

    def server(self, address: str) -> bytes:
        """The public key of the server at tcp://HOST:PORT. TargetError where it is not known."""
        for where, line in _lines(self.folder / SERVERS):
            place, _, key = line.partition(" ")
            if place == address:
                return _key(key.strip(), where)
        raise TargetError(
            f"the key of the server {address} is not known",
            f"ask whoever runs it for its public key (`kvfpga keys show`), then `kvfpga keys trust {address} KEY`",
        )


def default_folder() -> Path:
    if folder := os.environ.get("KVFPGA_KEYS"):
        return Path(folder)
    return folders.config() / "keys"


def create(folder: Path | None = None) -> Keys:
    """A new pair in `folder` (None: the user's). UsageError where there is one: it would lock its owner out."""
    import zmq
    from zmq.utils import z85

    folder = folder or default_folder()
    path = folder / KEY
    public, secret = (z85.decode(text) for text in zmq.curve_keypair())
    text = f"# a key of kvfpga; whoever has the secret is you\npublic {public.hex()}\nsecret {secret.hex()}\n"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(path, text)
    except FileExistsError:
        raise UsageError(f"there is a key in {path} already", "use it, or move it away to make a new one") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "name another folder with KVFPGA_KEYS") from error
    return Keys(folder, public, secret)


def load(folder: Path | None = None) -> Keys:
    """The pair in `folder` (None: the user's). TargetError where there is none, or others can read it."""
    folder = folder or default_folder()
    path = folder / KEY
    try:
        about, text = _read(path)
    except FileNotFoundError:
        raise TargetError(f"there is no key in {path}", "`kvfpga keys create` makes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"cannot read {path}: {error}", "it must be a readable key file of yours") from error
    if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
        raise TargetError(
            f"the key {path} can be read or written by others (mode {stat.S_IMODE(about.st_mode):04o}, owner {about.st_uid})",
            f"`chmod 600 {path}`; if somebody may have read it, move it away and make a new one with `kvfpga keys create`",
        )
    found = re.fullmatch(r"(?:#.*\n)*public ([0-9a-f]{64})\nsecret ([0-9a-f]{64})\n", text)
    if not found:
        raise TargetError(f"{path} is damaged", "move it away and make a new one with `kvfpga keys create`")
    return Keys(folder, bytes.fromhex(found[1]), bytes.fromhex(found[2]))


def authorize(key: str, name: str, folder: Path | None = None) -> None:
    """Let the owner of the public key in; `name` is what log lines call them."""
    folder = folder or default_folder()
    value = _key(key, "the command line")
    if not re.fullmatch(r"[^\s#][^\n\r]{0,99}", name):
        raise UsageError(f"{name!r} is not a name for a line of {AUTHORIZED}", "one line of up to 100 characters")
    if value not in Keys(folder, b"", b"").authorized():
        kept = _text(folder / AUTHORIZED).splitlines()
        _replace(folder / AUTHORIZED, "".join(f"{line}\n" for line in [*kept, f"{value.hex()} {name}"]))


def trust(address: str, key: str, folder: Path | None = None) -> None:
    """Believe that the server at tcp://HOST:PORT has this public key, whatever was believed before."""
    folder = folder or default_folder()
    host_and_port(address)
    value = _key(key, "the command line")
    path = folder / SERVERS
    kept = [line for line in _text(path).splitlines() if line.strip().partition(" ")[0] != address]
    _replace(path, "".join(f"{line}\n" for line in [*kept, f"{address} {value.hex()}"]))


def _key(text: str, where: str) -> bytes:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise UsageError(f"{where}: {text[:80]!r} is not a key", "a public key has 64 hexadecimal digits (`kvfpga keys show`)")
    return bytes.fromhex(text)


def _text(path: Path) -> str:
    """What is in a list, nothing where there is none. A list that others may write is refused."""
    try:
        about, text = _read(path)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"cannot read {path}: {error}", "it must be a readable text file") from error
    if about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise TargetError(f"{path} can be written by others", f"look through it, then `chmod 600 {path}`")
    return text


def _read(path: Path) -> tuple[os.stat_result, str]:
    """What it is, and what is in it. A pipe would wait for ever, a file without end fill the memory."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_TEXT:
            raise TargetError(f"cannot read {path}: it is no file of {LARGEST_TEXT:,} bytes at most", "move it away")
        return about, file.read()


def _lines(path: Path) -> list[tuple[str, str]]:
    """(place, text) of each line that says something."""
    lines = [(f"{path}:{n}", line.strip()) for n, line in enumerate(_text(path).splitlines(), 1)]
    return [(where, line) for where, line in lines if line and not line.startswith("#")]


def _write_new(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    """Write it whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(new, text)
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}", "name another folder with KVFPGA_KEYS") from error
