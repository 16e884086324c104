# Two commands for a fresh machine: `make demo`, `make test`. Both put kvfpga into .venv first; `make test` also its test tools.
# scripts/setup.sh says what of the system is missing, and installs it where it may.

VENV := .venv
PYTHON := $(VENV)/bin/python
RUN := $(VENV)/ready
TEST := $(VENV)/ready-for-tests
JOBS ?= 2
unexport PYTHONDONTWRITEBYTECODE  # the set-up leaves compiling to the first run, and it has to stay: it is half of a command's start

.PHONY: demo test docs dist coverage regs mutate formal bench cycles soak guest clean

demo: $(RUN)
	$(VENV)/bin/kvfpga --session build/demo-session demo

test: $(TEST)
	$(PYTHON) -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

docs: $(TEST)                  # the pages as a site, in build/site; for its search: python -m http.server -d build/site
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

dist: $(TEST)                  # sdist and wheel of a clean checkout, in build/dist; the wheel is the same to the byte for each commit
	$(PYTHON) -m build --no-isolation --outdir build/dist

coverage: $(TEST)              # what lockstep reaches of the RTL and of host/, in build/coverage
	$(PYTHON) -m scripts.coverage

regs: $(TEST)                  # everything that follows from fpga/regs/kvcpu.rdl, and the constants of exp
	$(PYTHON) scripts/gen_regs.py
	$(PYTHON) scripts/gen_exp.py

mutate: $(RUN)                 # break the RTL in one place after another; the lockstep must see each
	$(PYTHON) -m scripts.mutation.mutate

formal: $(TEST)                # prove the properties of tests/formal, and that each can fail
	$(PYTHON) -m tests.formal.prove

bench: $(TEST)                 # speed, as ratios against peers and an older commit measured in the same run
	$(PYTHON) -m scripts.bench

cycles: $(RUN)                 # clock cycles: trigger latency, passes, lookups, DMA
	$(PYTHON) -m scripts.bench.cycles

soak: $(TEST)                  # kills, damage and bad inputs; real traces, from KVFPGA_TRACES or ../shared/traces
	$(PYTHON) -m scripts.soak.damage --kills 40 --sessions 20 --checkpoints 20 --inputs 60
	$(PYTHON) -m pytest tests/lab/soak_traces.py

guest: $(RUN)                  # the Linux driver on real kernels, before the Verilated RTL; Debian packages, in the user's cache
	$(PYTHON) -m scripts.guest --check

$(RUN): pyproject.toml setup.py scripts/setup.sh
	@scripts/setup.sh $(VENV)

$(TEST): pyproject.toml setup.py scripts/setup.sh
	@scripts/setup.sh $(VENV) test

clean:
	rm -rf $(VENV) build *.egg-info .hypothesis .mypy_cache .pytest_cache
