# `make` lists the targets. All of them do their own set-up.
SHELL := /bin/bash
PYTHON ?= python3
SCALE ?= 10000
RUN ?= demo
OPTION ?= A
BIN := .venv/bin
LOCAL_SNOWFLAKE := .venv-snowflake
CHECK := $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports --no-logo && $(BIN)/python -m helpers.runs.notebook_lint runbooks
export PYTHONUNBUFFERED := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-full lab test test-slow test-engines check format lock audit sbom stack checker down clean bench-export bench-verify bench-sync

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(BIN)/.ready $(LOCAL_SNOWFLAKE)/.ready  ## make the environments

# uv resolves and installs in seconds; where it cannot be had, pip does the same more slowly.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=python3.12")'
	@rm -rf $(1)
	@$(PYTHON) -m venv $(1) || { echo "the module venv is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@if $(1)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9; then \
		$(1)/bin/uv pip install --quiet --python $(1)/bin/python --compile-bytecode -r $(2); \
	else \
		$(1)/bin/python -m pip install --quiet --disable-pip-version-check -r $(2); \
	fi
endef

$(BIN)/.ready: requirements.txt pyproject.toml
	@echo "making .venv (about a minute the first time)"
	$(call install,.venv,requirements.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Python 3 (runbooks)" > /dev/null
	@touch $@

$(LOCAL_SNOWFLAKE)/.ready: helpers/local/requirements.txt
	@echo "making .venv-snowflake, the stand-in's own environment"
	$(call install,$(LOCAL_SNOWFLAKE),helpers/local/requirements.txt)
	@touch $@

stack: setup
	@$(BIN)/runbook local up

demo: stack  ## set up, start the local stack, migrate the sample, prove it (SCALE=1000000 for more)
	@$(BIN)/runbook local sample --scale $(SCALE) --keep-orders
	@$(BIN)/runbook run 30 --run $(RUN)

demo-full: stack  ## option A of the whole checklist (OPTION=C: the legacy one) to sealed evidence, signed with test keys (Airflow, Kafka, dbt, Terraform)
	@$(BIN)/runbook local sample --scale $(SCALE) --keep-orders
	@$(BIN)/python -m helpers.commands.demo --run $(RUN)-full --option $(OPTION)

# In a container everybody is root, and JupyterLab refuses root unless told otherwise; it listens on loopback, behind a token.
lab: stack  ## JupyterLab on the runbooks
	@$(BIN)/runbook local sample --scale $(SCALE) --keep-orders
	@$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/runbooks/30_data_migration.ipynb

# A stack of their own, so that tests never meet what a user has loaded. The lint runs beside them and speaks when they have.
test: export RUNBOOK_LOCAL_ROOT := $(CURDIR)/.local-test
test: export RUNBOOK_KEEP_SHAPES := 1
test: setup  ## set up, lint, run the tests and compare the notebooks' outputs
	@$(BIN)/runbook local down > /dev/null 2>&1 || true  # one that runs may run an older version's stand-in
	@said=$$(mktemp); { $(CHECK); } > $$said 2>&1 & check=$$!; \
	trap 'kill $$check 2> /dev/null; rm -f $$said; $(BIN)/runbook local down' EXIT; \
	$(BIN)/python -m pytest -n 2 --dist worksteal -p no:nbval \
	&& $(BIN)/runbook local up \
	&& $(BIN)/runbook local sample --scale 10000 --replace \
	&& $(BIN)/python -m pytest -n 2 --dist loadfile --nbval-lax --nbval-sanitize-with runbooks/nbval-sanitize.cfg runbooks -p no:cacheprovider; \
	tests=$$?; wait $$check; lint=$$?; cat $$said; exit $$((tests || lint))

test-slow: export RUNBOOK_LOCAL_ROOT := $(CURDIR)/.local-test
test-slow: setup  ## the tests that take longer
	@$(BIN)/python -m pytest -m slow

test-engines: export RUNBOOK_LOCAL_ROOT := $(CURDIR)/.local-test
test-engines: setup  ## the tests on Apache Spark and Apache Kafka themselves, from Maven's jars (needs Java and Maven)
	@$(BIN)/python -m pytest -m engines tests/engines

check: setup  ## format, lint, types, notebooks' lint
	@$(CHECK)

format: setup  ## put the code into its form
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

LOCKED := requirements .ci/requirements helpers/local/requirements helpers/local/cloud/requirements helpers/platforms/dbt_environment/requirements helpers/local/airflow_environment/requirements
lock: $(BIN)/.ready  ## resolve the requirements anew, each package with the hashes of its files
	@for each in $(LOCKED); do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --generate-hashes $$each.in -o $$each.txt || exit 1; \
	done

.venv-audit/.ready: .ci/requirements.txt
	$(call install,.venv-audit,.ci/requirements.txt)
	@touch $@

audit: .venv-audit/.ready  ## look for insecure patterns in the code and known vulnerabilities of the locked packages (where the index answers)
	@.venv-audit/bin/bandit -q -c pyproject.toml -r helpers
	@.venv-audit/bin/python .ci/audit.py $(addsuffix .txt,$(LOCKED))

sbom: .venv-audit/.ready  ## write dist/sbom.json, the bill of materials of a release (CycloneDX)
	@mkdir -p dist
	@.venv-audit/bin/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible -o dist/sbom.json
	@echo dist/sbom.json

# Under our own versions of what both need, since it comes first on the path.
.venv-benchmarks/.ready: benchmarks/requirements.txt $(BIN)/.ready
	@rm -rf .venv-benchmarks && mkdir .venv-benchmarks
	@grep -v -e '--hash' requirements.txt | sed 's/ \\$$//' > .venv-benchmarks/constraints.txt  # a hash there would be asked of all
	@$(BIN)/uv pip install --quiet --target .venv-benchmarks -r benchmarks/requirements.txt -c .venv-benchmarks/constraints.txt \
		|| $(BIN)/python -m pip install --quiet --target .venv-benchmarks -r benchmarks/requirements.txt -c .venv-benchmarks/constraints.txt
	@touch $@

bench-export: stack .venv-benchmarks/.ready  ## measure the export beside COPY, DuckDB's scanner and ADBC (BENCH="--rows 200000 --repeat 1")
	@PYTHONPATH=.venv-benchmarks $(BIN)/python -m benchmarks.export $(BENCH)

bench-verify: stack .venv-benchmarks/.ready  ## measure the verification beside reladiff
	@PYTHONPATH=.venv-benchmarks $(BIN)/python -m benchmarks.verify $(BENCH)

bench-sync: stack  ## measure how fast changes are decoded and staged beside psycopg2 that throws them away
	@$(BIN)/python -m benchmarks.sync $(BENCH)

checker: setup  ## build verify-evidence.pyz, the check of sealed evidence as one file, and print its digest
	@$(BIN)/python -m helpers.evidence.checker_file dist/verify-evidence.pyz

down:  ## stop the local stack
	@test ! -x $(BIN)/runbook || $(BIN)/runbook local down

clean:  ## stop the local stack, remove its data and the environments; outputs/ stays, it is evidence
	@test ! -x $(BIN)/runbook || $(BIN)/runbook local remove
	@test ! -x $(BIN)/runbook || RUNBOOK_LOCAL_ROOT=$(CURDIR)/.local-test $(BIN)/runbook local remove
	@rm -rf .venv .venv-* .jars *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
