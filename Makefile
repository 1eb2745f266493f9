# Everything a fresh machine needs besides Python 3.11+, pip, make and git is set up here, into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := artifacts/quickstart

.PHONY: demo test lint format clean

demo: $(VENV)/installed
	$(BIN)/golf train --force
	$(BIN)/golf pack
	$(BIN)/golf verify artifact.bin
	$(BIN)/golf generate artifact.bin "def main(" --tokens 60
	@ls -l $(RUN)/artifact.bin

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest golf tests -n 2 --dist loadfile  # a file's tests share what its fixtures made

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .golf

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
