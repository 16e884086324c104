"""Fixtures for all tests. `dut` is what the rule tests run on: the reference model, and the RTL in lockstep."""

from __future__ import annotations

import os
import signal

import pytest

pytest.register_assert_rewrite("tests.helpers")  # before anything imports them
os.environ["KVFPGA_ASSERTIONS"] = "1"  # every simulation here, in other processes too, checks what the RTL promises
os.environ["KVFPGA_CONFIG"] = ""  # no test depends on the configuration file of whoever runs it
os.environ["KVFPGA_QUICK_BUILD"] = "1"  # most of a run's time would go into builds; test_wheel.py has a model as users build it

# Started by nohup or in the background of a script, this process ignores them, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


LONG = tuple(f"tests/{place}" for place in ("scripts/", "rtl/", "project/", "formal/", "blackbox/"))
"""Where the tests are that take longest: what builds, proves, or starts processes. Groups come before them anyway."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Where several processes share the tests, one gets all that have something to share. The long ones come first, so that no
    process is alone with one when the others are done."""
    for item in items:
        if not item.get_closest_marker("xdist_group") and (group := shared_by(item)):
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


def shared_by(item: pytest.Item) -> str:
    """The name of those that share with this one what is made or compiled by the first of them, or nothing."""
    if item.nodeid.startswith("tests/lab/"):
        return "lab"  # Numba compiles the device
    module = any(found[-1].scope == "module" for found in item._fixtureinfo.name2fixturedefs.values())
    return item.nodeid.partition("::")[0] if module else ""


@pytest.fixture(scope="session")
def small_sim(tmp_path_factory):
    """One simulation of the small device for the whole run, and a checkpoint of it just after reset."""
    from kvfpga.targets.target import rtl_sources
    from kvfpga.transport.sim.verilated import VerilatorSim
    from tests.helpers.small_device import DATA_BITS, ENTRIES, LANES

    with VerilatorSim(ENTRIES, LANES, DATA_BITS, sources=rtl_sources()) as sim:
        fresh = tmp_path_factory.mktemp("sim") / "fresh.ckpt"
        sim.save(fresh)
        yield sim, fresh


@pytest.fixture
def lockstep(small_sim):
    """The small device with its reset values and empty memory, in lockstep with the reference model."""
    from kvfpga.device.device import Device
    from kvfpga.hepc_ref import ReferenceModel
    from kvfpga.lockstep.lockstep import Lockstep
    from tests.helpers.small_device import ENTRIES

    sim, fresh = small_sim
    sim.restore(fresh)
    return Lockstep(Device(sim), ReferenceModel(ENTRIES))


@pytest.fixture(params=["model", "sim"])
def dut(request):
    """A freshly reset device of 256 entries: execute, telemetry, dump, digest, memory_read, memory_write, block_bytes,
    entries, whichever it is."""
    if request.param == "sim":
        return request.getfixturevalue("lockstep")
    from kvfpga.hepc_ref import ReferenceModel
    from kvfpga.lockstep.reference import Reference
    from tests.helpers.small_device import ENTRIES

    return Reference(ReferenceModel(ENTRIES))


@pytest.fixture(scope="session")
def mutant(tmp_path_factory):
    """A copy of fpga/ whose RELEASE takes two references at once."""
    import shutil

    from kvfpga.transport.sim.build import rtl_root

    fpga = tmp_path_factory.mktemp("mutant") / "fpga"
    shutil.copytree(rtl_root(), fpga)
    lane = fpga / "rtl" / "hepc" / "kvcpu_score_lanes.sv"
    right, wrong = "ref4[l] - 8'(!unused4[l])", "ref4[l] - {6'd0, !unused4[l], 1'b0}"
    assert right in lane.read_text()
    lane.write_text(lane.read_text().replace(right, wrong))
    return fpga


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    """In CI a skipped test is a failure: a tool or the shared examples are missing there, and nothing would be proved."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Shows what tests have measured and handed to `record_property`, from whichever process."""
    ran = [report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "call"]
    if measured := [figure for report in ran for figure in report.user_properties]:
        terminalreporter.section("measured")
        for name, value in measured:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(autouse=True)
def leaves_the_environment_alone():
    """Fails the test that changed a variable for those behind it, not those."""
    before = dict(os.environ)
    yield
    after = dict(os.environ)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    os.environ.clear()
    os.environ.update(before)
    assert changed in ([], ["PYTEST_CURRENT_TEST"]), f"the test left another environment: {', '.join(changed)}"


@pytest.fixture
def calm(monkeypatch):
    """No repetition only because this machine is busy: for tests that count exchanges or frames of a good line."""
    from kvfpga.transport.uart import link as uart_link

    for name in ("LEAST", "FIRST", "MOST"):
        monkeypatch.setattr(uart_link._Pace, name, 20.0)
