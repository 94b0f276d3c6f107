# Each target works from a bare checkout: it makes the environment that it needs.
#   make demo      a glacier, through the whole road, with a picture beside the truth
#   make test      the tests (under ten minutes on two cores);  make test-all  with the long ones
#   make check     style, types, who imports whom
#   make bench     speed, as ratios against references of the same run
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
WORKERS ?= 2

.PHONY: demo test test-all check bench docs-figures clean

$(BIN)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(BIN)/.test: $(BIN)/.core
	$(BIN)/python -m pip install --quiet -e ".[test,check]"
	touch $@

demo: $(BIN)/.core
	$(BIN)/python examples/demo.py

test: $(BIN)/.test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not slow" --benchmark-disable

test-all: $(BIN)/.test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --benchmark-disable

check: $(BIN)/.test
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

bench: $(BIN)/.test
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=min,median,rounds

docs-figures: $(BIN)/.test
	$(BIN)/python docs/figures.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache demo
