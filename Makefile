PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# Touched when the environment is complete; a newer lock file makes it anew.
READY := $(VENV)/.ready

export OMP_NUM_THREADS ?= 1

.PHONY: setup demo demo-images test test-slow bench bench-quick study study-images study-rehearsal lint lock clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] == (3, 11) else "am-ray needs Python 3.11 (pybullet has no wheels for others); say which with: make setup PYTHON=/path/to/python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet -r requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --editable .
	touch $@

demo: $(READY)
	$(BIN)/am-ray demo

demo-images: $(READY)
	$(BIN)/am-ray demo --images

# Two processes, a file at a time: more would each start a Ray of their own.
PARALLEL := -n 2 --dist loadfile

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

# One process: nodes are killed on time here. It ends with the first failure: a run that is cut prints no report.
test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --timeout 600 --durations 15 --exitfirst

# Speed against goals (docs/performance.md); nothing else should run meanwhile.
bench: $(READY)
	$(BIN)/python -m benchmarks

bench-quick: $(READY)
	$(BIN)/python -m benchmarks --quick

# The tables and figures of docs/RESULTS.md: hours; stopped, it goes on. From states, and from images.
study: $(READY)
	$(BIN)/python -m study

study-images: $(READY)
	$(BIN)/python -m study --images

# Every step of both with next to no data, updates and goals, elsewhere: that all goes together.
study-rehearsal: $(READY)
	$(BIN)/python -m study --rehearse
	$(BIN)/python -m study --rehearse --images

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports

# The lock file: every package of a fresh environment, exactly. Run it after a change to the dependencies.
lock:
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --disable-pip-version-check --quiet --editable '.[dev]'
	{ sed -n '/^#/p' requirements.lock; \
	  .venv-lock/bin/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
