# The whole set-up in two commands: `make bench` and `make test`. Everything lives in .venv and build/.

PYTHON ?= python3
CXX ?= g++
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE $(shell find cpp fastsoftmax -type f \
	-not -name '*.pyc' -not -name '*.so')
CPP := $(shell find cpp -name '*.cpp' -o -name '*.hpp' -o -name '*.inl' -o -name '*.h')
# What is installed for the tests has all that the benchmark needs. To install that again without
# warnings as errors would compile everything, and so would the tests after it.
INSTALLED := $(if $(wildcard $(VENV)/dev.stamp),$(VENV)/dev.stamp,$(VENV)/bench.stamp)

.PHONY: bench bench-targets results test test-peers test-report lint format clean

bench: $(INSTALLED)  ## Install, then run the demonstration and the benchmark.
	$(BIN)/fastsoftmax demo
	$(BIN)/fastsoftmax bench

bench-targets: $(INSTALLED)  ## Install the peers, then see what is reached beside them.
	$(BIN)/python -m pip install --quiet '.[peers]'
	$(BIN)/fastsoftmax targets

RESULTS ?= benchmarks/results/amd-epyc-2-cores.json
LABEL ?= AMD EPYC, two shared cores

results: $(INSTALLED)  ## Measure everything beside the peers; the READMEs' tables follow.
	$(BIN)/python -m pip install --quiet '.[peers]'
	$(BIN)/fastsoftmax bench --family all --peers all --label "$(LABEL)" --json $(RESULTS)
	$(BIN)/fastsoftmax report $(RESULTS) --into README.md
	$(BIN)/fastsoftmax report $(RESULTS) --into benchmarks/README.md

# A backend that did not build must fail the tests, not be skipped.
test: $(VENV)/dev.stamp lint  ## Install with the tests' needs, then lint, type checks and tests.
	FASTSOFTMAX_REQUIRE=cpp,numba $(BIN)/pytest

test-peers: $(VENV)/dev.stamp  ## Install torch, JAX, TensorFlow and the other peers; compare with them.
	$(BIN)/python -m pip install --quiet '.[peers]'
	FASTSOFTMAX_REQUIRE=cpp,numba $(BIN)/pytest tests/test_peers.py tests/test_targets.py

test-report: $(VENV)/dev.stamp  ## Look at a report with Chromium (apt-get install chromium).
	mkdir -p build/report
	$(BIN)/python tests/browser/made_up.py build/report/made-up.json
	$(BIN)/fastsoftmax report build/report/made-up.json --html build/report/made-up.html
	$(BIN)/python tests/browser/check_report.py build/report/made-up.html

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP)

format: $(VENV)/dev.stamp  ## Bring all sources into the style that lint checks.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "fastsoftmax needs Python 3.11 or newer: $(PYTHON) was not found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fastsoftmax needs Python 3.11 or newer; set PYTHON=... to one." >&2; exit 1; }
	@command -v $(CXX) >/dev/null || { echo "fastsoftmax needs a C++17 compiler: install g++ or clang++, or set CXX to one." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "fastsoftmax needs Python's venv and pip: install python3-venv (Debian, Ubuntu) or the like." >&2; exit 1; }
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { echo "fastsoftmax needs Python's headers: install python3-dev (Debian, Ubuntu) or the like." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# Re-run only when a source changed; CMake keeps its objects in build/.
$(VENV)/bench.stamp: $(SOURCES) | $(BIN)/python
	CXX="$(CXX)" $(BIN)/python -m pip install --quiet '.[bench]'
	touch $@

$(VENV)/dev.stamp: $(SOURCES) | $(BIN)/python
	CXX="$(CXX)" $(BIN)/python -m pip install --quiet --config-settings=cmake.define.FASTSOFTMAX_WERROR=ON '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build
