# SPDX-License-Identifier: Apache-2.0
# Each target sets up what it needs. Everything that is built goes to build/ and .venv/.
SHELL := /bin/bash
.DELETE_ON_ERROR:
PYTHON ?= /usr/bin/python3
V := .venv/bin
NATIVE := $(wildcard native/*.c native/*.h native/build.py)

.PHONY: help setup demo demo-down test test-py test-c test-kernel bench soak lint fuzz man clean
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build/.apt-%: tests/setup/apt-packages.txt tests/setup/apt.sh
	@mkdir -p build
	tests/setup/apt.sh $(subst -, ,$*)
	@touch $@

build/.kernel: build/.apt-vm tests/vm/kernel.sh
	tests/vm/kernel.sh
	@touch $@

.venv/.ready: pyproject.toml setup.py build/.apt-run-test
	$(PYTHON) -m venv --system-site-packages .venv
	$(V)/pip install -q -e '.[test]'
	@touch $@

build/.native: .venv/.ready $(NATIVE)
	$(V)/pip install -q -e . --no-deps
	@touch $@

setup: build/.native ## packages, .venv and the compiled module

demo: setup ## the product at work, behind a real firewall (KEEP=1 leaves the lab up)
	$(V)/python -m tests.lab.demo $(if $(KEEP),--keep)

demo-down: setup ## remove a lab that was left up
	$(V)/python -m tests.lab.demo --down

test: setup lint test-c test-py ## everything: lint, C tests, Python tests, namespaces, kernel ESP in a virtual machine

test-py: setup build/.kernel
	$(V)/python -m pytest

test-c: setup ## C unit tests under ASan and UBSan
	$(MAKE) -C native test

test-kernel: setup build/.kernel ## the main job on kernel ESP in a virtual machine
	$(V)/python -m pytest tests/vm

bench: setup build/.apt-bench ## measured side by side with the peers: build/bench/report.json
	$(V)/python -m tests.bench

soak: setup ## peers come and go for SOAK_SECONDS (3600) and nothing may grow
	$(V)/python -m tests.tpkt.pump.soak

lint: setup ## ruff and mypy
	$(V)/ruff check .
	$(V)/ruff format --check .
	$(V)/mypy

fuzz: setup ## fuzz the framer for FUZZ_SECONDS (60)
	$(MAKE) -C native fuzz FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60)

man: setup ## manual pages of both commands, into build/man
	@mkdir -p build/man
	$(V)/click-man --target build/man eseg
	$(V)/click-man --target build/man tc-client

clean: ## what was built; the virtual environment stays
	rm -rf build tpkt/_native*.so
	$(MAKE) -C native clean
