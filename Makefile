# Muster: everything a person or a CI machine runs. `make` alone lists it.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Seconds per fuzz target: a moment in `make test`, as long as you like in `make fuzz FUZZ_SECONDS=…`.
FUZZ_SECONDS       ?= 600
FUZZ_SMOKE_SECONDS ?= 10
# Kills of `make soak`; `make test` has 15. And seeds of its simulation, after the 2,000 that `make test` runs.
SOAK_ROUNDS        ?= 500
SEEDS              ?= 20000
# Devices of `make demo`, and of the small run in `make test`.
DEVICES            ?= 1000
SMOKE_DEVICES      ?= 60

# Pinned; kept in target/ so that nothing outside the clone changes.
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ         := $(CURDIR)/target/tools/bin/cargo-fuzz

.PHONY: help build demo test lint test-rust test-sdk test-demo fuzz-smoke fuzz soak bench

help: ## list these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

build: ## the debug binary, target/debug/muster
	cargo build --locked --bin muster

demo: ## build the release binary and provision 1,000 simulated devices (DEVICES=…)
	cargo run --locked --release --bin muster -- demo --devices $(DEVICES)

test: ## install what the tests need and run all of them
	tests/install
	$(MAKE) --no-print-directory lint test-rust fuzz-smoke test-sdk test-demo

lint: ## format, clippy, and the rules of the tree
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo run --locked --quiet -p xtask -- tidy

test-rust: ## unit, property and integration tests; an ignored test is a failure
	cargo test --locked --workspace 2>&1 | tee target/test-rust.log
	@if grep -E '^test result: .* [1-9][0-9]* ignored' target/test-rust.log; then echo 'error: tests were ignored' >&2; exit 1; fi

test-sdk: build ## the Azure SDKs and raw wire tests against `muster dev`
	tests/run-sdk

test-demo: build ## a small demo with the debug binary
	target/debug/muster demo --devices $(SMOKE_DEVICES)

# From a fixed seed, so that what a change did not touch does not fail it.
fuzz-smoke: $(CARGO_FUZZ) ## every fuzz target for a moment
	SEED=1 CARGO_FUZZ=$(CARGO_FUZZ) fuzz/run.sh $(FUZZ_SMOKE_SECONDS)

fuzz: $(CARGO_FUZZ) ## every fuzz target for FUZZ_SECONDS
	CARGO_FUZZ=$(CARGO_FUZZ) fuzz/run.sh $(FUZZ_SECONDS)

soak: ## at length: the crash test (SOAK_ROUNDS=… kills) and the simulation (SEEDS=…)
	MUSTER_SIM_FIRST=2000 MUSTER_SIM_SEEDS=$(SEEDS) cargo test --locked -p device-api --test sim -- --nocapture every_seed
	MUSTER_CRASH_ROUNDS=$(SOAK_ROUNDS) cargo test --locked -p muster --test crash -- --nocapture

bench: ## what a registration costs the server: CPU time, memory, disk
	cargo run --locked --release --quiet -p bench

$(CARGO_FUZZ):
	cargo install --locked --quiet --root target/tools cargo-fuzz@$(CARGO_FUZZ_VERSION)
