# `make` lists the targets. Everything runs in .venv, which is made from the locked requirements when they change.

PORT ?= 8000
SANDBOX_PORT ?= 8001
export PORT SANDBOX_PORT

PYTHON ?= $(shell for candidate in python3.13 python3.12 python3.11 python3 python; do \
	if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1; \
	then command -v $$candidate; break; fi; done)
RUN = .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test bench chaos lab lint scan sbom lock

help: ## list the targets
	@echo "make demo     the whole site on http://127.0.0.1:$(PORT), sandbox on :$(SANDBOX_PORT); change with PORT= SANDBOX_PORT="
	@echo "make test     every test that needs no extra system package"
	@echo "make bench    holds, searches and campaign messages per second, beside their limits"
	@echo "make chaos    break it on purpose and compare the books; SCHEDULES= SEED= ONLY= LANES= choose"
	@echo "make lab      rehearse the deployment on a clean Debian in a container; root; LAB=--short for less"
	@echo "make lint     style, types, floors"
	@echo "make scan     our own rules of security (semgrep) and bandit, offline"
	@echo "make sbom     what production is made of, with licences: var/sbom.json"
	@echo "make lock     pin the requirements anew, with hashes"

demo: BEGAN := $(shell date +%s)
demo:
	@$(if $(PYTHON),,$(error No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make demo PYTHON=/path/to/python3))"$(PYTHON)" parking_site/install.py requirements-demo.txt
	@exec $(RUN) manage.py quickstart --first-step 3 --began $(BEGAN)

test: .venv/ready-dev
	@$(RUN) -m pytest -n 2 -m "not browser"

bench: .venv/ready-dev
	@$(RUN) -m bench
	@$(RUN) -m bench.messages --kill

SCHEDULES ?= 25
SEED ?= 1
LANES ?= 1
chaos: .venv/ready-dev
	@exec $(RUN) -m bench.chaos --schedules $(SCHEDULES) --seed $(SEED) --lanes $(LANES) $(if $(ONLY),--only $(ONLY))

lab: .venv/ready-dev
	@exec $(RUN) -m deploy.lab $(LAB)

lint: .venv/ready-dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy .
	@.venv/bin/lint-imports
	@.venv/bin/djlint --lint --quiet templates
	@.venv/bin/shellcheck .ci/run deploy/deploy.sh deploy/lib/*.sh

# Semgrep pins what the project has newer, so it lives in an environment of its own.
SEMGREP = SEMGREP_SEND_METRICS=off .venv-semgrep/bin/semgrep scan --metrics off --disable-version-check --quiet
scan: .venv/ready-dev .venv-semgrep/ready
	@$(SEMGREP) --test --config .ci/semgrep/ .ci/semgrep/
	@$(SEMGREP) --error --config .ci/semgrep/rules.yml --exclude .ci .
	@.venv/bin/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive \
		accounts bookings communications foundation payments parking_site sandbox manage.py

sbom: .venv/ready-dev
	@$(RUN) .ci/sbom.py

.venv-semgrep/ready: .ci/semgrep/requirements.txt
	@.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv-semgrep
	@.venv/bin/uv pip install --quiet --require-hashes --python .venv-semgrep/bin/python -r .ci/semgrep/requirements.txt
	@touch $@

.venv/ready-dev: requirements-dev.txt requirements.txt
	@$(if $(PYTHON),,$(error No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make test PYTHON=/path/to/python3))"$(PYTHON)" parking_site/install.py requirements-dev.txt

lock: .venv/ready-dev
	@.venv/bin/uv pip compile pyproject.toml --universal --generate-hashes --no-header -q -o requirements.txt
	@.venv/bin/uv pip compile pyproject.toml --extra demo -c requirements.txt --universal --generate-hashes --no-header -q -o requirements-demo.txt
	@.venv/bin/uv pip compile pyproject.toml --extra demo --extra dev -c requirements.txt --universal --generate-hashes --no-header -q -o requirements-dev.txt
	@.venv/bin/uv pip compile .ci/semgrep/requirements.in --universal --python-version 3.11 --generate-hashes --no-header -q -o .ci/semgrep/requirements.txt
