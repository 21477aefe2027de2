# The commands of this project. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-fast cluster-test lint format lock secrets rotate up down load bench doctor audit licences screenshots backup restore

PYTHON ?= python3
export PYTHON
export EXTRAS
BIN := .venv/bin
PACKAGES := model api evidently_workspace scripts vigie
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock" --quiet
# without the detector of words such as "secret", which finds the names of settings
FIND_SECRETS := (git ls-files -z 2>/dev/null || find $(PACKAGES) deploy docs observability tests -type f -print0) | grep -zvE '\.lock$$|(^|/)go\.sum$$|\.png$$|^observability/grafana/dashboards/|/captured/' \
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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the lock, with the command vigie; every other command calls it; EXTRAS=boosting adds XGBoost and the like
	@scripts/setup.sh run

run: setup ## start Evidently UI and the API, without Docker, on SQLite
	@$(BIN)/python -m scripts.stack --workers $(WORKERS)

demo: setup ## the same, with traffic: first steady, then drifting; MODELS=3 shows several models
	@$(BIN)/python -m scripts.demo $(if $(MODELS),--models $(MODELS))

load: setup ## send traffic: make load SCENARIO=data_drift RATE=50 DURATION=120 (KEY_FILE=… if the API needs a key)
	@$(BIN)/python -m scripts.load --url $(URL) --scenario $(SCENARIO) --rate $(RATE) --duration $(DURATION) --seed $(SEED) \
		$(if $(KEY_FILE),--key-file $(KEY_FILE))

secrets: ## make the secret files that docker compose gives to the containers
	@$(PYTHON) -m scripts.secrets

rotate: ## replace one secret and the containers that use it: make rotate NAME=page_password
	@$(PYTHON) -m scripts.secrets --rotate '$(NAME)'
	@docker compose up --detach --wait

up: secrets ## start the whole stack with docker compose, wait until it is healthy, print the addresses
	@docker compose up --build --detach --wait
	@$(PYTHON) -m scripts.addresses

down: ## stop the whole stack; its data stays in the volumes
	@docker compose --profile '*' down

bench: ## measure: make bench SUBJECT=detection, serving, reading, expiring, many, workspace, training or snapshot
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.bench $(SUBJECT)

backup: setup ## copy log, model, reports and workspace of a running stack into one file: make backup FILE=backups/monday.tar
	@$(BIN)/python -m scripts.backup $(if $(FILE),--out $(FILE))

restore: setup ## restore a backup into empty places: make restore FILE=backups/monday.tar
	@$(BIN)/python -m scripts.restore $(FILE)

screenshots: ## take the pictures of docs/images from the stack at URL; it needs a Chromium
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.screenshots --url $(URL)

doctor: setup ## check what this machine lacks, and what does not work without it
	@$(BIN)/python -m scripts.doctor

test: ## run every test that this machine can run
	@scripts/setup.sh dev
	@$(BIN)/python -m pytest -n $(TEST_WORKERS)

test-fast: ## run the unit tests alone
	@scripts/setup.sh dev
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) tests/unit

cluster-test: ## run the manifests on a real Kubernetes of one node, built and started for it; needs root, Go and Docker
	@scripts/setup.sh dev
	@$(BIN)/python -m pytest -s tests/cluster

lint: ## check style, types and imports, look for forgotten secrets and for vulnerable dependencies
	@scripts/setup.sh dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(FIND_SECRETS)
	@$(BIN)/python -m scripts.audit --or-say-why

audit: ## look up known vulnerabilities of the locked dependencies
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.audit

licences: ## write the licences of the locked packages into docs/licences.md
	@scripts/setup.sh dev
	@$(BIN)/python -m scripts.licences

format: ## format the code
	@scripts/setup.sh dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## update the locks
	@scripts/setup.sh dev
	@$(COMPILE) pyproject.toml --output-file requirements.lock
	@$(COMPILE) pyproject.toml --group dev --output-file requirements-dev.lock
	@$(COMPILE) pyproject.toml --extra boosting --constraints requirements.lock --override deploy/boosting-overrides.txt --output-file requirements-boosting.lock
	@$(COMPILE) --group setup --output-file requirements-setup.lock
	@$(COMPILE) --group ui --constraints requirements.lock --override deploy/ui-overrides.txt --output-file requirements-ui.lock
	@$(COMPILE) --no-deps --group bench --output-file requirements-bench.lock
