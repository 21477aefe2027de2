# The commands of this project. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-fast lint format lock secrets up down load bench doctor audit licences screenshots backup restore

PYTHON ?= python3
export PYTHON
BIN := .venv/bin
PACKAGES := model api evidently_workspace scripts
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock" --quiet
# by what secrets look like; what looks for words such as "secret" finds the names of settings
FIND_SECRETS := (git ls-files -z 2>/dev/null || find $(PACKAGES) deploy docs observability tests -type f -print0) | grep -zvE '\.lock$$|\.png$$|^observability/grafana/dashboards/|/captured/' \
	| xargs -0 $(BIN)/detect-secrets-hook --no-verify --disable-plugin KeywordDetector \
	--plugin scripts/key_detector.py --exclude-secrets '^(PASSWORD|hidden)$$'
URL ?= http://127.0.0.1:8000
SCENARIO ?= steady
RATE ?= 20
DURATION ?= 60
SEED ?= 0
WORKERS ?= 1
SUBJECT ?= detection
TEST_WORKERS ?= 3

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the lock; every other command calls it
	@scripts/setup.sh run

run: setup ## start Evidently UI and the API, without Docker, on SQLite
	@$(BIN)/python -m scripts.stack --workers $(WORKERS)

demo: setup ## the same, with a story of traffic: steady, then drifting
	@$(BIN)/python -m scripts.demo

load: setup ## send traffic: make load SCENARIO=data_drift RATE=50 DURATION=120 (KEY_FILE=… where keys are asked for)
	@$(BIN)/python -m scripts.load --url $(URL) --scenario $(SCENARIO) --rate $(RATE) --duration $(DURATION) --seed $(SEED) \
		$(if $(KEY_FILE),--key-file $(KEY_FILE))

secrets: ## make the secret files that docker compose hands to the containers
	@$(PYTHON) -m scripts.secrets

up: secrets ## start the whole stack with docker compose, wait until it is healthy, print the addresses
	@docker compose up --build --detach --wait
	@$(PYTHON) -m scripts.addresses

down: ## stop the whole stack; its data stay in the volumes
	@docker compose --profile '*' down

bench: ## measure: make bench SUBJECT=detection, serving, reading, expiring or workspace
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.bench $(SUBJECT)

backup: setup ## copy log, model, reports and workspace into one file while they are used: make backup FILE=backups/monday.tar
	@$(BIN)/python -m scripts.backup $(if $(FILE),--out $(FILE))

restore: setup ## put a backup where there is nothing yet: make restore FILE=backups/monday.tar
	@$(BIN)/python -m scripts.restore $(FILE)

screenshots: ## make the pictures of docs/images from what runs at URL; wants a Chromium
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.screenshots --url $(URL)

doctor: setup ## say what this machine lacks, and what that disables
	@$(BIN)/python -m scripts.doctor

test: ## run every test that this machine can run
	@scripts/setup.sh dev
	@$(BIN)/python -m pytest -n $(TEST_WORKERS)

test-fast: ## run the unit tests alone
	@scripts/setup.sh dev
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) tests/unit

lint: ## check style, types and imports, look for secrets left behind and for dependencies with holes
	@scripts/setup.sh dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(FIND_SECRETS)
	@$(BIN)/python -m scripts.audit --or-say-why

audit: ## ask whether a locked dependency has a known hole
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.audit

licences: ## write the licences of the locked packages into docs/licences.md
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.licences

format: ## put the code into its format
	@scripts/setup.sh dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## resolve the locks anew
	@scripts/setup.sh dev
	@$(COMPILE) pyproject.toml --output-file requirements.lock
	@$(COMPILE) pyproject.toml --group dev --output-file requirements-dev.lock
	@$(COMPILE) --group setup --output-file requirements-setup.lock
	@$(COMPILE) --group ui --constraints requirements.lock --override deploy/ui-overrides.txt --output-file requirements-ui.lock
