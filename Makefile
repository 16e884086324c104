# Two commands for a fresh machine: `make demo`, `make test`. Both make .venv with kvfpga in it first.
# Nothing is assumed but python3, g++, make and perl; missing Debian packages are installed where that is possible.

VENV := .venv
PYTHON := $(VENV)/bin/python
JOBS ?= 2

.PHONY: demo test regs lint mutate bench cycles soak clean

demo: $(VENV)/ready
	$(VENV)/bin/kvfpga --session build/demo-session demo

test: $(VENV)/ready
	$(PYTHON) -m ruff check .
	$(PYTHON) scripts/gen_regs.py --check
	$(PYTHON) -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

regs: $(VENV)/ready           # everything that follows from fpga/regs/kvcpu.rdl
	$(PYTHON) scripts/gen_regs.py

mutate: $(VENV)/ready         # break the RTL in one place after another; the lockstep must see each
	$(PYTHON) scripts/mutate.py

bench: $(VENV)/ready          # speed, as ratios against peers measured in the same run
	$(PYTHON) scripts/bench.py

cycles: $(VENV)/ready         # clock cycles: trigger latency, passes, lookups, DMA
	$(PYTHON) scripts/measure_cycles.py

soak: $(VENV)/ready           # real traces, from KVFPGA_TRACES or ../shared/traces
	$(PYTHON) -m pytest tests/soak_traces.py

$(VENV)/ready: pyproject.toml scripts/setup.sh
	scripts/setup.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .hypothesis
