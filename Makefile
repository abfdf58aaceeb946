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
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test lint docs pictures dev system py36 clean

help: ## show this list
	@sed -nE 's/^([a-z0-9]+):[^#]*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

demo: $(INSTALLED) ## measure this machine with the quick suite; the last line is the report's path
	@$(BIN)/gfbench run --target local --suite quick

test: $(INSTALLED_DEV) system py36 lint ## every check and every test
	@$(BIN)/python -m pytest -ra -m "alone and not board"
	@$(BIN)/python -m pytest -ra -m "not alone and not board" -n $(JOBS) --dist loadfile

lint: $(INSTALLED_DEV) ## style, types and import boundaries
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(INSTALLED_DOCS) ## the documentation as a site in build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict -d build/docs 1>&2
	@echo build/docs/index.html

pictures: $(INSTALLED_DEV) system ## the pictures of the README: measures this machine, photographs the report
	@report=$$($(BIN)/gfbench run --target local --suite quick --kernel torch --kernel native -o build/pictures | tail -1); \
	$(BIN)/python scripts/screenshots.py "$$report" docs/images

dev: $(INSTALLED_DEV) ## the developer's environment in .venv

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

# torch first and pinned: resolved together with the rest it may become a build of several gigabytes.
$(INSTALLED): $(VENV)/pyvenv.cfg pyproject.toml constraints.txt
	@echo "installing gfbench and torch (a few minutes the first time)" >&2
	@$(PIP) torch 1>&2
	@$(PIP) -e '.[local]' 1>&2
	@touch $@

$(INSTALLED_DEV): $(INSTALLED)
	@echo "installing the developer's tools" >&2
	@$(PIP) -e '.[local,dev]' 1>&2
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@echo "installing what builds the documentation" >&2
	@$(PIP) -e '.[local,docs]' 1>&2
	@touch $@
