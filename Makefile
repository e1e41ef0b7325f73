# Every target works on a clean clone: it first installs what it needs.
# PYTHON chooses the interpreter of the environment (3.11 or newer), IMAGE the photo of the demo,
# BENCHMARKS those of `make bench`, TEST_PROCESSES and CHAOS_PROCESSES the number of parallel tests,
# BROWSER_TESTS and CHAOS_TESTS what `make browser` and `make chaos` run.

PYTHON ?= python3
IMAGE ?= examples/portrait.jpg
TEST_PROCESSES ?= 4
CHAOS_PROCESSES ?= 2
BROWSER_TESTS ?= tests/browser tests/faces
CHAOS_TESTS ?= tests/chaos
BENCHMARKS ?= gateway roundtrip engine rows catalogue hit_rate previews scaling peers peers_report
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS := $(VENV)/.extras

.DEFAULT_GOAL := help
.PHONY: help install extras demo up test check bench browser chaos chaos-full reliability compose-test quality \
  docs lock sbom coverage client-types
export IMAGE

help: ## Show the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '%-14s %s\n' "$$name" "$$text"; done

install: $(STAMP) $(EXTRAS) ## Create the environment in .venv and install `retouch` into it

# Runs again only if the packages to install have changed.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[worker,monitor,dev]'
	touch $(STAMP)

# Super-resolution in the browser, and node's checks of the page. Without npm everything else still works.
$(EXTRAS): package-lock.json $(wildcard api/extras/*.py) | $(STAMP)
	@if npm ci --no-audit --no-fund --loglevel=error --fetch-retries=1 && $(BIN)/python -m api.extras; then :; \
	else echo "npm did not bring the page's extras: no super-resolution in the browser; later: make extras"; fi
	@$(BIN)/python -m api.extras.upscaler || echo "no Real-ESRGAN x4plus for upscalers/; later: make extras"
	@touch $(EXTRAS)

extras: ## Download optional parts: super-resolution in the browser, a large enlarger
	@rm -f $(EXTRAS)
	@$(MAKE) $(EXTRAS)

demo: install ## Enhance examples/portrait.jpg, or IMAGE=path, and show before and after
	@name=$$(basename "$$IMAGE"); name=$${name%.*}; \
	$(BIN)/retouch enhance "$$IMAGE" --before-after -o "out/$${name}_enhanced.png"

up: install ## Start store, worker and gateway on this machine; Ctrl-C stops them
	@exec $(BIN)/retouch up

# Each of the hundreds of processes that tests start would compile every module again.
export PYTHONDONTWRITEBYTECODE =
# Threads that spin while they wait take processor time from other tests, and small networks gain
# nothing from threads.
test coverage: export OMP_WAIT_POLICY ?= PASSIVE
test coverage: export OMP_NUM_THREADS ?= 1
test: install ## Run the tests that need no GPU, no Docker and no running service; COVERAGE=1 measures branches
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder \
		-m "not gpu and not slow and not chaos and not compose and not browser" \
		$(if $(COVERAGE),--cov --cov-report=term:skip-covered)

client-types: install ## Make the JavaScript client's types from the OpenAPI document
	npm ci --prefix client-js --no-audit --no-fund --loglevel=error
	$(BIN)/python -m tests.support.client_types

# The other tests start gateways and workers of their own, whose lines are not counted.
coverage: install ## Measure the branch coverage of the unit tests
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile -m "not gpu and not slow" --cov --cov-report=term:skip-covered tests/unit

browser: install ## Test the page, and the JavaScript client in a page, in Debian's Chromium
	$(BIN)/pytest -m browser $(BROWSER_TESTS)

check: install ## Check format, style, types, imports and known vulnerabilities of pinned packages; the page's types if npm is present
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.audit
	@if test -x node_modules/.bin/tsc; then npm run --silent check; else echo "no tsc: the page's types are not checked"; fi

# As in the worker, also for the systems that it is compared with.
bench: export OMP_WAIT_POLICY ?= PASSIVE
bench: install ## Run the benchmarks, one after the other
	set -e; for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name; done

chaos: install ## Kill, freeze and disconnect real processes; CHAOS_SCALE=0.3: three tenths of full size
	$(BIN)/pytest -m chaos -n $(CHAOS_PROCESSES) --dist worksteal $(CHAOS_TESTS)

chaos-full: install ## The same at full size, which takes hours; CHAOS_STORE=redis-server for Debian's
	CHAOS_SIZE=full $(BIN)/pytest -m chaos tests/chaos

reliability: install ## Write docs/reliability.md from the figures of the last chaos run
	$(BIN)/python -m benchmarks.reliability

compose-test: install ## Build the images and run them with two workers (needs Docker)
	$(BIN)/pytest -m compose tests/compose

quality: install ## Measure how much the embedded base and its LoRAs improve pictures
	$(BIN)/python -m benchmarks.quality

# The tools of these three are separate extras, so that `make install` stays fast.
docs: install ## Build the documentation site into out/docs; it loads nothing from other hosts
	@$(BIN)/python -c "import material" 2>/dev/null || $(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "open out/docs/index.html"

sbom: install ## Write the list of installed packages with licences to out/sbom.cdx.json (CycloneDX)
	@test -x $(BIN)/cyclonedx-py || $(BIN)/python -m pip install -q -c constraints.txt -e '.[release]'
	@mkdir -p out
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o out/sbom.cdx.json $(BIN)/python
	@$(BIN)/python -m tests.sbom out/sbom.cdx.json

# torch comes in a CPU and a CUDA build, so one hash cannot cover both: it stays in
# constraints.txt, with the packages that only it needs. The files contain no registry's address.
COMPILE = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" --constraint constraints.txt --override out/no-torch.txt --no-emit-package torch

lock: install ## Write requirements/*.lock, every package with its hashes, from constraints.txt
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q -c constraints.txt -e '.[release]'
	@mkdir -p out && echo "torch ; sys_platform == 'none'" > out/no-torch.txt
	$(COMPILE) pyproject.toml --extra s3 --extra otel -o requirements/api.lock
	$(COMPILE) pyproject.toml --extra monitor -o requirements/monitor.lock
	$(COMPILE) pyproject.toml --extra worker --extra gguf --extra s3 --extra otel -o requirements/worker.lock
	$(COMPILE) pyproject.toml --extra worker --extra monitor --extra dev -o requirements/dev.lock
