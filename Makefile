# On a fresh machine: `make demo` needs the product alone, `make test` the tools of the tests too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PRODUCT := $(VENV)/.product
TOOLS := $(VENV)/.tools
LOGS := logs/demo
# pip compiles no module, since most are never imported; Python compiles those that are and keeps
# them, also where the environment says that it should not: each start would take seconds more
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
PYTEST := $(BIN)/python -m pytest --dist loadscope --no-loadscope-reorder
SELECT := -n 2 -m "not slow"

.PHONY: install install-dev browser demo check test fast test-slow clean

install: $(PRODUCT)
install-dev: $(TOOLS)

$(PRODUCT): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(TOOLS): $(PRODUCT)
	$(PIP) -e ".[dev]"
	touch $@

# For the tests of the report in a real browser, which are skipped without it.
browser:
	command -v chromium || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)

demo: install
	$(BIN)/w2s run studies/demo.yaml --log-dir $(LOGS) --yes
	$(BIN)/w2s report $(LOGS) --out demo

check: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Lint and types, and beside them every test that takes no more than a few seconds.
test: install-dev
	$(MAKE) --no-print-directory -j2 check fast

fast: install-dev
	$(PYTEST) $(SELECT)

# Whole studies over HTTP, kills, Ray, S3, a browser, planted students: a third of it is waiting.
test-slow: install-dev
	$(PYTEST) -n 3 -m slow

clean:
	rm -rf $(VENV) demo $(LOGS)
