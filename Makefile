# Each target works from a bare checkout: it makes the environment that it needs.
#   make demo      a glacier, through the whole road, with a picture beside the truth
#   make test      the tests (under ten minutes on two cores);  make test-all  with the long ones
#   make check     style, types, who imports whom
#   make bench     speed, as ratios against references of the same run
#   make docs      the pages, whose tutorials run, the report and the slides: docs/_build
#   make docs-links   do the links to other sites lead anywhere (asks the network)
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
WORKERS ?= 2

.PHONY: demo test test-all check bench docs docs-links clean

$(BIN)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(BIN)/.test: $(BIN)/.core
	$(BIN)/python -m pip install --quiet -e ".[test,check]"
	touch $@

$(BIN)/.docs: $(BIN)/.core
	$(BIN)/python -m pip install --quiet -e ".[docs]"
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

docs: $(BIN)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/report/make.py docs/_build

docs-links: $(BIN)/.docs
	$(BIN)/python -m sphinx -b linkcheck -D nb_execution_mode=off docs docs/_build/links

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache demo docs/_build
