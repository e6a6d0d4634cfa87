PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The lab's wrapper has no suffix, so ruff must be told of it.
SOURCES := . tests/e2e/in_lab

.PHONY: bench demo test lint types unit e2e generate check-generated clean

# Sets up everything and runs the daemon on a built-in Zimbra host with incidents.
demo: $(VENV)/.stamp
	$(BIN)/zcs-exporter demo

# Sets up everything and runs all tests. Tests of real programs are skipped, with a reason, where those
# programs are missing; ZCS_E2E=required makes that a failure.
test: lint types check-generated unit e2e

$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

lint: $(VENV)/.stamp
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.stamp
	$(BIN)/mypy

unit: $(VENV)/.stamp
	$(BIN)/pytest --ignore=tests/e2e --numprocesses auto

e2e: $(VENV)/.stamp
	tests/e2e/in_lab $(BIN)/pytest tests/e2e

# Times the log engine beside mtail and pflogsumm, and an attack through the auth collector.
bench: $(VENV)/.stamp
	$(BIN)/python benchmarks/logs.py --gigabyte
	$(BIN)/python benchmarks/attack.py

# Writes what is rendered from the code and the alerts: rules, their tests, the MIB, files for managers, pages.
generate: $(VENV)/.stamp
	$(BIN)/python -m zcs_exporter.generate

check-generated: generate
	git diff --exit-code -- alerts/prometheus docs packaging

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .hypothesis
