# Holdfast. `make run` serves, `make test` tests; both set up what they need and say so.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The demonstration stock goes into an empty store only; `make run DEMO=` leaves it empty.
DEMO ?= --demo
BENCH ?= all
EXAMPLES ?= 1000
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run test check coverage docs faults fuzz bench format clean help

run: $(VENV)/.run ## Serve on http://127.0.0.1:8080, with a PostgreSQL of our own
	$(BIN)/python -m service serve $(DEMO)

# Three test processes on two cores: much of a test is waiting for PostgreSQL or another process.
test: $(VENV)/.test ## Run every test; ARGS="-k reserve -x" picks
	$(BIN)/python -m pytest --numprocesses=3 --cov --cov-report=term --cov-report=html --cov-report=xml \
		--cov-report=json:reports/coverage.json $(ARGS)

check: $(VENV)/.test ## Formatting, lint, types, layout of the SQL
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/sqlfluff lint -q sql

# On PostgreSQL with plpgsql_check (Debian: postgresql-15-plpgsql-check), so that sql/ is measured.
coverage: test ## Test, then write docs/coverage.md
	$(BIN)/python -m tests.coverage_summary

docs: $(VENV)/.test ## Write docs/api.md
	$(BIN)/python -m tests.api_reference

faults: $(VENV)/.test ## Kill processes and cut links for minutes
	$(BIN)/python -m pytest -m faults --no-cov $(ARGS)

# The service as it runs, in both modes, by what its OpenAPI document says.
fuzz: $(VENV)/.test $(VENV)-fuzz/.fuzz ## Let Schemathesis make requests, 1,000 an operation, for an hour
	HOLDFAST_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -m fuzz --no-cov $(ARGS)

# All of it; one part is make bench BENCH=holdfast, see bench/README.md.
bench: $(VENV)-bench/.bench ## Measure beside the peers; see bench/README.md
	$(VENV)-bench/bin/python -m bench $(BENCH) $(ARGS)

format: $(VENV)/.test ## Mend what a program can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix -q sql

help: ## Say what there is to make
	@sed -n 's/^\([a-z]*\):.* ## /make \1	/p' $(MAKEFILE_LIST) | expand -t 16

clean: ## Remove what was set up and left over; no data
	rm -rf $(VENV) $(VENV)-bench $(VENV)-fuzz .schemathesis reports .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.run: requirements.txt service/web/pages/requirements.txt
	@echo "Setting up $(VENV) with what the service needs"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r service/web/pages/requirements.txt
	@touch $@

$(VENV)/.test: $(VENV)/.run tests/requirements.txt
	@echo "Setting up $(VENV) with what the tests need"
	@$(BIN)/python -m pip install --quiet -r tests/requirements.txt
	@touch $@

$(VENV)-fuzz/.fuzz: tests/fuzz/requirements.txt
	@echo "Setting up $(VENV)-fuzz with Schemathesis"
	@test -x $(VENV)-fuzz/bin/python || $(PYTHON) -m venv $(VENV)-fuzz
	@$(VENV)-fuzz/bin/python -m pip install --quiet -r tests/fuzz/requirements.txt
	@touch $@

$(VENV)-bench/.bench: requirements.txt bench/requirements.txt
	@echo "Setting up $(VENV)-bench with what the benchmarks need"
	@test -x $(VENV)-bench/bin/python || $(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip install --quiet -r bench/requirements.txt
	@touch $@
