# Commands for building, testing and running. `make` without a target lists them.
#
# `make demo` runs tools/peers_demo.sh, which reads DEMO_PORT, DEMO_METRICS_PORT and DEMO_DIR:
#   make demo DEMO_PORT=18080

.DEFAULT_GOAL := help
.SUFFIXES:

CARGO ?= cargo
DOCKER ?= docker
IMAGE ?= rollcall
CONFIG ?= example-config.yaml
# Additional arguments for run and run-config: make run ARGS="--name alice --no-lan"
ARGS ?=

## Development

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^## / { printf "\n%s\n", substr($$0, 4) } \
		/^[a-z0-9-]+:.*## / { printf "  %-24s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## Download the dependencies of the build
	$(CARGO) fetch --locked

build: ## Build the optimised program, target/release/rollcall
	$(CARGO) build --release --locked --bin rollcall

run: ## Run a chat peer at this terminal (ARGS="--name alice")
	$(CARGO) run --release --locked --bin rollcall -- peer $(ARGS)

run-config: ## Run a chat peer with a settings file (CONFIG=example-config.yaml)
	$(CARGO) run --release --locked --bin rollcall -- peer --config $(CONFIG) $(ARGS)

check: ## Check format, lints, scripts and tests, except those that need root
	$(CARGO) fmt --check
	shellcheck -x ./*.sh tests/*.sh tools/*.sh .ci/run
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked

ci: ## Run all checks that a change must pass: .ci/run
	.ci/run

sbom: ## Write the software bill of materials (CycloneDX): target/rollcall.cdx.json
	mkdir -p target
	tools/sbom.py > target/rollcall.cdx.json

bench: ## Run the benchmarks (see docs/benchmarks.md)
	$(CARGO) bench --locked --bench figures

## Testing

test: ## Run all tests
	$(CARGO) test --locked

test-cover: has-llvm-cov ## Run the tests and show the line coverage
	$(CARGO) llvm-cov --locked

test-cover-html: has-llvm-cov ## The coverage as HTML: target/llvm-cov/html/index.html
	$(CARGO) llvm-cov --locked --html

netns: ## Test network faults in namespaces, as root: tests/netns.sh
	$(CARGO) build --locked --bin rollcall --example failover
	tests/netns.sh

## Demo: six chat peers on this machine (for a cluster of the registry: rollcall demo)

demo: ## Start six peers in the background
	@tools/peers_demo.sh start

demo-status: ## Show the status of each peer
	@tools/peers_demo.sh status

demo-logs: ## Follow the logs of the peers until Ctrl-C
	@tools/peers_demo.sh logs

demo-connect-bootstrap: ## Chat at this terminal, connected to the bootstrap peer
	@tools/peers_demo.sh connect bootstrap

demo-connect-peer1: ## The same, connected to peer1
	@tools/peers_demo.sh connect peer1

demo-connect-peer2: ## The same, connected to peer2
	@tools/peers_demo.sh connect peer2

demo-stop: ## Stop the peers
	@tools/peers_demo.sh stop

demo-clean: ## Stop the peers and remove their logs and histories
	@tools/peers_demo.sh clean

## Docker

docker-build: ## Build the image
	$(DOCKER) build --tag $(IMAGE) .

docker-run: ## Run a chat peer at this terminal, in a container; others connect to port 8080
	$(DOCKER) run --rm --interactive --tty --no-healthcheck --publish 8080:8080 $(IMAGE) peer --no-lan --listen 0.0.0.0:8080 $(ARGS)

has-llvm-cov:
	@$(CARGO) llvm-cov --version >/dev/null 2>&1 || { \
		echo "error: cargo-llvm-cov is missing; install it: cargo install cargo-llvm-cov && rustup component add llvm-tools" >&2; \
		exit 1; }

.PHONY: help deps build run run-config check ci sbom bench test test-cover test-cover-html netns demo demo-status demo-logs \
	demo-connect-bootstrap demo-connect-peer1 demo-connect-peer2 demo-stop demo-clean docker-build docker-run has-llvm-cov
