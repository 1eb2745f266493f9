# Everything a fresh machine needs besides Python 3.11+, pip, make and git is set up here, into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := artifacts/quickstart
# A file's tests share what its fixtures made.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# A file stays with one worker: the longest begin first, so that none is left over at the end.
LONGEST := tests/test_flows.py tests/packing/test_pack.py tests/runtime/test_processes.py tests/contest/test_export.py
# Where the CPU's instruction set could change what a test sees.
NUMERICS := tests/compress tests/optim tests/packing tests/training tests/evaluation tests/model

# The tests of what golf takes from its dependencies, without trainings.
LOWEST := recipe run artifact data test_docs.py compress/test_encode_matrix.py training/test_resume.py

.PHONY: demo test test-isa test-all test-lowest lint format clean

demo: $(VENV)/installed
	$(BIN)/golf train --force
	$(BIN)/golf pack
	$(BIN)/golf verify artifact.bin
	$(BIN)/golf generate artifact.bin "def main(" --tokens 60
	@ls -l $(RUN)/artifact.bin

# The first tier: every change, any machine, minutes.
test: $(VENV)/installed-dev
	$(PYTEST) $(LONGEST) golf tests --ignore tests/tier2

# The numerics again as CPUs without AVX2, and without AVX-512 and AMX, compute them; what the CPU has anyway is in test.
OWN = $$($(BIN)/python -c "import torch; print(torch.backends.cpu.get_cpu_capability())")
test-isa: $(VENV)/installed-dev
	test $(OWN) = DEFAULT || ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(PYTEST) $(NUMERICS)
	test $(OWN) = AVX2 || ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(PYTEST) $(NUMERICS)

# The second tier: what is long, or needs more than the first. It installs what it can and writes one table.
test-all: $(VENV)/installed-dev
	$(BIN)/python tests/tier2/run.py

test-lowest: $(VENV)-lowest/installed  # the second tier: what pyproject.toml's lower bounds promise
	$(VENV)-lowest/bin/golf --help
	$(VENV)-lowest/bin/golf train recipes/smoke.toml --force --out $(VENV)-lowest/smoke
	$(VENV)-lowest/bin/python -m pytest $(addprefix tests/,$(LOWEST))

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(VENV)-lowest .golf

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

# every dependency at its lower bound, but torch, of which constraints.txt names the version that has a CPU build
$(VENV)-lowest/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-lowest
	sed -n '/^dependencies/,/^]/s/^ *"\([a-z]*\)[>=]=\([0-9.]*\).*/\1==\2/p' pyproject.toml | grep -v ^torch > $(VENV)-lowest/bounds.txt
	grep ^torch= constraints.txt >> $(VENV)-lowest/bounds.txt
	$(VENV)-lowest/bin/pip install --quiet --disable-pip-version-check -c $(VENV)-lowest/bounds.txt -e . \
		hypothesis pytest pytest-timeout pytest-xdist
	touch $@
