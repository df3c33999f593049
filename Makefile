# The recipes. `make check && make test` is what CI runs; nothing is checked only there.
#   make demo [ARGS=--once]    build, then watch an identity reach a real PostgreSQL through the gateway
#   make check                 formatting, lints, dependencies, layers, documentation
#   make test                  every test, after installing what they need
#   make web                   build the console, so that the program holds it
#   make bench [ARGS=--quick]  the gateway beside the direct connection and pgbouncer; without ARGS the page docs/PERFORMANCE.md
#   make soak [MINUTES=10]     1,000 idle and 50 busy sessions, kill -9 in the middle: memory flat, nothing lost
#   make bless                 accept new golden files after a look at them

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CACHE := $(shell scripts/cache-dir)
export PATH := $(CACHE)/bin:$(PATH)
CARGO := cargo
LOCKED := --locked

.PHONY: help demo web web-check web-test check test bench soak bless setup fmt lint deny layers docs benches regression
help:
	@sed -n 's/^#   //p' Makefile

setup:
	@scripts/setup test bench

demo:
	@scripts/setup demo
	$(CARGO) build $(LOCKED) -p portcullis
	@$(CARGO) run --quiet $(LOCKED) -p portcullis -- demo $(ARGS)

web:
	@scripts/setup web

check: fmt lint deny layers benches docs web-check

fmt:
	$(CARGO) fmt --all --check

lint: setup-build
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings

deny: setup-tools
	cargo-deny --all-features check --hide-inclusion-graph bans licenses sources

layers:
	scripts/check-layers --self-test
	scripts/check-layers

benches:
	benches/run --self-test
	benches/soak --self-test

docs: setup-build
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(LOCKED) --workspace --no-deps --quiet

# The console: its types, then its tests, which drive Chromium against a stand-in and against a whole gateway.
web-check:
	@scripts/setup web
	npm run --silent --prefix web check

web-test:
	@scripts/setup web browser demo
	npm run --silent --prefix web test
	$(CARGO) build $(LOCKED) -p portcullis
	PORTCULLIS="$$(realpath "$${CARGO_TARGET_DIR:-target}")/debug/portcullis" npm run --silent --prefix web test:gateway

# ARGS narrows it: `-p portcullis-sql`, or part of a test's name.
test:
	@scripts/setup test
	$(if $(ARGS),,$(MAKE) --no-print-directory web-test)
	$(if $(ARGS),,$(CARGO) test $(LOCKED) --workspace --doc --quiet)
	$(CARGO) nextest run $(LOCKED) $(or $(ARGS),--workspace)

bench:
	@scripts/setup bench
	$(CARGO) build --release $(LOCKED) -p portcullis
	benches/run $(or $(ARGS),--write docs/PERFORMANCE.md)

soak:
	@scripts/setup bench
	$(CARGO) build --release $(LOCKED) -p portcullis
	benches/soak --minutes $(or $(MINUTES),10) $(ARGS)

bless:
	INSTA_UPDATE=always BLESS=1 PORTCULLIS_BLESS=1 $(CARGO) nextest run $(LOCKED) --no-fail-fast $(or $(ARGS),--workspace)
	git status --short

.PHONY: setup-build setup-tools
setup-build:
	@scripts/setup build
setup-tools:
	@scripts/setup tools
