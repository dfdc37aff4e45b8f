# Everything that is built or tested goes through here. Downloads and long builds are cached under $(CACHE), keyed by version.

SHELL := /bin/bash
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tsubo
TAGS  := containers_image_openpgp containers_image_storage_stub containers_image_docker_daemon_stub exclude_graphdriver_btrfs
# Shipped and tested binaries are static: the same everywhere.
STATIC := CGO_ENABLED=0
GO      = go

pinned = $(shell awk '$$1 == "require" && $$2 == "$(2)" { print $$3 } $$1 == "$(2)" { print $$2 }' tools/$(1)go.mod)
# runsc and the sentry that boots for it are used together only when they are of the same version, which so names what the sentry is made of.
SENTRY_PARTS := tools/go.mod tools/go.sum $(wildcard tools/sentry/* tools/sentry/umount/*) seccomp/testdata/profile_amd64.json
RUNSC_VERSION := $(call pinned,,gvisor.dev/gvisor)+$(shell cat $(sort $(filter-out tools/sentry/umount,$(SENTRY_PARTS))) | sha256sum | cut -c1-12)
RUNC_VERSION  := $(call pinned,runc/,github.com/opencontainers/runc)
LINT_VERSION  := $(call pinned,lint/,github.com/golangci/golangci-lint/v2)
RUNSC := $(CACHE)/runsc/$(RUNSC_VERSION)/runsc
RUNC  := $(CACHE)/runc/$(RUNC_VERSION)/runc
SENTRY := build/bin/gvisor-bin/gvisor_sentry
# Where the kernel enters it, on the architectures that have tools/sentry/start_*.s.
ENTRY := $(if $(wildcard tools/sentry/start_$(shell $(GO) env GOARCH).s),-E main.start)
LINT  := $(CACHE)/golangci-lint/$(LINT_VERSION)/golangci-lint

# Commands that the targets need, and the Debian packages that have them.
DEPS := gcc:gcc git:git python3:python3 pgrep:procps jq:jq curl:curl dpkg-deb:dpkg xz:xz-utils flock:util-linux mke2fs:e2fsprogs mkfs.erofs:erofs-utils \
	qemu-system-x86_64:qemu-system-x86 /usr/include/stdlib.h:libc6-dev /usr/share/seabios/bios.bin:seabios

# What tsubo and tsubod say of themselves.
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
STAMP = -X github.com/tsubo-run/tsubo/internal/daemon.Version=$(VERSION) -X github.com/tsubo-run/tsubo/internal/cli.Version=$(VERSION)

FUZZTIME ?= 30s
export TSUBO_CACHE := $(CACHE)
export TSUBO_TAGS  := $(TAGS)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install the Debian packages that are missing (as root; else say which)
	@PATH=$$PATH:/usr/sbin:/sbin; missing=; for d in $(DEPS); do \
		c=$${d%%:*}; command -v $$c >/dev/null || [ -e $$c ] || missing="$$missing $${d#*:}"; done; \
	[ -z "$$missing" ] && exit; \
	[ "$$(id -u)" = 0 ] || { echo "missing Debian packages:$$missing; install them as root" >&2; exit 1; }; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing

.PHONY: build
build: ## tsubod, tsubo and tsubo-init, static, in build/bin
	@mkdir -p build/bin
	$(STATIC) $(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(STAMP)' -o build/bin/ ./cmd/...

.PHONY: runsc
runsc: $(RUNSC) $(SENTRY) ## the pinned runsc, in the cache and as build/bin/runsc, and the sentry that boots for it
	@mkdir -p build/bin
	@ln -sf $(RUNSC) build/bin/runsc

# place FILE: a finished build takes its place at once, so that nobody runs half a file.
place = mv -f $@.$$$$ $@

$(RUNSC): | tools/go.mod
	@mkdir -p $(@D)
	cd tools && $(STATIC) $(GO) build -trimpath -ldflags '-X gvisor.dev/gvisor/runsc/version.version=$(RUNSC_VERSION)' \
		-o $@.$$$$ gvisor.dev/gvisor/runsc && $(place)

# Beside tsubo-init, where tsubod looks for it. The tests
# hold the filters that it brings along against those that runsc would make.
$(SENTRY): $(SENTRY_PARTS) $(RUNSC)
	@mkdir -p $(@D)
	cd tools && mod=$$(sentry/patched $(CACHE)) && $(STATIC) $(GO) test -trimpath -modfile $$mod ./sentry/... && \
		$(STATIC) $(GO) build -trimpath -modfile $$mod -ldflags '$(ENTRY) -s -w -X gvisor.dev/gvisor/runsc/version.version=$(RUNSC_VERSION)' \
		-o $(CURDIR)/$@.$$$$ ./sentry && cd .. && $(place)

.PHONY: runsc-path
runsc-path: # where the cache has runsc, for scripts
	@echo $(RUNSC)

.PHONY: runc
runc: $(RUNC) ## the pinned runc, an optional fallback of permissive mode, in the cache and as build/bin/runc
	@mkdir -p build/bin
	@ln -sf $(RUNC) build/bin/runc

# runc's first stage is C, and without libseccomp it would ignore a bundle's filter.
$(RUNC): | tools/runc/go.mod
	@$(MAKE) deps DEPS='gcc:gcc pkg-config:pkg-config /usr/include/seccomp.h:libseccomp-dev /usr/include/stdlib.h:libc6-dev'
	@mkdir -p $(@D)
	cd tools/runc && CGO_ENABLED=1 $(GO) build -trimpath -tags 'seccomp netgo osusergo' \
		-ldflags '-X main.version=$(RUNC_VERSION:v%=%) -extldflags -static' -o $@.$$$$ github.com/opencontainers/runc && $(place)

.PHONY: image-python
image-python: ## the Python image as an OCI layout, in build/images/python
	cd tools && $(GO) run ./image -o $(CURDIR)/build/images/python -cache $(CACHE)/debs python

.PHONY: image-node
image-node: ## the Node image as an OCI layout, in build/images/node
	cd tools && $(GO) run ./image -o $(CURDIR)/build/images/node -cache $(CACHE)/debs node

.PHONY: image-python-data
image-python-data: ## the Python image with numpy, pandas, scipy, scikit-learn, matplotlib and Pillow, in build/images/python-data
	cd tools && $(GO) run ./image -o $(CURDIR)/build/images/python-data -cache $(CACHE)/debs python-data

.PHONY: test-image
test-image: image-python image-node ## build the images again, elsewhere, and compare the digests
	cd tools && umask 077 && for i in python node; do \
		TMPDIR=/var/tmp $(GO) run ./image -o $(CURDIR)/build/test/image-again -cache $(CACHE)/debs $$i && \
		cmp $(CURDIR)/build/images/$$i/index.json $(CURDIR)/build/test/image-again/index.json || exit; done
	@rm -rf build/test/image-again

.PHONY: vm-base
vm-base: deps ## the test VM's kernel and base disk, in the cache
	@tests/vm/base

.PHONY: lint
lint: vet $(LINT) ## vet, and golangci-lint
	$(LINT) run --build-tags '$(TAGS)' ./...
	cd tools && $(LINT) run --config ../.golangci.yml ./image ./sentry/...

$(LINT): | tools/lint/go.mod
	@mkdir -p $(@D)
	cd tools/lint && $(STATIC) $(GO) build -trimpath -o $@.$$$$ github.com/golangci/golangci-lint/v2/cmd/golangci-lint && $(place)

.PHONY: vet
vet: ## formatting and go vet, also for arm64
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); [ -z "$$bad" ] || { echo "not gofmt'ed: $$bad" >&2; exit 1; }
	$(GO) vet -tags '$(TAGS)' ./...
	$(STATIC) GOARCH=arm64 $(GO) vet -tags '$(TAGS)' ./...
	cd tools && $(GO) vet ./image ./sentry/...

.PHONY: test
test: deps vet image-python image-node build runsc vm-base ## everything: unit tests with -race, then every group of tests/groups, on this host and in the VM
	@tests/run-all

.PHONY: test-quick
test-quick: deps unit build runsc image-python ## unit tests and one boot of the VM, in under three minutes
	tests/run-groups quick

.PHONY: unit
unit: ## unit tests with -race; what needs root or cgroup v2 runs in the VM
	CGO_ENABLED=1 $(GO) test -race -tags '$(TAGS)' ./...
	cd tools && $(GO) test ./image
	cd tools && $(STATIC) $(GO) test -trimpath -modfile "$$(sentry/patched $(CACHE))" ./sentry/...

.PHONY: test-attacks
test-attacks: ## the probes of the attack corpus, each under its id (group G: API and auth)
	@tests/run-attacks

.PHONY: test-crash
test-crash: deps build runsc image-python vm-base ## 30 rounds of kill -9, power cuts and lost disk caches under load, and mutations that they must see
	tests/crash/run --rounds 10
	tests/crash/run --rounds 10 --what store
	tests/crash/run --what store --mutation store-unsynced
	tests/crash/run --mutation store-unsynced

.PHONY: demo
demo: deps build runsc image-python ## an honest job and hostile ones, and what came of each (in the VM where this host cannot enforce limits)
	$(STATIC) $(GO) build -trimpath -tags '$(TAGS)' -o build/bin/demo ./tests/demo
	tests/demo/run

# QUICK=1: under eight minutes. README=1: also the plot of the README. TSUBO_BENCH_DOCKER=SOCKET: also Docker with runsc. TSUBO_BENCH_VM=1: also
# what a leaf costs, in the VM.
.PHONY: bench
bench: deps build runsc image-python image-node ## jobs in tsubo beside a native interpreter, bare runsc and Docker: build/bench.json, build/bench.svg (QUICK=1); the store
	$(STATIC) $(GO) build -trimpath -tags '$(TAGS)' -o build/bin/ ./tests/bench
	$(if $(TSUBO_BENCH_VM),tests/bench/vm build/leaf.json)
	build/bin/bench $(if $(QUICK),-quick) $(if $(README),-readme docs/bench.svg) $(if $(TSUBO_BENCH_VM),-leaf build/leaf.json)
	@$(MAKE) bench-programs
	$(if $(QUICK),,@$(MAKE) bench-store)

.PHONY: bench-programs
bench-programs: ## real programs in Python and Node.js: natively in the image and as hot jobs, and the geometric means
	$(STATIC) $(GO) build -trimpath -tags '$(TAGS)' -o build/bin/ ./tests/bench-programs
	build/bin/bench-programs $(if $(QUICK),-rounds 5)

.PHONY: bench-store
bench-store: ## a store of 1,000,000 records beside a small one: medians and their ratios
	$(STATIC) $(GO) run -tags '$(TAGS)' ./tests/bench-store

# SOAK_JOBS=N: another number of jobs. SOAK_VM_JOBS=N: of those in the VM.
.PHONY: soak
soak: deps build runsc image-python ## 10,000 jobs that end in every way; whatever is left on the host afterwards is a failure
	$(STATIC) $(GO) build -trimpath -tags '$(TAGS)' -o build/bin/ ./tests/soak
	tests/soak/run

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each (30s)
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r f; do \
		for t in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$f); do \
			echo "$$(dirname $$f) $$t"; \
			$(GO) test -tags '$(TAGS)' -run '^$$' -fuzz "^$$t\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f) || exit 1; \
		done; \
	done

.PHONY: clean
clean: ## remove build/; caches stay (they are in ~/.cache/tsubo)
	rm -rf build
