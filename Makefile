# The two commands of the README are `make demo` and `make test`. Both need only Python (3.11 to 3.13) and make:
# everything else, a Java runtime and a real Kafka included, comes through the hash-locked requirements.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

MINUTES ?= 60

.PHONY: help setup dev demo test check format faults simulation fuzz bench bench-quick bench-guard study study-check lock clean

help:
	@echo "make demo    a live demo on a real Kafka (about a minute)"
	@echo "make test    the whole test suite"
	@echo "make setup   only the set-up: .venv/bin/sizer is the command"
	@echo "make check   format, lint, types, import floors"
	@echo "make bench   speed, as ratios within one run (about an hour); python -m bench.publish puts it into docs"
	@echo "make bench-quick   the same in under five minutes, one line at the end"
	@echo "make bench-guard   fails if the worker has become slower, as a ratio to the plain loop"
	@echo "make study   the rules against fixed sizing on real prices: writes docs/impact.md (some minutes)"
	@echo "make study-check   fails unless that comes out again, to the digit"
	@echo "make lock    resolve the hash-locked requirements again"
	@echo "make faults, make simulation, make fuzz   look for what breaks a promise, for MINUTES=60"

setup: .venv/.run

dev: .venv/.dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "position-sizer needs Python 3.11 to 3.13, but $(PYTHON) is %d.%d: call make with PYTHON=python3.13 or another of these" % v)'
	@$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python requirements/run.txt pyproject.toml
	@echo "installing the locked requirements"
	@$(PIP) install --quiet --no-deps --require-hashes --requirement requirements/run.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.run requirements/dev.txt
	@echo "installing the locked requirements for developing"
	@$(PIP) install --quiet --no-deps --require-hashes --requirement requirements/dev.txt
	@touch $@

.venv/.study: .venv/.dev requirements/study.txt
	@echo "installing the locked requirements of the impact study"
	@$(PIP) install --quiet --no-deps --require-hashes --requirement requirements/study.txt
	@touch $@

demo: setup
	@$(BIN)/sizer demo

test: .venv/.study
	@$(BIN)/python -m pytest

check: dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

faults: dev
	@$(BIN)/python -m tests.faults --minutes $(MINUTES)

simulation: dev
	@$(BIN)/python -m tests.simulation --minutes $(MINUTES)

fuzz: dev
	@$(BIN)/python -m tests.fuzz --minutes $(MINUTES)

# Quix Streams wants other versions of what we use, so it has an environment of its own.
.venv-quix/.done: requirements/quix.txt .venv/bin/python
	@echo "installing the locked requirements of Quix Streams, which bench compares with"
	@$(PYTHON) -m venv .venv-quix
	@.venv-quix/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --requirement requirements/quix.txt
	@touch $@

bench: dev .venv-quix/.done
	@$(BIN)/python -m bench

bench-quick: dev .venv-quix/.done
	@$(BIN)/python -m bench --quick

bench-guard: dev
	@$(BIN)/python -m bench.guard

study: .venv/.study
	@$(BIN)/python -m study

study-check: .venv/.study
	@$(BIN)/python -m study --check

LOCK := $(BIN)/uv pip compile pyproject.toml requirements/build.in --universal --generate-hashes \
	--no-emit-index-url --no-annotate --no-header --python-version 3.11 --quiet

lock: dev
	$(LOCK) --output-file requirements/run.txt
	$(LOCK) --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt
	$(BIN)/uv pip compile requirements/quix.in --universal --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --quiet --output-file requirements/quix.txt
	$(BIN)/uv pip compile requirements/study.in --constraint requirements/run.txt --constraint requirements/dev.txt \
		--universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --quiet \
		--output-file requirements/study.txt

clean:
	rm -rf .venv .venv-quix build *.egg-info
