# Every command that the docs name. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help run test check fmt lint doc unit unit-redis e2e bench mutants clean

help: ## Lists the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: ## Runs everything in one process on port 8000
	cargo run

test: ## Runs all tests: format, lints, docs, unit, contract, kill and end-to-end
	scripts/test

check: fmt lint doc ## Format, lints and docs, warnings denied

fmt: ## Checks the format
	cargo fmt --all --check

lint: ## Runs clippy on everything
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p feed-generator --features fleet --all-targets --locked -- -D warnings

doc: ## Builds the documentation
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

unit: ## Runs unit, contract and integration tests (PostgreSQL's only with TEST_DATABASE_URL)
	cargo test --workspace --locked

unit-redis: ## Runs the tests of the feed in Redis (TEST_REDIS_URL, see scripts/redis)
	cargo test -p feed-generator --features fleet --locked -- --include-ignored redis

e2e: ## Walks every endpoint of a server of its own (or of BASE_URL)
	./test.sh

bench: ## Measures against the limits of this machine (docs/benchmarks.md)
	cargo build --release --locked -p gateway -p bench
	cargo run --release --locked -p bench

mutants: ## Breaks the delivery on purpose and expects its tests to notice
	scripts/mutants

clean: ## Removes what was built
	cargo clean
