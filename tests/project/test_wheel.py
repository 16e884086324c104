"""What is built from a checkout: complete, without warnings, and of use where there is no checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

import kvfpga
from tests.helpers.tracked import MADE, tracked

SHIPPED = {"host/": "kvfpga/", "fpga/": "kvfpga/_fpga/"}
"""Where a file of the checkout is in the wheel."""


def run(*command, **options) -> str:
    """What a command prints, all of it."""
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def pip(*words, **options) -> str:
    """pip without the settings of this machine, and without a network."""
    return run(sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *words, **options)


def build_wheel(source: Path, folder: Path) -> tuple[zipfile.ZipFile, str]:
    """The wheel of a checkout or sdist, and what the tools said."""
    ours = ("PYTHONDONTWRITEBYTECODE", "SOURCE_DATE_EPOCH")  # of the one, the tools warn; the other would set the times
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    said = pip("wheel", "-v", "--no-deps", "--no-index", "--no-build-isolation", "-w", folder, source, env=environment)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel), said


def files(wheel: zipfile.ZipFile) -> dict[str, bytes]:
    return {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def checkout(pytestconfig, tmp_path_factory) -> Path:
    """A copy of what git tracks: no leftovers of earlier builds, and nothing is left in the checkout itself."""
    root, copy = pytestconfig.rootpath, tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def built(checkout, tmp_path_factory) -> tuple[zipfile.ZipFile, str]:
    return build_wheel(checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def elsewhere(built, tmp_path_factory) -> Path:
    """The python of a new environment with the wheel in it. Other packages are those of this environment: a line in a .pth
    file brings them, but not kvfpga, which is here through a .pth file itself."""
    home = tmp_path_factory.mktemp("elsewhere")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", built[0].filename)
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (own / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return python


def test_every_tracked_file_of_host_and_fpga_is_in_the_wheel_and_nothing_else(checkout, built):
    expected = {
        inside + path.relative_to(checkout / folder).as_posix(): path.read_bytes()
        for folder, inside in SHIPPED.items()
        for path in (checkout / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected and files(built[0]) == expected


def test_the_tools_warn_of_nothing(built):
    said = built[1].lower()
    assert "kvfpga/_fpga" in said  # the build is told of at all
    warnings = [line for line in said.splitlines() if "warn" in line or "deprecat" in line]
    clean = "no previously-included files"  # MANIFEST.in leaves out what tools write, and a clean checkout has none of it
    assert [line for line in warnings if clean not in line] == []


def test_the_metadata_is_valid(built, pytestconfig):
    (name,) = [name for name in built[0].namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Metadata.from_email(built[0].read(name), validate=True)
    assert metadata.license_expression == "Apache-2.0" and metadata.license_files == ["LICENSE"]
    assert metadata.author and metadata.classifiers and metadata.version.public == kvfpga.__version__
    assert metadata.description == (pytestconfig.rootpath / "README.md").read_text()


@pytest.fixture(scope="module")
def sdist(checkout, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    build = "import setuptools.build_meta, sys; setuptools.build_meta.build_sdist(sys.argv[1])"
    said = run(sys.executable, "-c", build, folder, cwd=checkout)
    assert "warning" not in said.lower().replace("warning: no previously-included files", "")
    (path,) = folder.glob("*.tar.gz")
    return path


def test_an_sdist_has_what_is_tracked_and_what_it_makes_itself(sdist):
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames() if archive.getmember(name).isfile()}
    assert {name for name in inside if not name.startswith(MADE)} == set(tracked())


def test_in_an_sdist_what_can_be_run_still_can(sdist, checkout):
    """Runs what `make test` runs there before pytest: the scripts keep their run bits."""
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            there = checkout / member.name.partition("/")[2]
            if member.isfile() and there.is_file():
                assert bool(member.mode & 0o100) == os.access(there, os.X_OK), member.name


def test_a_wheel_made_from_an_sdist_is_the_same(sdist, built, tmp_path):
    assert files(build_wheel(sdist, tmp_path)[0]) == files(built[0])


def test_a_wheel_is_the_same_to_the_byte_wherever_and_whenever_it_is_built(checkout, built, tmp_path):
    """From files that are new, and that nobody else may read."""

    def private(source, target):
        shutil.copyfile(source, target)
        os.chmod(target, 0o600)

    another = tmp_path / "another"
    shutil.copytree(checkout, another, copy_function=private, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    wheels = built[0], build_wheel(another, tmp_path)[0]
    first, second = (Path(wheel.filename).read_bytes() for wheel in wheels)
    assert first == second


RIGHT = """\
import kvfpga

with kvfpga.open("sim", entries=256) as dev:
    dev.load(request=1, layer=0, head=0, tokens=(0, 31), va=0x7F001000)
    tiers: list[int] = [trigger.to_tier for trigger in dev.step(1).triggers]
"""
WRONG = """\
import kvfpga

with kvfpga.open("sim", entries=256) as dev:
    dev.step("1")  # arg-type
    dev.step(1).trigger  # attr-defined
    dev.load(request=1)  # call-arg
    dev.step(1).triggers[0].to_tier.upper()  # attr-defined
"""
"""Each mistake with the name that mypy has for it."""


def test_elsewhere_a_type_checker_sees_the_types(elsewhere, tmp_path, pytestconfig):
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    cache = pytestconfig.cache.mkdir("mypy")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--python-executable", elsewhere, "--cache-dir", cache,
         "--config-file=", "right.py", "wrong.py"], cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert checked.returncode == 1 and not checked.stderr
    found = re.findall(r"^(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", checked.stdout, re.M)
    expected = [("wrong.py", str(n), line.partition("# ")[2]) for n, line in enumerate(WRONG.splitlines(), 1) if "# " in line]
    assert found == expected, checked.stdout


def test_elsewhere_the_wheel_runs_the_demo(elsewhere, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KVFPGA_", "PYTHON"))}
    if "KVFPGA_CACHE" in os.environ:
        environment["KVFPGA_CACHE"] = os.environ["KVFPGA_CACHE"]

    def there(*command) -> str:
        return run(*command, cwd=tmp_path, env=environment)

    look = "import kvfpga; from kvfpga.transport.sim.build import rtl_root; print(kvfpga.__file__, rtl_root(), sep='\\n')"
    for found in there(elsewhere, "-c", look).splitlines():
        assert Path(found).is_relative_to(elsewhere.parents[1])
    told = there(elsewhere.with_name("kvfpga"), "--entries", "256", "--lanes", "1", "demo")
    assert "hardware and reference agree" in told.splitlines()[-1]
