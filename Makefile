# One command each; the same here and in CI. Python packages are installed into .venv, from locked, hash-checked lists.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Test processes side by side: more than processors, for tests wait for other processes most of their time.
WORKERS ?= 7
# What was compiled is kept: else every process of the tests would compile all of it for itself.
unexport PYTHONDONTWRITEBYTECODE

# Most unit tests, those of the API, and whether `make docs` was run; without what waits for seconds or starts programs.
FAST := tests/api tests/archives tests/assistant tests/docs/test_contents.py tests/images tests/jobs tests/mutants tests/orders \
	tests/telemetry/test_metrics.py tests/telemetry/test_scrub.py tests/telemetry/test_spans.py tests/upstream \
	$(filter-out tests/test_packaging.py tests/test_startup.py,$(wildcard tests/test_*.py)) \
	--ignore tests/api/test_slow_callers.py --ignore tests/api/test_stalled_readers.py --ignore tests/api/test_many_connections.py \
	--ignore tests/api/test_shared_limits.py --ignore tests/jobs/test_kills.py

.PHONY: help demo test test-fast mutants coverage soak bench bench-all lint run docs lock wheel sbom audit clean

help:  ## List the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/sandbox.stamp  ## Download a sample order from the embedded sandbox; ends with a real ZIP (KEEP=1: leave the page open)
	$(RUN) -m service demo $(if $(KEEP),--keep)

test: $(VENV)/dev.stamp  ## Run all tests
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(COVERAGE)

test-fast: $(VENV)/dev.stamp  ## Run most unit tests and those of the API: what a developer runs at every change
	$(RUN) -m pytest -n $(WORKERS) --dist worksteal $(FAST)

mutants: $(VENV)/dev.stamp  ## Apply small changes to the core and say which no test notices (WORDS="images/ retry": only some)
	$(RUN) -m tests.mutants $(WORDS)

coverage: COVERAGE := --cov --cov-report=term-missing:skip-covered
coverage: test  ## Run all tests and list the lines that none reached; slower

soak: $(VENV)/dev.stamp  ## Run the long checks (CHECKS="kills disk": only these) and write tests/RESULTS.md
	$(RUN) -m tests.soak $(CHECKS)

bench: $(VENV)/dev.stamp  ## Measure what a download costs, beside other ways to do it; writes tests/bench/RESULTS.md
	$(RUN) -m tests.bench

bench-all: $(VENV)/dev.stamp  ## The same at full length
	$(RUN) -m tests.bench --full

lint: $(VENV)/dev.stamp  ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

run: $(VENV)/runtime.stamp  ## Run the service with the settings of the environment and .env
	$(RUN) -m service serve

docs: $(VENV)/dev.stamp  ## Write the tables of settings and errors into the guide, and .env.example
	$(RUN) -m service.docs.tables
	$(RUN) -m service config example > .env.example

lock:  ## Resolve the dependencies anew (needs uv)
	uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 pyproject.toml -o locks/runtime.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 pyproject.toml \
		--extra sandbox -c locks/runtime.txt -o locks/sandbox.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 pyproject.toml \
		--extra redis --extra s3 -c locks/runtime.txt -o locks/shared.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 pyproject.toml \
		--all-extras --group dev -c locks/sandbox.txt -o locks/dev.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 \
		--group sbom -o locks/sbom.txt
	uv pip compile -q --universal --generate-hashes --no-header --no-strip-extras --python-version 3.11 \
		--group audit -o locks/audit.txt

wheel: $(VENV)/dev.stamp  ## Build the wheel (build/wheel)
	$(RUN) -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheel .

audit: locks/audit.txt  ## Say which locked libraries are known to be vulnerable (asks PyPI's database)
	$(PYTHON) -m venv --clear build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement locks/audit.txt
	build/audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement locks/shared.txt

sbom: locks/runtime.txt locks/sbom.txt  ## List what the service is made of, with licences (build/sbom.json, CycloneDX)
	$(PYTHON) -m venv --clear build/sbom
	build/sbom/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement locks/sbom.txt
	$(PYTHON) -m venv --clear --without-pip build/runtime
	build/sbom/bin/pip --python build/runtime/bin/python install --quiet --disable-pip-version-check \
		--require-hashes --requirement locks/runtime.txt
	sed "s/^dynamic = .*/version = \"$$($(PYTHON) -c 'import service; print(service.__version__)')\"/" pyproject.toml > build/pyproject.toml
	build/sbom/bin/cyclonedx-py environment --output-reproducible --pyproject build/pyproject.toml \
		--output-file build/sbom.json build/runtime/bin/python

clean:  ## Remove what the commands made, except data/
	rm -rf $(VENV) demo build .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(VENV)/%.stamp: locks/%.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@echo "Installing what $* needs into $(VENV), hash-checked; the first time takes a minute or two ..."
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	touch $@
