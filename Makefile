# apex_fast: every verb that a person or CI needs. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# A registry that does not answer is asked again.
export PIP_RETRIES ?= 10
export CARGO_NET_RETRY ?= 10

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SERVICES := .services
RUST := $(shell find crates -name '*.rs' -o -name '*.toml' -o -name '*.proto' -o -name '*.txt' -o -name '*.json' 2>/dev/null) $(wildcard proto/apex/v1/*.proto) Cargo.toml Cargo.lock
EXTENSION := apex_fast/core/_core.abi3.so

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: $(VENV)/.ready $(EXTENSION) ## make the environment and the extension; `apex` is then in .venv/bin

demo: build ## start a gateway in a fresh folder and run the main job, in five scenes
	$(BIN)/apex demo

test: build lint test-rust test-python ## all that must pass: lints, Rust tests, Python tests, real servers

lint: build ## formatting, lints, strict types, import contracts, stubs, generated files
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo fmt --manifest-path wasm-passes/Cargo.toml --all --check
	cargo clippy --locked --manifest-path wasm-passes/Cargo.toml --workspace --all-targets --all-features -- -D warnings
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml
	$(BIN)/python -m mypy.stubtest apex_fast.core._core --allowlist tools/stubtest.allow
	$(BIN)/python tools/arrows.py
	$(BIN)/python tools/protos.py --check
	$(BIN)/python tools/requirements.py
	$(BIN)/python tools/passes.py
	PYTHONPATH=. $(BIN)/python tools/pass_figures.py

test-rust: ## tests of the core, and of the optimizer's passes
	cargo test --locked --workspace
	cargo test --locked --manifest-path wasm-passes/Cargo.toml --workspace

test-python: build ## tests of the house, with everything real
	$(BIN)/python -m pytest -m "not soak"
	$(BIN)/python -m pytest bench/gates --benchmark-disable-gc --benchmark-quiet

soak: build ## the long proofs: 200 kills, 100,000 histories, 1,000,000 patches of passes, many seeds
	cargo run --locked --release -p apex-sim -- --histories 100000 --from 3000
	APEX_EQUIVALENCE_PAIRS=1000000 cargo test --locked --release -p apex-ir --test equivalence
	APEX_EQUIVALENCE_PAIRS=1000000 cargo test --locked --profile soak --manifest-path wasm-passes/Cargo.toml -p proof
	$(BIN)/python -m pytest -m soak
	APEX_EXAMPLES=20 $(BIN)/python -m pytest tests/unit/machine

mutants: ## change the machine on purpose and see that the tests notice; resumable, see tools/mutants.py --help
	$(PYTHON) tools/mutants.py

transitions: ## write docs/reference/transitions.md from the first 3,000 histories
	cargo run --locked -p apex-sim -- --transitions > docs/reference/transitions.md.new
	mv docs/reference/transitions.md.new docs/reference/transitions.md

bench: build ## the gates: ratios measured in one run
	$(BIN)/python -m pytest bench/gates --benchmark-json=bench/results/local/gates.json

rivals: build ## the same work on Restate, DBOS, LangGraph and Temporal, in one table
	$(BIN)/python bench/rivals/run.py

passes: ## build the optimizer's passes as WASM (Debian's rustc-web, cargo-web, rust-web-src) and ship them
	$(PYTHON) tools/passes.py --write

protos: $(VENV)/.ready ## generate the Python side of proto/
	$(BIN)/python tools/protos.py

format: $(VENV)/.ready ## format everything
	cargo fmt --all
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.ready ## renew the hashed requirement files
	$(BIN)/python tools/requirements.py --write

clean: ## drop what was built
	rm -rf $(VENV) target wasm-passes/target $(EXTENSION) $(SERVICES)

$(VENV)/.ready: requirements/dev.txt
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

$(EXTENSION): $(RUST) $(VENV)/.ready pyproject.toml
	PIP_QUIET=1 VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --quiet
	touch $@

.PHONY: help build demo test lint test-rust test-python soak mutants transitions bench rivals passes protos format lock clean
