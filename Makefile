# `make demo` shows what gfbench does, `make test` proves it. Set-up talks on stderr; stdout is for results.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# Two stamps, one inside the other: the demo needs no developer's tools, and `make -j` never runs two pips at once.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs
# Locked and checked by hash, nothing resolved: resolving the developer's tools took pip 8 minutes of processor time.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-deps
LOCKED := $(PIP) --require-hashes -r
UV := build/uv/bin/uv
UV_VERSION := 0.13.9
UPGRADE ?=

FUZZ_SECONDS ?= 1200
FUZZ_LINES ?= 100000

.PHONY: help demo test lint fuzz docs pictures dev lock system py36 messages clean

help: ## show this list
	@sed -nE 's/^([a-z0-9]+):[^#]*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: $(INSTALLED) ## measure this machine with the quick suite; the last line is the report's path
	@$(BIN)/gfbench run --target local --suite quick

test: $(INSTALLED_DEV) system py36 lint ## every check and every test
	@$(BIN)/python -m pytest -ra -m "alone and not board"
	@$(BIN)/python -m pytest -ra -m "not alone and not board" -n $(JOBS) --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED_DEV) ## style, types and import boundaries
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

fuzz: $(INSTALLED_DEV) system ## mutated lines to every parser (FUZZ_LINES), then kernel native in every build (FUZZ_SECONDS)
	@GFBENCH_FUZZ_LINES=$(FUZZ_LINES) $(BIN)/python -m pytest -q tests/test_mutated_lines.py
	@PYTHONPATH=. $(BIN)/python tests/support/fuzz.py --seconds $(FUZZ_SECONDS)

docs: $(INSTALLED_DOCS) ## the documentation as a site in build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -d build/docs 1>&2
	@echo build/docs/index.html

messages: $(VENV)/pyvenv.cfg ## every message that a user can see, with its file, line and function
	@$(BIN)/python scripts/messages.py

pictures: $(INSTALLED_DEV) system ## the pictures of the README: measures this machine, photographs the report
	@report=$$($(BIN)/gfbench run --target local --suite quick --kernel torch --kernel native -o build/pictures | tail -1); \
	$(BIN)/python scripts/screenshots.py "$$report" docs/images

dev: $(INSTALLED_DEV) ## the developer's environment in .venv

# dev.txt comes first: the others take its versions, so that one environment satisfies all three. torch is pinned by itself, in
# torch.txt, and stays out of these even where a package depends on it (tool.uv in pyproject.toml keeps CUDA out with it).
lock: $(UV) ## resolve pyproject.toml into requirements/*.txt; UPGRADE=--upgrade takes the newest versions
	@lock() { $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header $(UPGRADE) \
	  --no-emit-package torch pyproject.toml requirements/torch.in "$$@"; }; \
	lock --extra dev -o requirements/dev.txt; \
	lock -c requirements/dev.txt -o requirements/run.txt; \
	lock -c requirements/dev.txt --extra docs -o requirements/docs.txt

system: ## the programs that the tests drive (apt as root; else says what to install)
	@scripts/system-packages.sh 1>&2

py36: ## the payload's oldest environment: Python 3.6 with torch 1.10.2, cached
	@scripts/py36.sh 1>&2

clean: ## remove the environment and the caches; results stay
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@python=$$(scripts/find-python.sh "$(PYTHON)"); \
	echo "environment: $(VENV), from $$("$$python" --version)" >&2; \
	"$$python" -m venv --clear $(VENV) 1>&2

$(INSTALLED): $(VENV)/pyvenv.cfg pyproject.toml requirements/run.txt requirements/torch.txt
	@echo "installing gfbench and torch (a few minutes the first time)" >&2
	@$(LOCKED) requirements/run.txt 1>&2
	@$(PIP) -r requirements/torch.txt 1>&2
	@$(PIP) --no-build-isolation -e . 1>&2
	@touch $@

$(INSTALLED_DEV): $(INSTALLED) requirements/dev.txt
	@echo "installing the developer's tools" >&2
	@$(LOCKED) requirements/dev.txt 1>&2
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED) requirements/docs.txt
	@echo "installing what builds the documentation" >&2
	@$(LOCKED) requirements/docs.txt 1>&2
	@touch $@

$(UV):
	@python=$$(scripts/find-python.sh "$(PYTHON)"); "$$python" -m venv --clear build/uv 1>&2
	@build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) 1>&2
