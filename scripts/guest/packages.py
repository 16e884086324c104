"""Debian packages for the guest, in a folder of their own: nothing is installed, and the machine's own apt is left as it is.

QEMU speaks vfio-user from 10.1 on, which is in trixie-backports; the kernels are those of bookworm, trixie and trixie-backports.
Each suite gets a private apt (lists, cache, an empty status), with the mirror that this machine's apt uses. Programs of a newer
Debian run here through the dynamic linker of their own libc6 (`run_with`).

    FOLDER/apt-SUITE/        the private apt
    FOLDER/root-NAME/        packages, unpacked

FOLDER is in the user's cache, for all checkouts. A root that is there is taken as it is, so a second run needs no network; remove
FOLDER for newer packages.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class GuestError(Exception):
    """The guest, or what it is made of, fails; the text says how, and what to do."""


class Missing(GuestError):
    """Something that the guest is made of cannot be had here: no word on the driver."""


class Suite(NamedTuple):
    """A Debian release, and in `backports` the suite on top of it (or "")."""

    release: str
    backports: str = ""


class Kernel(NamedTuple):
    """A kernel of Debian: `line` is what it is called here, the packages are those that `suite` has under `wanted`. `checked`:
    can the sparse of Debian read its headers? Those of 7.3 end its version 0.6.4, and the kernel's make refuses it."""

    line: str
    suite: Suite
    wanted: str
    checked: bool = True


BOOKWORM, TRIXIE, BACKPORTS = Suite("bookworm"), Suite("trixie"), Suite("trixie", "trixie-backports")
FLAVOUR = "cloud-amd64"
SOURCES = "linux-source-6.12"
DAY = 24 * 3600
KERNELS = (
    Kernel("6.1", BOOKWORM, "bookworm"), Kernel("6.12", TRIXIE, "trixie"), Kernel("newest", BACKPORTS, "trixie-backports", False),
)  # fmt: skip


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str | Path, cwd: Path | None = None, apt: Path | None = None) -> str:
    """What a command says; `apt`: the configuration of a private apt."""
    environment = os.environ | ({"APT_CONFIG": str(apt)} if apt else {})
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd, env=environment)
    if done.returncode:
        words = " ".join(str(word) for word in command[:6])
        raise Missing(f"{words} … failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout


def mirror() -> str:
    """Where this machine's apt gets Debian itself from."""
    if not shutil.which("apt-get"):
        raise Missing("the guest is made of Debian packages, and there is no apt-get here: run this on a Debian")
    sites = _run("apt-get", "indextargets", "--format", "$(SITE)", "Identifier: Packages").split()
    for site in sites:
        if "security" not in site:
            return site
    raise Missing("apt knows no mirror: apt-get update, and then again")


class Apt:
    """The private apt of a suite below `folder`."""

    def __init__(self, folder: Path, suite: Suite):
        self.suite = suite
        self.folder = (folder / f"apt-{suite.backports or suite.release}").resolve()
        self._conf = self.folder / "conf"

    def update(self) -> None:
        """Fetch the lists, unless they are of today: a mirror forgets packages that newer ones have replaced."""
        if self._conf.exists() and time.time() - self._conf.stat().st_mtime < DAY:
            return
        for name in ("state/lists/partial", "cache/archives/partial", "none"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "state/status").touch()
        keyring = next(Path("/usr/share/keyrings").glob("debian-archive-keyring.*"), None)
        if keyring is None:
            raise Missing("Debian's keys are missing: apt-get install debian-archive-keyring")
        lines = [f"deb [signed-by={keyring}] {mirror()} {name} main\n" for name in self.suite if name]
        (self.folder / "list").write_text("".join(lines))
        conf = self.folder / "conf.new"
        conf.write_text(
            f'Dir::State "{self.folder}/state";\nDir::State::status "{self.folder}/state/status";\n'
            f'Dir::Cache "{self.folder}/cache";\nDir::Etc::sourcelist "{self.folder}/list";\n'
            f'Dir::Etc::sourceparts "{self.folder}/none";\nDir::Etc::preferencesparts "{self.folder}/none";\n'
            f'APT::Default-Release "{self.suite.backports or self.suite.release}";\n'
            'Acquire::Languages "none";\nAPT::Sandbox::User "root";\nAPT::Install-Recommends "false";\n'
            'APT::Update::Error-Mode "any";\n'  # without it, apt-get update succeeds where there is no network
        )
        self._get("update", conf=conf)
        conf.rename(self._conf)

    def _get(self, *words: str, conf: Path | None = None, cwd: Path | None = None) -> None:
        _run("apt-get", "-qq", *words, cwd=cwd or self.folder, apt=conf or self._conf)

    def field(self, package: str, name: str) -> str:
        """A field of the version that would be installed, "" where there is none."""
        text = _run("apt-cache", "--no-all-versions", "show", package, apt=self._conf)
        match = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
        return match[1] if match else ""

    def unpack(self, root: Path, packages: Sequence[str], dependencies: bool) -> Path:
        """Put the packages, and what they depend on where that is wanted, into the new folder `root`."""
        with alone(root.parent):
            if not root.exists():
                self.update()
                self._unpack(root, packages, dependencies)
        return root

    def _unpack(self, root: Path, packages: Sequence[str], dependencies: bool) -> None:
        debs, new = self.folder / root.name, root.with_name(root.name + ".new")
        for folder in (debs, new):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        if dependencies:
            self._get("install", "-y", "--download-only", *packages)
            for deb in (self.folder / "cache/archives").glob("*.deb"):
                deb.rename(debs / deb.name)
        else:
            self._get("download", *packages, cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            _run("dpkg-deb", "-x", deb, new)
        (new / "package-bytes").write_text(str(sum(deb.stat().st_size for deb in debs.glob("*.deb"))))
        new.rename(root)
        shutil.rmtree(debs)


def package_bytes(root: Path) -> int:
    """What was downloaded for a root."""
    return int((root / "package-bytes").read_text())


def qemu(folder: Path) -> Path:
    """A root with QEMU for x86 and everything it runs on."""
    return Apt(folder, BACKPORTS).unpack(folder / "root-qemu", ["qemu-system-x86"], dependencies=True)


def busybox(folder: Path) -> Path:
    """A root with a statically linked busybox."""
    return Apt(folder, TRIXIE).unpack(folder / "root-busybox", ["busybox-static"], dependencies=False)


def sparse(folder: Path) -> Path:
    """A root with sparse, which reads a module's C for what a compiler does not see (address spaces, byte orders, contexts)."""
    return Apt(folder, TRIXIE).unpack(folder / "root-sparse", ["sparse"], dependencies=False)


def checkpatch(folder: Path) -> Path:
    """The kernel's own checkpatch.pl, beside what it reads. Debian has it only in sources, of which no more is kept."""
    found = folder / "checkpatch"
    if not found.exists():
        sources = Apt(folder, TRIXIE).unpack(folder / "root-source", [SOURCES], dependencies=False)
        with alone(folder):
            new = folder / "checkpatch.new"
            new.mkdir(exist_ok=True)
            files = [f"{SOURCES}/scripts/{name}" for name in ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")]
            _run("tar", "-C", new, "--strip-components=2", "-xf", sources / f"usr/src/{SOURCES}.tar.xz", *files)
            new.rename(found)
            shutil.rmtree(sources)
    return found / "checkpatch.pl"


def python(folder: Path) -> Path:
    """A root with Python and what `kvfpga` imports for commands on a device."""
    return Apt(folder, TRIXIE).unpack(folder / "root-python", ["python3", "python3-numpy", "python3-click", "python3-rich"], True)


def kernel(folder: Path, kernel: Kernel) -> Path:
    """A root with the kernel, and the headers and tools that a module is built with."""
    root = folder / f"root-{kernel.line}"
    if root.exists():
        return root
    apt = Apt(folder, kernel.suite)
    with alone(folder):
        apt.update()
    release = re.search(rf"linux-headers-(\S+)-{FLAVOUR}\b", apt.field(f"linux-headers-{FLAVOUR}", "Depends"))
    if not release:
        raise Missing(f"{kernel.wanted} has no linux-headers-{FLAVOUR}: remove {apt.folder}, and then again")
    name = release[1]
    common = re.sub(r"-cloud$", "", name)
    packages = [f"linux-image-{name}-{FLAVOUR}", f"linux-headers-{name}-{FLAVOUR}", f"linux-headers-{common}-common"]
    for package in packages[:2]:  # the kernel itself is a package of its own from 7 on
        packages += re.findall(r"linux-(?:kbuild|base|binary)-\d[^ ,|]*", apt.field(package, "Depends"))
    return apt.unpack(root, list(dict.fromkeys(packages)), dependencies=False)


def run_with(root: Path) -> list[str]:
    """Words to put before a program, so that it runs with the C library and the others of `root` and not with this machine's."""
    loaders = (root / place / "ld-linux-x86-64.so.2" for place in ("usr/lib64", "lib64", "usr/lib/x86_64-linux-gnu"))
    loader = next((path for path in loaders if path.exists()), None)
    if loader is None:
        raise GuestError(f"{root} has no dynamic linker: remove it, and then again")
    return [str(loader), "--library-path", f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib/x86_64-linux-gnu"]
