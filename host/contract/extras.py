"""The extras of the package: libraries and programs that only some commands and tools need, and what to say where they are
missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from .errors import BuildError, UsageError


def require(what: str, extra: str, *libraries: str) -> None:
    """UsageError where `what` (its subject, such as "kvfpga top") misses a library of `extra`. Imports none of them."""
    if missing := [library for library in libraries if find_spec(library) is None]:
        raise UsageError(f"{what} needs {', '.join(missing)}", remedy(extra))


def lacking(what: str, extra: str, missing: ModuleNotFoundError) -> SystemExit:
    """The end of a tool whose import of a library of `extra` failed."""
    return SystemExit(f"{what} needs {missing.name}\n  {remedy(extra)}")


def program(name: str, extra: str) -> Path:
    """A program that comes with `extra`: it is beside the Python that runs. BuildError where it is not."""
    found = Path(sys.executable).parent / name
    if not found.exists():
        raise BuildError(f"{name} is not installed", remedy(extra))
    return found


def remedy(extra: str) -> str:
    """The command that installs an extra into the Python that runs; the pip on the PATH may be another's."""
    import shutil

    pip = shutil.which("pip")
    own = pip is not None and Path(pip).parent == Path(sys.executable).parent
    return f"`{'pip' if own else f'{sys.executable} -m pip'} install 'kvfpga[{extra}]'`"
