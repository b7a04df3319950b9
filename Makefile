# What can be made, and from what. Plain `make` prints the targets.

PROFILE ?= quick
SEED ?= 0
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
PYTHON ?= python3
UV ?= uv
# Seconds that one cell of a notebook may take.
TIMEOUT ?= 3600
# What `make reference` measures: full or fashion, and its seeds.
REFERENCE ?= full
SEEDS ?= 0-4
# The name under which `make bench` stores what it measured: that of the processor, in small letters and hyphens.
MACHINE ?= $(or $(shell { sed -n '/^model name/{s/.*: //p;q;}' /proc/cpuinfo || sysctl -n machdep.cpu.brand_string; } 2>/dev/null \
    | sed -E 's/\((R|TM)\)//g; s/ *@.*//; s/[^[:alnum:]]+/-/g; s/-$$//' | tr '[:upper:]' '[:lower:]'),unknown)

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

ifneq ($(words $(PROFILE)) $(filter quick full fashion,$(PROFILE)),1 $(PROFILE))
$(error PROFILE is '$(PROFILE)'; it must be quick, full or fashion)
endif
ifneq ($(shell [[ '$(SEED)' =~ ^[0-9]+$$ ]] && echo yes),yes)
$(error SEED is '$(SEED)'; it must be a whole number, 0 or more)
endif
ifneq ($(shell [[ '$(JOBS)' =~ ^[1-9][0-9]*$$ ]] && echo yes),yes)
$(error JOBS is '$(JOBS)'; it must be a whole number, 1 or more)
endif

# Notebooks run in another folder than make, so a relative folder would mean two places.
ifdef VAELIB_CACHE
export VAELIB_CACHE := $(abspath $(VAELIB_CACHE))
endif
ifdef VAELIB_DATA
export VAELIB_DATA := $(abspath $(VAELIB_DATA))
endif
# One thread a process repeats bit for bit; the cores are used by running processes side by side.
export OMP_NUM_THREADS ?= 1
# Where the C library is glibc: memory in large pages, and kept for the next tensor rather than given back; same numbers.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1

BIN := .venv/bin
ENV := .venv/.installed
LIBRARY := $(wildcard vaelib/*.py)
MODELS := $(or $(VAELIB_CACHE),_cache)/.made/$(PROFILE)-$(SEED)

# The book is built from a copy of book/ in which the notebooks are executed.
RUN := _build/run/$(PROFILE)-$(SEED)
GENERATED := $(RUN)/book/_generated/.made
SOURCES := $(sort $(shell find book -type f ! -path '*/.*' ! -path '*/__pycache__/*' ! -path '*/_build/*'))
NOTEBOOKS := $(filter %.ipynb,$(SOURCES))
OTHERS := $(filter-out %.ipynb,$(SOURCES))
RUN_NOTEBOOKS := $(NOTEBOOKS:%=$(RUN)/%)
RUN_OTHERS := $(OTHERS:%=$(RUN)/%)
# Tables that notebooks read.
TABLES := $(filter %.csv %.json %.toml,$(RUN_OTHERS))
STALE = $(filter-out $(RUN_NOTEBOOKS) $(RUN_OTHERS) $(RUN)/book/_generated/%,$(shell find $(RUN)/book -type f))
PAGE := _build/html/index.html
SINGLE := _build/site/_build/singlehtml/printed.html
# The browser that prints the PDF, this machine's or playwright's; without one there is no PDF and no link to it.
ifeq ($(origin CHROMIUM),undefined)
CHROMIUM := $(firstword $(shell command -v chromium chromium-browser google-chrome google-chrome-stable) \
    $(wildcard $(HOME)/.cache/ms-playwright/chromium-*/chrome-linux*/chrome))
endif
PDF := variational-autoencoders.pdf
LOG := _build/html.log

SUBMAKE = +@$(MAKE) --silent --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
# The pages of one site are independent, the tests of a page are not.
SITE_JOBS = $(if $(filter 1,$(JOBS)),,-n $(JOBS) --dist loadgroup)
TEST_JOBS = $(if $(filter 1,$(JOBS)),,-n $(JOBS) --dist loadscope)

.PHONY: help env models notebooks book pdf test test-site browser bench reference lint format refresh lock clean distclean FORCE

help: ## print this list
	@echo "make [PROFILE=quick|full|fashion] [SEED=0] [JOBS=$(JOBS)] [PYTHON=python3] TARGET"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' Makefile | expand -t 14

# ---- environment

env: $(ENV) ## install the pinned packages and the library into .venv

$(ENV): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "install    .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# ---- models and notebooks

models: $(MODELS) ## train what the cache does not hold yet

$(MODELS): $(LIBRARY) requirements.lock | $(ENV)
	@echo "models     $(PROFILE), seed $(SEED)"
	@$(BIN)/vaelib train --profile $(PROFILE) --seed $(SEED) --jobs $(JOBS)
	@mkdir -p $(@D)
	@touch $@

notebooks: $(MODELS) ## execute the notebooks into _build/run
	$(SUBMAKE) $(RUN_NOTEBOOKS)

$(RUN_NOTEBOOKS): $(RUN)/%: % $(MODELS) $(TABLES) | $(RUN_OTHERS)
	@echo "execute    $<"
	@said=$$($(BIN)/vaelib notebook run $< $@ --profile $(PROFILE) --seed $(SEED) --timeout $(TIMEOUT) 2>&1) \
	    || { printf '%s\n' "$$said" >&2; exit 1; }

$(RUN_OTHERS): $(RUN)/%: %
	@mkdir -p $(@D)
	@cp $< $@

# ---- the book

book: notebooks ## build the site into _build/html; the last line says what to open
	$(SUBMAKE) $(PAGE)
	@$(if $(CHROMIUM),true,echo "No Chromium was found, so there is no PDF; to have one: make CHROMIUM=/path/to/chromium book")
	@echo "Open $(abspath $(PAGE))"

pdf: ## the same, or an error if there is no browser to print the PDF with
	@$(if $(CHROMIUM),true,echo "Chromium is needed: make CHROMIUM=/path/to/chromium pdf" >&2; exit 1)
	+@$(MAKE) --silent --no-print-directory book

$(GENERATED): $(RUN_NOTEBOOKS)
	@echo "report     $(@D)"
	@$(BIN)/vaelib report --profile $(PROFILE) --seed $(SEED) --output $(@D) --results $(RUN)/book/results
	@touch $@

# $(1) is the builder. BOOK_PDF makes the front page link to the PDF.
define BUILD
@BOOK_PDF=$(and $(CHROMIUM),$(PDF)) $(BIN)/jupyter-book build $(RUN) --config _config.yml --toc "$(CURDIR)/_toc.yml" \
    --path-output _build/site --builder $(1) -W -n --keep-going >$(LOG) 2>&1 \
    || { grep -E 'WARNING|ERROR|Error' $(LOG) || tail -n 30 $(LOG); echo "The whole log: $(LOG)"; exit 1; } >&2
endef

# The whole book on one page, in a browser with a profile of its own, which root may only use without a sandbox. The
# browser's clock runs ahead until the formulas are set.
define PRINT
@echo "print      _build/html/$(PDF)"
$(call BUILD,singlehtml)
@"$(CHROMIUM)" --headless --disable-gpu $(if $(filter 0,$(shell id -u)),--no-sandbox) \
    --user-data-dir="$(CURDIR)/_build/site/browser" --no-pdf-header-footer --generate-pdf-document-outline \
    --virtual-time-budget=60000 --print-to-pdf="_build/site/_build/html/$(PDF)" "file://$(CURDIR)/$(SINGLE)" \
    >$(LOG) 2>&1 && test -s "_build/site/_build/html/$(PDF)" \
    || { tail -n 5 $(LOG); echo "$(CHROMIUM) did not print $(SINGLE); without a PDF: make CHROMIUM= book"; exit 1; } >&2
endef

# Built beside the old site, which is replaced only by a complete one.
$(PAGE): $(RUN_NOTEBOOKS) $(RUN_OTHERS) $(GENERATED) _config.yml _toc.yml requirements.lock _build/selection
	@echo "build      _build/html"
	@rm -rf _build/site $(STALE)
	$(call BUILD,html)
	$(if $(CHROMIUM),$(PRINT))
	@rm -rf _build/html
	@mv _build/site/_build/html _build/html
	@rm -rf _build/site
	@touch $@

# Changes when another profile, seed or browser is asked for, or when a source is added or removed.
_build/selection: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(RUN) "$(CHROMIUM)" $(SOURCES) | cmp -s - $@ || printf '%s\n' $(RUN) "$(CHROMIUM)" $(SOURCES) >$@

# ---- checks

test: ## unit tests, and the committed notebooks against fresh runs (profile quick, seed 0)
	+@$(MAKE) --silent --no-print-directory notebooks PROFILE=quick SEED=0
	@$(BIN)/python -m pytest $(TEST_JOBS) --nbval-lax --nbval-current-env --nbval-cell-timeout $(TIMEOUT) tests book

# SITE=... tests another site than _build/html, CHROMIUM=... in another browser than the one that is found.
test-site: $(ENV) ## the built site in Chromium: every page, light and dark, 1280 and 375 px (two minutes; needs `make book`)
	@BOOK_HTML=$(abspath $(or $(SITE),_build/html)) $(BIN)/python -m pytest $(SITE_JOBS) tests/site

browser: $(ENV) ## install the Chromium that comes with playwright, where the system has none
	@$(BIN)/playwright install --with-deps chromium

reference: $(ENV) ## measure all claims over five seeds on the full data (an hour and a half) and store the values
	@$(BIN)/vaelib claims book/results/$(REFERENCE).json --profile $(REFERENCE) --seeds $(SEEDS) --jobs $(JOBS)

# pythae asks for a package that this Python does not admit, so it is installed alone and beside the environment.
bench: $(ENV) ## measure speed: loops, machine, sizes, the whole book (an hour); the book shows the result as MACHINE's
	@$(BIN)/python -m pip install --quiet --no-deps --upgrade --target _build/bench -r benchmarks/requirements.txt
	@PYTHONPATH=_build/bench OMP_NUM_THREADS=2 $(BIN)/python benchmarks "book/results/speed/$(MACHINE).json"

lint: $(ENV) ## style, types, workflows and citation file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy vaelib
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: $(ENV) ## mend style where that can be done by machine
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

refresh: ## store fresh outputs (profile quick, seed 0) in the committed notebooks
	+@$(MAKE) --silent --no-print-directory notebooks PROFILE=quick SEED=0
	@for notebook in $(NOTEBOOKS); do \
	    $(BIN)/vaelib notebook store $$notebook _build/run/quick-0/$$notebook; done
	@$(BIN)/vaelib notebook picture book/5_4_issues.ipynb fig-planes-beta book/_static/planes.png

# uv resolves for all platforms at once, which pip cannot; it is needed for nothing else. It keeps the pins that still
# fit: to upgrade everything, remove requirements.lock first.
lock: ## resolve requirements.lock anew (needs uv and a package index)
	@command -v $(UV) >/dev/null || { echo "uv is needed: pip install uv, or make UV=/path/to/uv lock" >&2; exit 1; }
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --all-extras --output-file requirements.lock pyproject.toml

# ---- removal

clean: ## remove what was built, not the cache
	@rm -rf _build .mypy_cache .pytest_cache .ruff_cache

distclean: clean ## remove the cache of this checkout and .venv too
	@rm -rf _cache .venv
