# Every target sets up what it needs; a second call is instant. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos bench science science-quick check format docs starter clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: $(INSTALLED) ## Set up the virtual environment .venv, and nothing else

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13: say which one is, make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing; the first time takes a few minutes (torch and Ray are large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(INSTALLED)

demo: $(INSTALLED) ## Run the whole system on clips of its own, or on yours: make demo VIDEO="a.mp4 b.mp4"
	@$(BIN)/hctdmg demo $(VIDEO)

test: $(INSTALLED) ## Run the tests (those on a real Kafka need Java 17 and Maven)
	$(BIN)/pytest

chaos: $(INSTALLED) ## Prove delivery: 100 faults over 20,000 segments on three brokers (needs Java 17 and Maven, half an hour)
	$(BIN)/python -m tests.chaos --kills 100 --segments 20000 --seed 1 --out docs/results/chaos
	$(BIN)/python -m tests.bench.delivery_page

bench: $(INSTALLED) ## Measure worker, plain loop, Ray Data and MulT side by side (needs Java 17, Maven, test media; 20 minutes)
	$(BIN)/python -m tests.bench.benchmark

science: $(INSTALLED) ## Rebuild the experiments' tables and pictures from their records, and do a fifth of the runs again
	$(BIN)/python -m tests.bench.science

science-quick: $(INSTALLED) ## The same with two runs
	$(BIN)/python -m tests.bench.science --quick

check: $(INSTALLED) ## Lint, types, import rules, drift of schemas and docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pipelines.schemas --check
	$(BIN)/python -m workers.reference --check

format: $(INSTALLED) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED) ## Write anew what is generated: pipelines/schemas/*.json and docs/reference.md, a table in docs/operations.md
	$(BIN)/python -m pipelines.schemas
	$(BIN)/python -m workers.reference

starter: $(INSTALLED) ## Train the shipped checkpoint anew: fetches rated sentences, takes under 20 minutes on 2 cores
	$(BIN)/python -m pipelines.starter

clean: ## Remove what the targets made, the virtual environment included
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
