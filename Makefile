# make demo   set everything up and run the main job
# make test   set everything up and pass the tests
# make slow   the longer proofs too
# make check  lint, format and types
# make bench  every benchmark in its short form

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: demo test slow check bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	$(BIN)/xrec run recipes/quickstart.yaml

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types && ln -sfn ../../plugins build/types/xrec_plugins
	$(BIN)/mypy

bench: $(VENV)/.dev
	set -e; for script in overhead encode tuning quality explainers fidelity compression privacy; do $(BIN)/python benchmarks/$$script.py; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "xrec needs Python 3.11 or later: set PYTHON, as in make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch comes first and alone: whatever else is installed then finds the pinned build in place.
$(VENV)/.demo $(VENV)/.dev: $(VENV)/.%: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info runs
