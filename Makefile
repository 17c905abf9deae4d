# Every command that the docs name. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.PHONY: help run test check fmt lint doc deps shell unit unit-fleet e2e bench bench-fleet mutants mutants-check clean \
	stack-up stack-down test-stack test-failures test-erasure test-migrate test-openapi test-oidc test-new-service test-compose test-gateway check-deploy \
	generate made

# Features that only the fleet's processes contain, for the commands that build it.
FLEET := --workspace --exclude events --exclude blocks --exclude sql --exclude service --exclude testkit \
	--features gateway/fleet,bench/fleet

help: ## Lists the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

run: ## Runs everything in one process on port 8000
	cargo run

test: ## Runs all tests: format, lints, docs, unit, contract, kill and end-to-end
	scripts/test

check: fmt shell deps mutants-check lint doc made ## Format, scripts, dependencies, mutants, lints, docs, and what is made; warnings denied

fmt: ## Checks the format
	cargo fmt --all --check

lint: ## Runs clippy on everything
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy $(FLEET),gateway/failures --all-targets --locked -- -D warnings

doc: ## Builds the documentation and runs its examples
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo test --workspace --doc --locked
	cargo test -p cache --features redis --doc --locked

shell: ## Runs shellcheck on every shell script
	scripts/check-scripts

deps: ## Checks licences, bans, sources and advisories of dependencies, and that all are used
	scripts/check-dependencies

made: ## Checks that `make generate` would change nothing
	cargo run --quiet --locked -- generate --check

unit: ## Runs unit, contract and integration tests (PostgreSQL's only with TEST_DATABASE_URL)
	cargo test --workspace --tests --locked

unit-fleet: ## Runs the tests of what the fleet adds, over real servers (TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL, TEST_DATABASE_URL)
	cargo test $(FLEET) --locked --lib --test it --test fleet -- --include-ignored

e2e: ## Walks every endpoint of a server of its own (or of BASE_URL)
	./test.sh

bench: ## Measures against the limits of this machine (docs/benchmarks.md)
	cargo build --release --locked -p gateway -p bench
	cargo run --release --locked -p bench

bench-fleet: ## Measures the services as processes, over real servers, against what limits them
	cargo build --release --locked --workspace --bins --features gateway/fleet,bench/fleet
	"$${CARGO_TARGET_DIR:-target}/release/bench" fleet

mutants-check: ## Checks that every mutant still finds the code that it breaks
	scripts/mutants --check

mutants: ## Breaks the delivery on purpose and expects its tests to notice
	scripts/mutants

stack-up: ## Starts the fleet on this machine, without Docker (docs/fleet.md)
	scripts/stack up

stack-down: ## Stops it; data stays
	scripts/stack down

test-stack: ## Starts a fleet of its own, walks it, looks at it, stops it
	scripts/test-stack

test-compose: ## The same with containers (needs Docker)
	scripts/test-compose

test-migrate: ## Moves an embedded folder into a fleet of its own and compares every answer
	scripts/test-migrate

test-new-service: ## Makes a service with scripts/new-service, tests it, and looks at what that touched
	scripts/test-new-service

test-openapi: ## Makes requests of what /openapi.json says and compares the answers with it
	scripts/test-openapi

test-oidc: ## Signs in by a real OpenID Connect provider, as a browser does
	scripts/test-oidc
test-erasure: ## Deletes an account that left something everywhere, and looks for it everywhere
	scripts/test-erasure
	scripts/test-erasure --fleet

test-failures: ## Takes servers and services of a fleet of its own away while people write
	scripts/test-failures

test-gateway: ## Tries to get past a real Traefik, in front of stand-ins or of GATEWAY_URL
	cargo build --locked
	scripts/test-gateway

generate: ## Writes what is made of the services' definitions: routers, compose files, manifests, tables
	cargo run --quiet --locked -- generate

check-deploy: ## Checks compose files and Kubernetes manifests without starting anything
	scripts/check-deploy

clean: ## Removes what was built, and stops this checkout's servers for tests
	for server in kafka redis mongo postgres; do scripts/$$server down; done
	cargo clean
