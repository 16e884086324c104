"""The configuration file: what options are where nobody says them. TOML, at config.toml in the user's configuration folder.

    # ~/.config/kvfpga/config.toml
    target = "model"                   # as --target takes it
    board = "ulx3s"                    # as --board
    session = "~/kv/session"           # as --session; relative to the folder of this file
    json = true                        # as --json; --no-json on the command line is against it

The folder is $XDG_CONFIG_HOME/kvfpga where that variable is set. KVFPGA_CONFIG names another file; where it is set and empty,
none is read. Options and the environment go before the file; `kvfpga info` shows what came from it. A file with anything
else in it is refused, with its line: it would be a mistake that nobody notices.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from ..contract import folders
from ..contract.errors import UsageError
from ..contract.wording import short

KEYS: dict[str, type] = {"target": str, "board": str, "session": str, "json": bool}
"""What a file may say, by the names of the options."""
EXAMPLES = {"target": '"model"', "board": '"ulx3s"', "session": '"~/kv/session"', "json": "true"}


class ConfigFile(NamedTuple):
    path: Path
    values: dict[str, Any]


def place() -> Path | None:
    """Where the file is, if there is one; None where the user has no home folder, or wants none."""
    if (named := os.environ.get("KVFPGA_CONFIG")) is not None:
        return Path(named) if named else None
    try:
        return folders.config() / "config.toml"
    except UsageError:
        return None


def read() -> ConfigFile | None:
    """The file, checked; None where there is none. UsageError names line, rule and remedy."""
    path = place()
    try:
        if path is None or not (path.exists() or "KVFPGA_CONFIG" in os.environ):
            return None
    except OSError as error:  # of a home folder that is another's
        remedy = "KVFPGA_CONFIG names another one; where it is set and empty, none is read"
        raise UsageError(f"cannot read {path}: {error.strerror}", remedy) from None
    from ..contract import inputs

    text = inputs.read_text(path)
    found = _parsed(path, text)
    for name, value in found.items():
        _check(path, text, name, value)
    if "session" in found:
        found["session"] = path.parent / _folder(f"{path}, line {_line(text, 'session')}", found["session"])
    return ConfigFile(path, found)


def _parsed(path: Path, text: str) -> dict[str, Any]:
    import sys

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why = str(error)
    except ValueError:  # which Python has for such numbers alone
        why = "a number of too many digits"
    except RecursionError:
        why = "it is nested too deep"
    raise UsageError(f"{path}: {why}", 'write it as TOML, such as target = "model"')


def _check(path: Path, text: str, name: str, value: object) -> None:
    where = f"{path}, line {_line(text, name)}"
    if name not in KEYS:
        raise UsageError(f"{where}: {short(name)} is no setting of this file", f"it may have {', '.join(KEYS)}")
    if type(value) is not KEYS[name]:
        kind = "true or false" if KEYS[name] is bool else "text in quotes"
        raise UsageError(f"{where}: {name} is {short(repr(value))}, not {kind}", f"write {name} = {EXAMPLES[name]}")
    if "\0" in str(value):
        raise UsageError(f"{where}: {name} is {short(repr(value))}, not text that a name can be", "leave the character \\0 out")
    if name == "target":
        from ..targets.target import parse_target

        try:
            parse_target(str(value))
        except UsageError as error:
            raise UsageError(f"{where}: {error.message.removeprefix('--')}", error.remedy) from None


def _folder(where: str, name: str) -> Path:
    """The folder that `session` names, with ~ resolved."""
    if not name:
        remedy = f"write session = {EXAMPLES['session']}"
        raise UsageError(f"{where}: session is {short(repr(name))}, no name of a folder", remedy)
    try:
        return Path(name).expanduser()
    except RuntimeError:
        user = name.partition("/")[0]
        raise UsageError(f"{where}: session is {short(repr(name))}, and {user} has no home folder", "name it from / on") from None


def _line(text: str, name: str) -> int:
    """The line of a key, from 1."""
    found = re.search(rf"^[ \t]*\[*[ \t]*[\"']?{re.escape(name)}\b", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1
