PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# These have no suffix, so ruff must be told of them.
SOURCES := . tests/e2e/in_lab tests/e2e/in_systemd packaging/deb/build packaging/deb/zcs-exporter

.PHONY: bench demo deb test test-package lint types unit e2e generate check-generated clean

# Sets up what the daemon needs and runs it on a built-in Zimbra host with incidents.
demo: $(VENV)/.daemon
	$(BIN)/zcs-exporter demo

# Sets up everything and runs all tests. Tests of real programs are skipped, with a reason, where those
# programs are missing; ZCS_E2E=required makes that a failure.
test: lint types check-generated unit e2e

$(VENV)/.daemon: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo '$(PYTHON) is older than 3.11; name another, such as: make PYTHON=python3.12 $(MAKECMDGOALS)'; exit 1; }
	@echo 'Setting up $(VENV) with the libraries of the daemon, from the network; nothing outside this directory changes.'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --editable .
	touch $@

$(VENV)/.stamp: $(VENV)/.daemon
	@echo 'Adding what the tests need to $(VENV).'
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --group dev
	touch $@

lint: $(VENV)/.stamp
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/.stamp
	$(BIN)/mypy

unit: $(VENV)/.stamp
	$(BIN)/pytest --ignore=tests/e2e --numprocesses auto

# Two labs side by side, each with its own part of the files: most of the time the tests wait for real programs.
e2e: $(VENV)/.stamp
	$(BIN)/pytest --dist loadfile --tx '2*popen//python=tests/e2e/in_lab $(BIN)/python' \
		--ignore=tests/e2e/booted tests/e2e

# Makes dist/zcs-exporter_VERSION-1_amd64.deb, of the libraries in packaging/deb/requirements.txt.
deb: $(VENV)/.stamp
	$(BIN)/python packaging/deb/build
	! command -v lintian || lintian --fail-on error dist/zcs-exporter_*.deb

# Installs, upgrades and removes a package on a machine of its own under systemd, as root; nothing of it is left.
test-package: $(VENV)/.stamp
	rm -rf dist/test
	$(BIN)/python packaging/deb/build --compression none --target dist/test
	ZCS_DEB="$$(echo $(CURDIR)/dist/test/zcs-exporter_*.deb)" tests/e2e/in_systemd $(BIN)/pytest tests/e2e/booted
	rm -r dist/test

# Measures the daemon beside the exporters whose work it takes over, as root, and writes docs/performance.md. Takes about
# 25 minutes; `python -m benchmarks NAME...` measures some only, and MISSING=--missing goes on where a run was stopped.
bench: $(VENV)/.stamp
	$(BIN)/python -m benchmarks --write $(MISSING)

# Writes what is rendered from the code and the alerts: rules, their tests, the MIB, dashboards, managers' files, pages.
generate: $(VENV)/.stamp
	$(BIN)/python -m zcs_exporter.generate

check-generated: generate
	git diff --exit-code -- alerts docs grafana packaging

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .hypothesis
