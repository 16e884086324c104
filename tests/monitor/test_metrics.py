"""`--metrics`: what a scrape shows, what it costs, that it waits for its turn, and that the dashboard asks for nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as families

from kvfpga.contract import commands as cmd
from kvfpga.contract.errors import TargetError, UsageError
from kvfpga.device.device import Device
from kvfpga.device.regmap import TELEMETRY
from kvfpga.hepc_ref import ReferenceModel
from kvfpga.lockstep.lockstep import Lockstep
from kvfpga.lockstep.reference import Reference
from kvfpga.monitor import desk as desks
from kvfpga.monitor.desk import Desk
from kvfpga.monitor.look import STATES
from kvfpga.monitor.metrics import OWN, POLICY, TITLES, DeviceMetrics, Reading, exposed, parse_address, reading, shared
from tests.helpers.fake_device import FakeDevice
from tests.helpers.kv_publisher import Publisher, stored
from tests.helpers.waiting import LONG

MAIN = "from kvfpga.cli.main import main; main()"


def scrape(read) -> str:
    registry = CollectorRegistry()
    registry.register(DeviceMetrics(read))
    return generate_latest(registry).decode()


def values(text: str) -> dict[str, float]:
    return {sample.name: sample.value for family in families(text) for sample in family.samples}


@pytest.fixture
def device():
    found = Reference(ReferenceModel(256))
    found.execute_many([cmd.Load(1, 0, 0, 0, 31, 0), cmd.Lookup(1, 0, 0, 5), cmd.Lookup(9, 0, 0, 5), cmd.Step(3)])
    return found


# ---- what it shows ---------------------------------------------------------------------------------------------------
def test_every_counter_is_there_by_its_name_and_its_registers_description(device):
    text = scrape(lambda: reading(device))
    shown = {family.name: family for family in families(text)}
    for name in TELEMETRY:
        family = shown[f"kvfpga_{name}"]
        assert family.type == ("gauge" if name in STATES else "counter") and family.documentation == TITLES[name]
        assert len(family.documentation) > 8, name
    found = values(text)
    assert (found["kvfpga_step_count_total"], found["kvfpga_current_step"], found["kvfpga_valid_entries"]) == (1, 3, 1)
    assert (found["kvfpga_hits_t1_total"], found["kvfpga_misses_total"]) == (1, 1)
    assert (found["kvfpga_up"], found["kvfpga_commands_total"], found["kvfpga_t1_capacity"]) == (1, 4, 256)


def test_no_two_counters_have_one_description():
    assert len(set(TITLES.values())) == len(TELEMETRY)


def test_a_device_that_cannot_be_read_is_down_and_nothing_else():
    def gone():
        raise TargetError("the port is gone")

    assert values(scrape(gone)) == {"kvfpga_up": 0}


# ---- what it costs ---------------------------------------------------------------------------------------------------
class Counting(FakeDevice):
    """`batches`: how many were run; `alone`: accesses outside of one."""

    batches = alone = 0
    inside = False

    def run(self, *words):
        self.batches += 1
        self.inside = True
        try:
            return super().run(*words)
        finally:
            self.inside = False

    def read32(self, offset):
        self.alone += not self.inside
        return super().read32(offset)


@pytest.mark.parametrize("read", [reading, lambda lockstep: shared(lockstep.device)], ids=["own", "shared"])
def test_a_scrape_is_one_batch_and_writes_nothing(read):
    fake = Counting()
    lockstep = Lockstep(Device(fake), ReferenceModel(256))
    lockstep.execute(cmd.Set("T1_CAPACITY", 200))
    fake.batches = fake.alone = 0
    fake.writes.clear()
    found = values(scrape(lambda: read(lockstep)))
    assert (found["kvfpga_up"], found["kvfpga_t1_capacity"]) == (1, 200)
    assert (fake.batches, fake.alone, fake.writes) == (1, 0, [])


def test_registering_reads_nothing():
    CollectorRegistry().register(DeviceMetrics(lambda: pytest.fail("read")))


# ---- a device that one thread has for itself -------------------------------------------------------------------------
def test_who_asks_waits_until_the_owner_comes_round():
    owner, readers = threading.current_thread(), []
    desk = Desk(lambda: readers.append(threading.current_thread()) or 7)
    found = []
    asking = threading.Thread(target=lambda: found.append(desk.ask()))
    asking.start()
    while asking.is_alive():
        desk.answer()
    assert found == [7] and readers == [owner]
    desk.answer()
    assert readers == [owner]  # nobody asked


def test_an_error_of_the_device_is_the_one_that_asks():
    def gone():
        raise TargetError("the port is gone")

    desk, found = Desk(gone), []

    def ask():
        try:
            desk.ask()
        except TargetError as error:
            found.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        desk.answer()
    assert found == ["the port is gone"]


def test_an_owner_who_does_not_come_round_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(desks, "PATIENCE", 0.01)
    desk = Desk(lambda: pytest.fail("read"))
    with pytest.raises(TargetError, match="in use"):
        desk.ask()
    desk.answer()  # too late: nobody waits


# ---- where -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, found",
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), (":9464", ("::", 9464)), ("[::1]:0", ("::1", 0)), ("lab3:80", ("lab3", 80))],
)
def test_addresses(text, found):
    assert parse_address(text) == found


@pytest.mark.parametrize("text", ["", "9464", "lab3", "lab3:", "lab3:http", "lab3:65536", "lab3:-1", "lab3:٣"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="not HOST:PORT") as error:
        parse_address(text)
    assert "127.0.0.1:9464" in error.value.remedy


def test_a_port_that_is_taken_is_refused(device):
    with exposed("127.0.0.1:0", lambda: reading(device)) as url:
        address = re.search(r"//(.+)/", url)[1]
        assert values(urllib.request.urlopen(url).read().decode())["kvfpga_current_step"] == 3
        with pytest.raises(UsageError, match=f"--metrics {address}"), exposed(address, lambda: reading(device)):
            pass


# ---- the commands ----------------------------------------------------------------------------------------------------
def metrics_of(process) -> dict[str, float]:
    """Those at the address that it says on stderr."""
    for line in process.stderr:
        if found := re.search(r"metrics at (\S+)", line):
            return values(urllib.request.urlopen(found[1]).read().decode())
    raise AssertionError("it says no address")


def scraped(process) -> dict[str, float]:
    """What it answers; it is then asked to end, and does."""
    try:
        found = metrics_of(process)
    finally:
        process.terminate()
    assert process.wait(LONG) == 0
    return found


def start(tmp_path, *words, program=MAIN):
    options = ["--target", "model", "--entries", "256", "--session", str(tmp_path / "s")]
    command = [sys.executable, "-c", program, *options, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_serve_answers_scrapes_of_the_device_of_its_node(tmp_path):
    sys_folder = tmp_path / "sys"
    with start(tmp_path, "serve", "--uapi", str(tmp_path / "node"), "--sysfs", str(sys_folder), "--metrics", "127.0.0.1:0") as it:
        try:
            assert it.stdout.readline().strip()
            (sys_folder / "current_step").write_text("7\n")
            found = metrics_of(it)
        finally:
            it.terminate()
        assert it.wait(LONG) == 0
    assert (found["kvfpga_current_step"], found["kvfpga_step_count_total"], found["kvfpga_entries"]) == (7, 1, 256)


def test_serve_answers_scrapes_of_a_shared_device(tmp_path):
    program = (
        "from kvfpga.targets.target import Target; from tests.helpers.fake_device import FakeDevice\n"
        "Target.open_mmio = lambda self, *_, **__: FakeDevice()\n" + MAIN
    )
    log = tmp_path / "calls.log"
    words = ["--log", log, "--target", "uart:fake", "serve", "--listen", f"unix:{tmp_path}/socket", "--metrics", "127.0.0.1:0"]
    command = [sys.executable, "-c", program, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        found = scraped(it)
    assert re.search(r" batch of \d+: read .* · [\d.]+ µs$", log.read_text(), re.M)  # what is asked of the device is told
    assert (found["kvfpga_up"], found["kvfpga_current_step"], found["kvfpga_entries"]) == (1, 0, 256)
    assert found["kvfpga_t1_capacity"] == 256 and "kvfpga_commands_total" not in found  # whoever runs them counts them


def test_follow_answers_scrapes_meanwhile(tmp_path):
    with Publisher() as publisher, start(tmp_path, "follow", publisher.endpoint, "--metrics", "127.0.0.1:0") as it:
        found = scraped(it)
    assert found["kvfpga_up"] == 1 and found["kvfpga_valid_entries"] == 0


def test_follow_with_a_policy_has_its_figures_too(tmp_path):
    with Publisher() as publisher:
        for _ in range(3):
            publisher.publish([stored([1, 2])])
        publisher.wait_until_sent()
        words = ("follow", publisher.endpoint, "--replay", publisher.replay, "--policy", "ranked", "--t1-capacity", "1")
        with start(tmp_path, *words, "--metrics", "127.0.0.1:0") as it:
            found = scraped(it)
    policy = {name: found[f"kvfpga_{metric}_total"] for metric, name in POLICY.items()}
    assert policy == {"requests": 3, "touches": 6, "hits": 2, "lru_hits": 0, "tables": 1}


def test_top_answers_scrapes_by_its_last_look(tmp_path):
    with start(tmp_path, "step", "6") as it:
        assert it.wait(LONG) == 0
    with start(tmp_path, "top", "--json", "--metrics", "127.0.0.1:0") as it:
        try:
            assert json.loads(it.stdout.readline())["step"] == 6  # there was a look
            found = metrics_of(it)
        finally:
            it.terminate()
    assert (found["kvfpga_up"], found["kvfpga_current_step"], found["kvfpga_t1_capacity"]) == (1, 6, 256)


@pytest.mark.parametrize("command", ["serve --uapi node", "follow tcp://127.0.0.1:1", "top"])
def test_bad_addresses_and_a_missing_library_are_refused_before_anything_is_opened(tmp_path, command):
    missing = "import sys; sys.modules['prometheus_client'] = None\n" + MAIN
    for program, address, said in ((MAIN, "nowhere", "not HOST:PORT"), (missing, ":0", "pip install 'kvfpga[metrics]'")):
        with start(tmp_path, *command.split(), "--metrics", address, program=program) as it:
            assert it.wait(LONG) == 2 and said in it.stderr.read()
    assert not (tmp_path / "s").exists()


# ---- the dashboard ---------------------------------------------------------------------------------------------------
def test_each_metric_that_the_dashboard_asks_for_exists(device, pytestconfig):
    dashboard = json.loads((pytestconfig.rootpath / "docs" / "grafana" / "kvfpga.json").read_text())
    own = dict.fromkeys(OWN, 0)
    there = set(values(scrape(lambda: Reading(device.telemetry(), own))))
    for panel in dashboard["panels"]:
        asked = {name for target in panel["targets"] for name in re.findall(r"kvfpga_\w+", target["expr"])}
        assert asked and asked <= there, (panel["title"], asked - there)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
