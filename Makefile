# Two commands for a fresh machine: `make demo` and `make test`. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOGS := logs/demo
# a file to a process, in the order that tests/conftest.py gives: the longest first
SPREAD := -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: install browser demo test check test-fast clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

# For the tests of the report in a real browser, which are skipped without it.
browser:
	command -v chromium || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)

demo: install
	$(BIN)/w2s run studies/demo.yaml --log-dir $(LOGS) --yes
	$(BIN)/w2s report $(LOGS) --out demo

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(BIN)/pytest $(SPREAD)

test-fast: install
	$(BIN)/pytest $(SPREAD) -m "not slow"

clean:
	rm -rf $(VENV) demo $(LOGS)
