# `make demo` and `make test` need python3 (3.10 or later) and make; everything else is installed into .venv.
# `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# How many processes run the tests. Most tests wait, so there are more than processors; make test ARGUMENTS="-n 0" uses none.
WORKERS ?= 4
# More for pytest: make test ARGUMENTS="-k retry -x"
ARGUMENTS ?=
BENCHMARKS ?= speedup throughput cold_start import_time memory streams structured governed shared_limits storms cluster

# What an installation depends on: changing one of these installs again.
METADATA := setup.cfg pyproject.toml
QUIET := --quiet --disable-pip-version-check

# The tests start hundreds of programs, and without its cache Python would compile the package anew for each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help prepare demo test test-python test-wheel fuzz inject lint docs benchmarks clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

prepare: $(VENV)/.installed-dev programs ## Install all that the other targets need

demo: $(VENV)/.installed-demo ## Run four classic jobs on the simulated provider, next to their sequential time
	@$(BIN)/python -m responder demo

test: $(VENV)/.installed-dev ## Run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope $(ARGUMENTS)

test-python: ## Run the tests with another Python, in an environment of its own: make test-python PYTHON=python3.13
	@$(MAKE) --no-print-directory test VENV=.venv-$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# The fuzzers of HTTP and of events, with this many cases each in place of some hundred.
CASES ?= 100000

fuzz: $(VENV)/.installed-dev ## Compare our HTTP and event readers with others for hundreds of thousands of cases
	RESPONDER_FUZZ_CASES=$(CASES) $(BIN)/python -m pytest -k fuzzed --timeout=0 tests/test_http1.py tests/test_http1_oracles.py \
		tests/test_events.py $(ARGUMENTS)

inject: $(VENV)/.installed-dev ## Let each step to the operating system fail in turn, in each of its ways (minutes)
	RESPONDER_INJECTIONS=all $(BIN)/python -m pytest --timeout=0 tests/test_every_step.py $(ARGUMENTS)

lint: $(VENV)/.installed-dev ## Check types (those of what the documentation shows, too), style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/typecheck.py

docs: $(VENV)/.installed-dev ## Build the documentation into docs/_build/html, warnings as errors
	$(BIN)/sphinx-build --fail-on-warning --keep-going --builder html docs docs/_build/html

benchmarks: $(VENV)/.installed-dev ## Run the benchmarks; peers that are not installed are left out
	@for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py $(ARGUMENTS) || exit 1; done

.PHONY: journeys
journeys: $(VENV)/.installed-dev ## Walk the first hour of three newcomers in a fresh environment, with a time line (minutes)
	@$(BIN)/python benchmarks/journeys.py $(ARGUMENTS)

# What a user installs, out of the checkout's reach: no file is missing, everything can be imported, the commands work, a map answers.
test-wheel: $(VENV)/.installed-dev ## Build the wheel and test it in an environment of its own
	@set -e; \
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(BIN)/python -m build --outdir "$$folder/dist" . > "$$folder/build.log" 2>&1 || { cat "$$folder/build.log"; exit 1; }; \
	$(BIN)/python -m venv "$$folder/venv"; \
	wheel=$$(ls "$$folder"/dist/*.whl); \
	"$$folder/venv/bin/python" -m pip install $(QUIET) "$$wheel[simulator]" mypy pytest; \
	cp tests/test_wheel.py "$$folder"; \
	source=$$PWD; cd "$$folder"; \
	env -u PYTHONPATH RESPONDER_SOURCE="$$source/responder" venv/bin/python -m pytest $(ARGUMENTS) test_wheel.py

# The examples: on a simulated provider, or on a real one with RESPONDER_MODEL=gemini:gemini-2.5-flash in the environment.
.PHONY: angles angles-django chat summarise django-site screenshots programs

angles: $(VENV)/.installed-dev ## Example: one question from four angles, answers side by side (Gradio)
	@$(BIN)/python docs/examples/run.py angles $(ARGUMENTS)

angles-django: $(VENV)/.installed-dev ## Example: the same page in plain HTML (Django)
	@$(BIN)/python docs/examples/run.py angles-django $(ARGUMENTS)

chat: $(VENV)/.installed-dev ## Example: a chat page and its service (Streamlit, FastAPI)
	@$(BIN)/python docs/examples/run.py chat $(ARGUMENTS)

summarise: $(VENV)/.installed-dev ## Example: many texts summarised by a script
	@$(BIN)/python docs/examples/run.py summarise $(ARGUMENTS)

django-site: $(VENV)/.installed-dev ## Example: several providers, a stream, and many prompts in a Django project
	@$(BIN)/python docs/examples/run.py django-site $(ARGUMENTS)

screenshots: $(VENV)/.installed-dev programs ## Take the pictures of the examples anew, into docs/images
	RESPONDER_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/apps $(ARGUMENTS)

# The tests of the examples drive Chromium, those of shared limits a Redis server. Without the right to install them they are
# skipped, and fail where CI=true.
test: programs
programs: ## Install Chromium, its driver and a Redis server, where apt-get is there and may
	@command -v chromedriver > /dev/null && command -v redis-server > /dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing Chromium, its driver and a Redis server"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends --yes \
			chromium chromium-driver fonts-dejavu-core redis-server; } > /dev/null || \
			echo "They could not be installed: what needs them is not tested" >&2; \
	else \
		echo "No chromedriver or redis-server here, and no right to install them: what needs them is not tested" >&2; \
	fi

clean: ## Remove everything that was built or installed here
	rm -rf .venv .venv-* $(VENV) build dist docs/_build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian and Ubuntu split venv's installer off python3; without it there is nothing to install with.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null || { \
		echo "$(PYTHON) is missing or older than 3.10. Install Python 3.10 or later, or name it: make PYTHON=python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "$(PYTHON) cannot make environments: its modules venv and ensurepip are missing." >&2; \
		echo "On Debian and Ubuntu: sudo apt install python3-venv. Or name another one: make PYTHON=python3.12" >&2; \
		exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

# Editable, so that the checkout is what runs. The demo needs less than the tests, and takes what they have installed.
$(VENV)/.installed-demo: $(METADATA) | $(BIN)/python
	@if [ -e $(VENV)/.installed-dev ]; then $(MAKE) --no-print-directory $(VENV)/.installed-dev; else \
		echo "Installing (the first time takes a minute)"; $(BIN)/python -m pip install $(QUIET) --editable '.[simulator]'; fi
	@touch $@

$(VENV)/.installed-dev: $(METADATA) | $(BIN)/python
	@echo "Installing for development (the first time takes some minutes)"
	@$(BIN)/python -m pip install $(QUIET) --editable '.[dev]'
	@touch $@
