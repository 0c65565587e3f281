# `make` alone lists what there is. Each target installs what it misses first (tests/tools/install).

CARGO ?= cargo
# Say CARGO_FLAGS=--locked to build exactly what Cargo.lock holds.
CARGO_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo demo-script test fuzz lint fmt clippy docs deny advisories shell bench

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1 \2/p' $(firstword $(MAKEFILE_LIST)) | \
	    while read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: ## Run a whole gateway here, with a real Postgres behind it and lines to paste
	@tests/tools/install --demo
	$(CARGO) build $(CARGO_FLAGS) --bin postern
	@$(CARGO) run $(CARGO_FLAGS) --quiet --bin postern -- demo

demo-script: ## Let the demo run by itself, and check every step
	@tests/tools/install --demo
	$(CARGO) build $(CARGO_FLAGS) --bin postern
	@$(CARGO) run $(CARGO_FLAGS) --quiet --bin postern -- demo --script

# Without nextest, plain `cargo test` runs the same tests, doc tests among them.
test: ## Run every test there is
	@tests/tools/install --test
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    set -ex; \
	    $(CARGO) nextest run $(CARGO_FLAGS) --workspace; \
	    $(CARGO) test $(CARGO_FLAGS) --workspace --doc; \
	else \
	    set -x; \
	    $(CARGO) test $(CARGO_FLAGS) --workspace; \
	fi

# Say SECONDS=600 or TARGETS='sftp route' for more of less.
fuzz: ## Try to break what the parsers promise, 30 seconds each (tests/fuzz)
	@tests/fuzz/run $(or $(SECONDS),30) $(TARGETS)

lint: fmt clippy docs deny advisories shell ## Check format, lints, documentation and dependencies

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGO_FLAGS) --workspace --no-deps

deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	    set -x; $(CARGO) deny --offline check --allow unused-wrapper bans licenses sources; \
	else \
	    echo 'cargo-deny is not installed: dependencies are not checked'; \
	fi

# Say ADVISORY_DB=FOLDER to use a clone of the RustSec database instead of fetching it.
advisories:
	@CARGO='$(CARGO)' tests/tools/advisories

shell:
	@if command -v shellcheck >/dev/null; then \
	    set -x; shellcheck .ci/run tests/tools/install tests/tools/advisories tests/fuzz/run && shellcheck -s sh src/throwaway/supervise*.sh; \
	else \
	    echo 'shellcheck is not installed: shell scripts are not checked'; \
	fi

bench: ## Run the benchmarks (benches/README.md explains the results)
	@tests/tools/install --bench
	$(CARGO) bench $(CARGO_FLAGS) --workspace --bench admission --bench relay --bench decide
