# What there is: make demo | up | test | check | bench | drill | notebooks | clean
SHELL := /bin/bash
VENV ?= .venv
PYTHON := $(VENV)/bin/python
export VENV
# Tests, demo and drills start processes by the hundred: each would compile our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo up test check bench drill notebooks clean

demo: ## everything once through on the sample, in .demo
	@tools/environment.sh all
	@$(PYTHON) -m commands.demo

up: ## Milvus, an embedder node (7860) and the search API (8000), until Ctrl-C
	@tools/environment.sh all
	@$(PYTHON) -m commands.up

test: ## every test that needs no network and no GPU
	@tools/environment.sh dev
	@$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not drill and not gpu and not weights"

check: ## style, types, doors between rooms, dependencies
	@tools/environment.sh dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports
	$(VENV)/bin/deptry .

bench: ## benchmarks: a table here, JSON under bench/results/
	@tools/environment.sh dev
	@$(PYTHON) -m bench

drill: ## failure drills, more than an hour
	@tools/environment.sh dev,drills
	@$(PYTHON) -m pytest -m drill --verbose --durations=10

notebooks: ## JupyterLab with the admin notebooks
	@tools/environment.sh all,admin
	@$(PYTHON) -m jupyterlab notebooks

clean: ## the demo's state and the environment
	rm -rf .demo $(VENV)
