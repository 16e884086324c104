"""Whether a built model may be loaded: code that runs in this process, from a folder that others may have been at (D29).

Beside the shared object lies its SHA-256, and both go to the disk before the folder gets its name. What is not whole is built
anew. Only what belongs to this user (or to root, whose programs all trust) and that nobody else can write is loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ...contract.errors import BuildError
from ...contract.files import advice, sync

FACTS = "model.json"
FOR_OTHERS = 0o022
REMEDY = "set KVFPGA_CACHE to a folder of yours that can be written"


def why_not(library: Path) -> str | None:
    """What is wrong with a built model; None: it may be loaded. FileNotFoundError where there is none."""
    content = library.read_bytes()
    for path in (library.parent, library):
        status = path.stat()
        if status.st_uid not in (os.geteuid(), 0):
            return f"it belongs to user {status.st_uid}"
        if status.st_mode & FOR_OTHERS:
            return f"others may write it (mode {status.st_mode & 0o777:o})"
    try:
        expected = json.loads((library.parent / FACTS).read_bytes())["sha256"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return f"{FACTS} beside it cannot be read"
    return None if hashlib.sha256(content).hexdigest() == expected else "its content has changed"


def seal(folder: Path, library: str, facts: dict[str, Any]) -> None:
    """Write what `why_not` asks for, and have the folder's files on the disk."""
    digest = hashlib.sha256((folder / library).read_bytes()).hexdigest()
    (folder / FACTS).write_text(json.dumps({**facts, "sha256": digest}))
    for path in folder.iterdir():
        path.chmod(0o600)  # whatever the umask is
        sync(path)
    sync(folder)


def prepare(models: Path) -> None:
    """The folder of all models, which nobody else may write. BuildError where that cannot be."""
    try:
        models.parent.mkdir(parents=True, exist_ok=True)
        models.mkdir(mode=0o700, exist_ok=True)
        status = models.stat()
        if status.st_uid not in (os.geteuid(), 0):
            raise BuildError(f"the cache {models} belongs to user {status.st_uid}", REMEDY)
        if status.st_mode & FOR_OTHERS:
            models.chmod(status.st_mode & 0o755)
    except OSError as error:
        raise unusable(models, error) from None


def unloadable(library: Path, error: OSError) -> BuildError:
    return BuildError(
        f"the built model {library} cannot be loaded: {error}",
        "set KVFPGA_CACHE to a folder on a file system that programs may be run from (not mounted noexec)",
    )


def unusable(models: Path, error: OSError) -> BuildError:
    return BuildError(f"the cache {models} cannot be used: {error.strerror or error}", f"{REMEDY}; {advice(error)}")
