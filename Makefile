# Everything is built and tested with one set of flags: another set would
# compile all dependencies again.
export CGO_ENABLED = 0

GO       ?= go
BIN      := bin/levada
FUZZTIME ?= 30s
SEEDS    ?= 2000
PACKAGES := ./...
# Packages whose goroutines meet; the race detector needs a C compiler.
RACE     := ./logbroker/... ./runtime/... ./statestore/... ./connectors/... ./pipelines/run

# Simulations: each runs as many seeds as it is told, and TestEveryCallFails every call.
SEEDED   := ^Test(NothingAcknowledgedIsLost|TransactionsThroughANetwork|GroupsThroughANetwork|EveryCallFails|Crashes|Compaction|AllAtOnce)$$

E2E      := ./cmd/levada/... ./examples/... ./internal/chaos ./internal/peers ./internal/powerloss
# What is left of go test -v: how each package went, and what was skipped and why.
ALOUD    := /_test\.go:[0-9]+: / { why = $$0; sub(/.*_test\.go:[0-9]+: /, "", why) } \
            /^ *--- SKIP/ { print "SKIPPED " $$3 ": " why } /^ *--- FAIL|^(ok|FAIL|panic)/ { print; fflush() }

# What a broker of Apache Kafka is set to that is to have access rules.
AUTHORIZES := authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer super.users=User:ANONYMOUS

.PHONY: build run test seeds race reproducible fuzz e2e chaos kafka lint fmt deps clean

build: ## build the binary
	$(GO) build -o $(BIN) ./cmd/levada

run: build ## count the words of Newton's Opticks, exactly once, on a broker in the process
	$(BIN) run examples/wordcount/pipeline.yaml --until-end --top 20

test: ## unit, property and conformance tests
	$(GO) test $(PACKAGES)
	$(GO) test -tags planted -run Fault ./internal/planted ./logbroker # would the tests notice a broken promise?

seeds: ## the simulations of the broker and its log, each with SEEDS seeds; a disk that fails, at every call
	LEVADA_SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 0 -run '$(SEEDED)' ./logbroker ./logbroker/commitlog

race: ## the same with the race detector, where goroutines meet
	CGO_ENABLED=1 $(GO) test -race -timeout 20m $(RACE)

fuzz: ## every fuzz target in turn, each for FUZZTIME
	@$(GO) test -list '^Fuzz' $(PACKAGES) | awk '/^Fuzz/ { t[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, t[i]; n = 0 }' | \
	  while read -r package target; do \
	    echo "$$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	  done

reproducible: ## the same binary comes of the same sources in two directories
	@one=$$(mktemp -d) && two=$$(mktemp -d) && trap 'rm -rf "$$one" "$$two"' EXIT && \
	for dir in $$one $$two; do git archive HEAD | tar -x -C $$dir && (cd $$dir && $(GO) build -trimpath -buildvcs=false -o $$dir/levada.bin ./cmd/levada) || exit 1; done && \
	cmp $$one/levada.bin $$two/levada.bin && echo "both are $$(sha256sum < $$one/levada.bin | cut -c1-64)"

e2e: kafka ## the real binary in separate processes, killed and restarted; then on Apache Kafka
	@run=$$(mktemp -d) && trap 'rm -rf "$$run"' EXIT && echo "$(GO) test $(E2E)" && \
	{ LEVADA_E2E=1 $(GO) test -v -p 1 -count=1 -timeout 20m $(E2E); echo $$? >$$run/code; } 2>&1 | tee $$run/log | awk '$(ALOUD)'; \
	code=$$(cat $$run/code); [ $$code = 0 ] || cat $$run/log; exit $$code

chaos: ## break a server under load for DURATION, and check what its clients saw; SEED repeats what was random
	LEVADA_E2E=1 LEVADA_CHAOS=$(DURATION) LEVADA_SEED=$(SEED) $(GO) test -count=1 -timeout 0 -v -run TestLong ./internal/chaos

# One package after another: where clients of several versions write transactions at once, Kafka
# may tell one of them the error of another's version.
kafka: build ## the conformance suite, the word count, random requests, the commands and the benchmarks against Apache Kafka itself, which needs Java and Maven
	@if command -v java >/dev/null && command -v mvn >/dev/null; then set -x; \
	  bench/kafka.sh run $(GO) test -p 1 -count=1 -timeout 20m -run ApacheKafka ./runtime/logclient/kafka ./examples/wordcount ./internal/differential ./internal/peers ./cmd/levada && \
	  KAFKA_EXTRA="$$(printf '%s\n' $(AUTHORIZES))" LEVADA_KAFKA_AUTHORIZES=1 bench/kafka.sh run $(GO) test -p 1 -count=1 -run RightsOfApacheKafka ./internal/differential ./cmd/levada && \
	  bench/kafka.sh run $(BIN) bench compare --rounds 1 --scale 0.01 --latency-for 200ms --match '100 B, 1 p'; \
	else echo "SKIPPED: tests on Apache Kafka need java and mvn; make deps installs them"; fi

lint: ## formatting, vet, staticcheck
	@test -z "$$($(GO) tool gofumpt -l .)" || { echo "gofumpt would change:"; $(GO) tool gofumpt -l .; exit 1; }
	$(GO) vet $(PACKAGES) && $(GO) vet -tags planted ./internal/planted ./logbroker
	$(GO) tool staticcheck $(PACKAGES)

fmt: ## format all Go files
	$(GO) tool gofumpt -w .

deps: ## what race and e2e need beside Go (Debian)
	apt-get install -y --no-install-recommends kcat e2fsprogs gcc libc6-dev default-jdk-headless maven python3-confluent-kafka
	command -v npm >/dev/null || apt-get install -y --no-install-recommends nodejs npm

clean:
	rm -rf bin data
