PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test unit e2e lint types generate check-generated clean

$(VENV)/.stamp: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

demo: $(VENV)/.stamp
	$(BIN)/zcs-exporter demo
