# Two commands do all the set-up: `make run` and `make test`. The others are for those who work on the house.
.DEFAULT_GOAL := help
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
GROUP ?= relay
CYCLES ?= 100
FUZZ_SECONDS ?= 30

.PHONY: help run dist test crash bench fuzz lint gen ci packages bench-packages

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

run: ## build, start the demonstration on loopback, show sample mail passing through, go on serving
	$(CARGO) build --release -p mitsuke
	$(TARGET)/release/mitsuke demo --dir run/demo

dist: ## the program as it is shipped and measured: TARGET/dist/mitsuke
	$(CARGO) build --profile dist -p mitsuke

test: packages ## install what the tests need, build, run every test
	$(CARGO) build -p mitsuke
	$(CARGO) run -q -p xtask -- tidy
	$(CARGO) run -q -p xtask -- gen --check
	tests/run

crash: packages ## the crash test, CYCLES (100) on each engine
	$(CARGO) build -p mitsuke
	MITSUKE_CRASH_CYCLES=$(CYCLES) tests/run crash

bench: bench-packages dist ## measure against a peer in the same run: make bench GROUP=relay
	bench/run $(GROUP) $(TARGET)/dist/mitsuke

fuzz: ## every fuzz target for FUZZ_SECONDS (30)
	fuzz/run $(FUZZ_SECONDS)

lint: ## format, clippy, tidy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) run -q -p xtask -- tidy

gen: ## write docs/generated and openapi.json anew
	$(CARGO) build -p mitsuke
	$(CARGO) run -q -p xtask -- gen

ci: lint test ## what must hold before a change lands

packages:
	tests/packages

bench-packages:
	tests/packages bench
