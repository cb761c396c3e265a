# pgtwin: build, test and install.  `make help` lists the targets.

VERSION      := $(shell cat VERSION)
GO           ?= go
PREFIX       ?= /usr
BINDIR       ?= $(PREFIX)/bin
OCFDIR       ?= $(PREFIX)/lib/ocf/resource.d
OCF_PROVIDER ?= heartbeat
UNITDIR      ?= $(PREFIX)/lib/systemd/system
MANDIR       ?= $(PREFIX)/share/man
SYSCONFDIR   ?= /etc
INSTALL      ?= install
TREE         ?= $(CURDIR)/build/tree
FAILURES     := test/e2e/evidence/failures.txt
STATICCHECK  := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# The podman bindings need these to build without the C libraries of gpgme,
# btrfs and device-mapper.
TAGS := remote,containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_devicemapper
export GOFLAGS := -tags=$(TAGS)
export LC_ALL  := C

GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X pgtwin/internal/cli.Version=$(VERSION)'

.PHONY: all build lab setup install tree demo test check unit hostile routine corpus sim simulate e2e results soak clean help

all: build

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: ## install what building and testing need and this machine lacks
	@hack/setup

build: ## compile the programs into build/bin
	$(GOBUILD) -o build/bin/pgtwin ./cmd/pgtwin
	$(GOBUILD) -o build/bin/pgtwin-helper ./cmd/pgtwin-helper
	mkdir -p build/man
	build/bin/pgtwin ocf-man > build/man/ocf_$(OCF_PROVIDER)_pgtwin.7
	build/bin/pgtwin man build/man

lab: ## compile bin/lab, the laboratory of real hosts (bin/lab --help)
	CGO_ENABLED=0 $(GO) build -o bin/lab ./test/lab/cmd/lab

install: build ## install the programs, units, manual pages and configuration under DESTDIR
	$(INSTALL) -D -m 0755 build/bin/pgtwin        $(DESTDIR)$(OCFDIR)/$(OCF_PROVIDER)/pgtwin
	$(INSTALL) -d $(DESTDIR)$(BINDIR)
	ln -sf ../lib/ocf/resource.d/$(OCF_PROVIDER)/pgtwin $(DESTDIR)$(BINDIR)/pgtwin
	$(INSTALL) -D -m 0755 build/bin/pgtwin-helper $(DESTDIR)$(BINDIR)/pgtwin-helper
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(UNITDIR) packaging/systemd/pgtwin*.service packaging/systemd/pgtwin*.socket packaging/systemd/pgtwin*.slice
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man7 build/man/*.7
	$(INSTALL) -D -m 0644 -t $(DESTDIR)$(MANDIR)/man1 build/man/*.1
	$(INSTALL) -D -m 0644 etc/pgtwin.toml         $(DESTDIR)$(SYSCONFDIR)/pgtwin/pgtwin.toml

tree: ## install into build/tree, from which the lab installs its hosts
	rm -rf $(TREE)
	$(MAKE) -s install DESTDIR=$(TREE)

demo: setup tree lab ## see it work: two hosts, failures, no row lost (KEEP=1 leaves them up)
	CGO_ENABLED=0 $(GO) build -o bin/demo ./test/demo
	PGTWIN_TREE=$(TREE) bin/demo $(if $(KEEP),--keep)

test: setup check unit routine sim e2e ## all tests

check: ## vet and staticcheck
	$(GO) vet ./...
	$(GO) vet -tags $(TAGS),lab ./...
	GOFLAGS= $(GO) run $(STATICCHECK) -tags $(TAGS),lab ./...

unit: ## unit tests, with the race detector
	$(GO) test -race -timeout 40m $$($(GO) list ./... | grep -v -e /test/sim -e /test/corpus)

routine: ## the databases that administrators have, on real servers: some of the corpus
	$(GO) test -count 1 -timeout 20m -parallel 4 ./test/corpus -corpus.routine

corpus: setup ## all of the corpus
	$(GO) test -count 1 -timeout 60m -parallel 4 -v ./test/corpus

hostile: setup ## every setting of roles and databases, hostile, for each PostgreSQL: our sessions must not care
	$(GO) test -count 1 -timeout 6h -v -run TestSessionsAreImmune ./internal/pg -pg.hostile

sim: ## a million steps of simulated clusters, and every broken rule found
	$(GO) test -count 1 ./test/sim

simulate: ## search in simulated clusters for as long as you like (DURATION=1h)
	$(GO) test -count 1 -timeout 0 -v -run TestRandomFaults ./test/sim -sim.duration $(or $(DURATION),1h)

e2e: tree lab ## the scenarios, on real hosts
	rm -f $(FAILURES)
	PGTWIN_TREE=$(TREE) $(GO) test -tags $(TAGS),lab -count 1 -timeout 80m -v -skip '$(SOAKED)' ./test/e2e/ || \
		{ status=$$?; echo 'what failed:'; cat $(FAILURES) || echo 'see above'; exit $$status; }

results: setup tree lab ## measure: every event five times, summarised in test/e2e/RESULTS.md
	PGTWIN_TREE=$(TREE) $(GO) test -tags $(TAGS),lab -count 1 -timeout 6h -v -run TestScenarios ./test/e2e/ -rounds 5 -report RESULTS.md

# What make soak plays and make test does not.
SOAKED := ^(TestChaos|TestOlder)$$

EVENTS ?= 20
SEED   ?= 0

soak: setup tree lab ## an older release, and random events one after the other (EVENTS=20, SEED=0 for another order each time)
	PGTWIN_TREE=$(TREE) $(GO) test -tags $(TAGS),lab -count 1 -timeout 24h -v -run '$(SOAKED)' ./test/e2e/ -events $(EVENTS) -seed $(SEED)

clean: ## remove what was built
	rm -rf build bin
