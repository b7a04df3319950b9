# What can be made, and from what. Plain `make` prints the targets.

PROFILE ?= quick
SEED ?= 0
# Processes side by side; by default as many as affinity and quota let us have.
JOBS ?= $(shell $(BIN)/python -I -c 'import joblib; print(joblib.cpu_count())' 2>/dev/null || nproc 2>/dev/null || echo 1)
PYTHON ?= python3
UV ?= uv
# Seconds that one cell of a notebook may take.
TIMEOUT ?= 3600
# What `make reference` measures: full or fashion, its seeds, and of section 5.5 some frames, as fair,ladder, or all.
REFERENCE ?= full
SEEDS ?= 0-4
FRAMES ?=
# The name under which `make bench` stores what it measured: that of the processor, in small letters and hyphens.
MACHINE ?= $(or $(shell { sed -n '/^model name/{s/.*: //p;q;}' /proc/cpuinfo || sysctl -n machdep.cpu.brand_string; } 2>/dev/null \
    | sed -E 's/\((R|TM)\)//g; s/ *@.*//; s/[^[:alnum:]]+/-/g; s/-$$//' | tr '[:upper:]' '[:lower:]'),unknown)
# The browser that prints the PDF, this machine's or playwright's; without one there is no PDF and no link to it.
CHROMIUM ?= $(shell command -v chromium chromium-browser google-chrome google-chrome-stable \
    "$$HOME"/.cache/ms-playwright/chromium-*/chrome-linux*/chrome | head -n 1)

SHELL := bash
# -p: without what the user's environment says to shells.
.SHELLFLAGS := -peuo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

check = $(if $(shell [[ '$($(1))' =~ ^($(2))$$ ]] && echo yes),,$(error $(1) is '$($(1))'; it must be $(3)))
$(call check,PROFILE,quick|full|fashion,one of quick full fashion)
$(call check,SEED,[0-9]+,a whole number)
$(call check,TIMEOUT,[1-9][0-9]*,a whole number of seconds)
$(if $(filter-out file,$(origin JOBS)),$(call check,JOBS,[1-9][0-9]*,a whole number above 0))

# What the environment says to Python, git, pytest, pip and about languages is not for us; where pip finds packages is.
INDEX := INDEX_URL EXTRA_INDEX_URL FIND_LINKS NO_INDEX TRUSTED_HOST CERT CLIENT_CERT PROXY TIMEOUT DEFAULT_TIMEOUT RETRIES \
    CACHE_DIR NO_CACHE_DIR CONFIG_FILE KEYRING_PROVIDER
unexport BASH_ENV ENV CDPATH $(filter PYTHON% GIT_% PYTEST_% PIP_% LC_% LANG LANGUAGE MYPY% RUFF_%,$(filter-out PYTHON $(INDEX:%=PIP_%),$(.VARIABLES)))
export PYTHONUTF8 := 1
# The path of a socket has at most some hundred characters.
$(if $(shell [ "$${#TMPDIR}" -gt 60 ] && echo long),$(eval export TMPDIR := /tmp))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
# One thread a process repeats bit for bit; the cores are used by running processes side by side.
export OMP_NUM_THREADS := 1
# Where the C library is glibc: memory in large pages, and kept for the next tensor rather than given back; same numbers.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592
# Whatever is started ends when this make does: vaelib/build/processes.py. Only one at a time makes something here.
ifndef BOOK_MAKE_PID
export BOOK_MAKE_PID := $(shell echo $$PPID)
ifneq (,$(filter models notebooks book pdf test refresh,$(MAKECMDGOALS)))
# A number may be another process's by now, or in a container even ours.
OTHER := $(shell other=$$(cat _build/.make 2>/dev/null) && [ "$$other" != $(BOOK_MAKE_PID) ] && kill -0 "$$other" 2>/dev/null \
    && { [ ! -r "/proc/$$other/comm" ] || grep -q make "/proc/$$other/comm"; } && echo "$$other")
$(if $(OTHER),$(error another make, process $(OTHER), works in this folder; wait for it (or, if it is none, remove _build/.make)))
$(shell mkdir -p _build && echo $(BOOK_MAKE_PID) >_build/.make)
endif
endif

BIN := .venv/bin
BUILD := --profile $(PROFILE) --seed $(SEED)
# Runs a long command: its name, the log of what it says, the minutes that it may take, the command.
ATTEND := .venv/bin/python -I vaelib/build/processes.py
CACHE := $(or $(patsubst ~/%,$(HOME)/%,$(VAELIB_CACHE)),_cache)
# The book is built from a copy of book/ in which the notebooks are executed. Stamps say that something was made;
# whether a model is trained or a notebook executed again is decided by what it depends on.
RUN := _build/run/$(PROFILE)-$(SEED)
ENV := .venv/.installed
PIP := $(BIN)/python -I -m pip install --no-user
INSTALLED := _build/install.log
MODELS := $(RUN)/.models
NOTEBOOKS := $(RUN)/.notebooks
PAGE := _build/html/index.html
PDF := variational-autoencoders.pdf
LOG := _build/html.log
# No file of ours has a name with a space or a bracket, as copies have.
files = $(shell find $(1) -type f ! -path '*/.*' ! -path '*/__pycache__/*' | grep -E '^[[:alnum:]_./-]+$$' | sort)
SOURCES := $(call files,book) _toc.yml
LIBRARY := $(filter-out vaelib/build/%,$(call files,vaelib)) requirements.lock
COMMITTED := $(wildcard $(shell sed -nE 's/^.*(root|file): *(.*)/\2.ipynb/p' _toc.yml))
QUICK = +@$(MAKE) --silent --no-print-directory notebooks PROFILE=quick SEED=0
XDIST = $(if $(filter 1,$(JOBS)),,-n $(JOBS) --dist)

.PHONY: help env models notebooks book pdf test test-site browser bench reference lint format refresh lock clean distclean FORCE

help: ## print this list
	@echo "make [PROFILE=quick|full|fashion] [SEED=0] [JOBS=$(JOBS)] [PYTHON=python3] TARGET"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' Makefile | expand -t 14

env: $(ENV) ## install the pinned packages and the library into .venv
# An environment that was copied or moved with its folder still runs the library of the old one.
$(ENV): requirements.lock pyproject.toml $(if $(filter "$(CURDIR)","$(shell cat .venv/.installed 2>/dev/null)"),,FORCE)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@echo "install    .venv" && $(PYTHON) -m venv --clear .venv
	@mkdir -p _build
	@$(ATTEND) install $(INSTALLED) 120 $(PIP) --no-compile --progress-bar off --require-hashes -r requirements.lock || { tail $(INSTALLED) >&2; exit 1; }
	@$(PIP) --quiet --no-deps --no-build-isolation -e .
	@echo "$(CURDIR)" >$@

models: $(MODELS) ## train what the cache does not hold yet
$(MODELS): $(LIBRARY) $(if $(shell [ -d "$(CACHE)/models" ] && grep -sFx "$(CACHE)" $(MODELS)),,FORCE) | $(ENV)
	@echo "models     $(PROFILE), seed $(SEED)"
	@$(BIN)/vaelib train $(BUILD) --jobs $(JOBS) && mkdir -p $(@D) && echo "$(CACHE)" >$@

notebooks: $(NOTEBOOKS) ## execute the notebooks that are out of date, into _build/run
$(NOTEBOOKS): $(MODELS) $(SOURCES) _build/selection
	@echo "notebooks  $(RUN)"
	@$(BIN)/vaelib notebook run book $(RUN)/book $(BUILD) --timeout $(TIMEOUT) --jobs $(JOBS) && touch $@

book: $(PAGE) ## build the site into _build/html; the last line says what to open
	@$(if $(CHROMIUM),true,echo "No Chromium was found, so there is no PDF; to have one: make CHROMIUM=/path/to/chromium book")
	@echo "Open $(CURDIR)/$(PAGE)"
pdf: $(if $(CHROMIUM),book) ## the same, or an error if there is no browser to print the PDF with
	@$(if $(CHROMIUM),true,echo "Chromium is needed: make CHROMIUM=/path/to/chromium pdf" >&2; exit 1)

# $(1) is the builder. BOOK_PDF makes the front page link to the PDF.
define SITE_BY
@BOOK_PDF=$(if $(CHROMIUM),$(PDF)) $(ATTEND) $(1) $(LOG) 60 $(BIN)/jupyter-book build $(RUN) --config _config.yml --toc "$(CURDIR)/_toc.yml" \
    --path-output _build/site --builder $(1) -W -n --keep-going \
    || { grep -E 'WARNING|ERROR|Error' $(LOG) || tail -n 30 $(LOG); echo "The whole log: $(LOG)"; exit 1; } >&2
endef
# The whole book on one page, in a browser with a profile of its own, which root may only use without a sandbox. The
# browser's clock runs ahead until the formulas are set.
define PRINT
@echo "print      _build/html/$(PDF)"
$(call SITE_BY,singlehtml)
@$(ATTEND) print $(LOG) 10 "$(CHROMIUM)" --headless --disable-gpu $(if $(filter 0,$(shell id -u)),--no-sandbox) \
    --user-data-dir="$(CURDIR)/_build/site/browser" --no-pdf-header-footer --generate-pdf-document-outline \
    --virtual-time-budget=60000 --print-to-pdf="_build/site/_build/html/$(PDF)" \
    "file://$(CURDIR)/_build/site/_build/singlehtml/printed.html" && test -s "_build/site/_build/html/$(PDF)" \
    || { tail -n 5 $(LOG); echo "$(CHROMIUM) did not print the book; without a PDF: make CHROMIUM= book"; exit 1; } >&2
endef
# Built beside the old site, which is replaced only by a complete one.
$(PAGE): $(NOTEBOOKS) _config.yml
	@echo "build      _build/html"
	@$(BIN)/vaelib report $(BUILD) --output $(RUN)/book/_generated --results book/results && rm -rf _build/site
	$(call SITE_BY,html)
	$(if $(CHROMIUM),$(PRINT))
	@rm -rf _build/html && mv _build/site/_build/html _build/html && rm -rf _build/site && touch $@
# Changes when another profile, seed or browser is asked for, or when a source is added or removed.
_build/selection: FORCE
	@mkdir -p $(@D) && printf '%s\n' $(RUN) "$(CHROMIUM)" $(SOURCES) >$@.new && { cmp -s $@.new $@ || cp $@.new $@; }

test: ## unit tests, and the committed notebooks against fresh runs (profile quick, seed 0)
	$(QUICK)
	@$(BIN)/python -m pytest $(XDIST) $(and $(XDIST),loadscope) --nbval-lax --nbval-current-env --nbval-cell-timeout $(TIMEOUT) tests $(COMMITTED)
# SITE=... tests another site than _build/html, CHROMIUM=... in another browser than the one that is found.
test-site: $(ENV) ## the built site in Chromium: every page, light and dark, 1280 and 375 px (two minutes; needs `make book`)
	@BOOK_HTML="$(or $(SITE),_build/html)" $(BIN)/python -m pytest $(XDIST) $(and $(XDIST),loadgroup) tests/site
browser: $(ENV) ## install the Chromium that comes with playwright, where the system has none
	@$(BIN)/playwright install --with-deps chromium
reference: $(ENV) ## measure all claims, and what 5.5 shows, over five seeds on the full data (hours) and store the values
	@$(BIN)/vaelib claims book/results/$(REFERENCE).json --profile $(REFERENCE) --seeds $(SEEDS) --jobs $(JOBS)
	@$(BIN)/vaelib evidence book/results/evidence/$(REFERENCE).json --profile $(REFERENCE) --seeds $(SEEDS) --jobs $(JOBS) \
	    $(if $(FRAMES),--frames "$(FRAMES)")
# pythae asks for a package that this Python does not admit, so it is installed alone and beside the environment.
bench: $(ENV) ## measure speed: loops, machine, sizes, the whole book (an hour); the book shows the result as MACHINE's
	@$(BIN)/python -m pip install --quiet --no-deps --upgrade --target _build/bench -r benchmarks/requirements.txt
	@PYTHONPATH=_build/bench OMP_NUM_THREADS=2 $(BIN)/python benchmarks "book/results/speed/$(MACHINE).json"
lint: $(ENV) ## style, types, workflows and citation file
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy vaelib
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
format: $(ENV) ## mend style where that can be done by machine
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .
refresh: ## store fresh outputs (profile quick, seed 0) in the committed notebooks
	$(QUICK)
	@for notebook in $(COMMITTED); do $(BIN)/vaelib notebook store $$notebook _build/run/quick-0/$$notebook; done
	@$(BIN)/vaelib notebook picture book/5_4_issues.ipynb fig-planes-beta book/_static/planes.png
# uv resolves for all platforms at once, which pip cannot; it is needed for nothing else. It keeps the pins that still
# fit: to upgrade everything, remove requirements.lock first.
lock: ## resolve requirements.lock anew (needs uv and a package index)
	@command -v $(UV) >/dev/null || { echo "uv is needed: pip install uv, or make UV=/path/to/uv lock" >&2; exit 1; }
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	    --all-extras --output-file requirements.lock pyproject.toml
clean: ## remove what was built, not the cache
	@rm -rf _build .mypy_cache .pytest_cache .ruff_cache
distclean: clean ## remove the cache of this checkout and .venv too
	@rm -rf _cache .venv
