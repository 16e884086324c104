"""docs/ci: both files are YAML as the services take it, and each line but the installation works on a copy of fpga/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from kvfpga.contract.version import __version__
from tests.helpers.places import DOCS, ROOT

GITHUB, GITLAB = ((DOCS / "ci" / name).read_text("utf-8") for name in ("github-actions.yml", "gitlab-ci.yml"))
INSTALL = "python -m pip install $KVFPGA"
"""Needs an index of packages; test_wheel.py tries what it would install."""


def github() -> tuple[list[str], dict[str, str]]:
    """The lines that a job runs, and its variables."""
    read = yaml.load(GITHUB, yaml.BaseLoader)  # else YAML 1.1 takes the key `on` for true
    assert read.keys() == {"name", "on", "env", "jobs"}
    job = read["jobs"]["lockstep"]
    assert job.keys() == {"runs-on", "timeout-minutes", "steps"}
    assert all(("run" in step) != ("uses" in step) for step in job["steps"])
    return [step["run"] for step in job["steps"] if "run" in step], read["env"]


def gitlab() -> tuple[list[str], dict[str, str]]:
    job = yaml.safe_load(GITLAB)["lockstep"]
    assert job.keys() == {"image", "timeout", "variables", "cache", "script", "artifacts"}
    return job["script"], job["variables"]


def test_both_files_do_the_same():
    assert github()[0] == gitlab()[0]
    assert github()[1].keys() == gitlab()[1].keys()


@pytest.mark.parametrize("read", [github, gitlab])
def test_a_wheel_of_any_version_is_installed(tmp_path, read):
    wheel = tmp_path / "vendor" / f"kvfpga-{__version__}.1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    line = INSTALL.replace("python -m pip", "echo")
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=read()[1], capture_output=True, text=True)
    assert done.stdout == f"install {wheel.relative_to(tmp_path)}\n"


@pytest.mark.parametrize(("read", "checkout"), [(github, "${{ github.workspace }}"), (gitlab, "$CI_PROJECT_DIR")])
def test_what_is_cached_and_kept_is_what_the_variables_name(read, checkout):
    variables = read()[1]
    text = GITHUB if read is github else GITLAB
    for name, folder in (("KVFPGA_RTL", "fpga"), ("KVFPGA_CACHE", ".cache/kvfpga"), ("KVFPGA_SESSION", ".session")):
        assert variables[name] == f"{checkout}/{folder}"
        assert folder == "fpga" or text.count(folder) >= 2


def run(folder, fpga) -> subprocess.CompletedProcess[str]:
    plain = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    plain |= {"KVFPGA_RTL": str(fpga), "KVFPGA_SESSION": str(folder / ".session")}
    lines = [line for line in github()[0] if line != INSTALL]
    assert len(lines) == len(github()[0]) - 1
    return subprocess.run(["bash", "-e", "-c", "\n".join(lines)], cwd=folder, env=plain, capture_output=True, text=True)


def test_the_lines_pass_on_this_rtl(tmp_path):
    shutil.copytree(ROOT / "fpga", tmp_path / "fpga")
    done = run(tmp_path, tmp_path / "fpga")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agree with the reference" in done.stdout.splitlines()[-1]


def test_the_lines_fail_on_rtl_with_a_fault(tmp_path, mutant):
    done = run(tmp_path, mutant)
    assert done.returncode in (3, 4), done.stdout + done.stderr
