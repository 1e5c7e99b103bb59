# `make` alone lists the targets.

RACE = ./agent/... ./archive ./cache ./cache/client ./cache/memcached ./cache/newest ./cache/node ./cache/xdp ./cuckoo/... ./directory/... ./importer/... ./journal/... ./object/backend ./object/bucket ./object/catalog ./object/file ./object/membership ./object/node ./object/pack ./object/pebble ./object/replica ./partition/... ./query/... ./receive/... ./rejects/... ./server/... ./store/... ./traffic/...
FUZZTIME ?= 20s

.PHONY: help run build test race fuzz bench lint generate

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## run the server on its defaults
	go run ./cmd/carillon serve

build: ## build the binary ./carillon
	go build ./cmd/carillon

test: ## run every test
	go test ./...

race: ## run the concurrent packages under the race detector
	go test -race $(RACE)

fuzz: ## fuzz every target for FUZZTIME (20s)
	@set -e; for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
	    echo "$$package $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
	  done; \
	done

bench: ## run the benchmarks inside the packages
	go test -run '^$$' -bench . -benchmem ./...

lint: ## gofmt, vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

generate: ## rebuild the page (needs Node) and the kernel programs (needs clang-19, llvm-19, libbpf-dev)
	go generate ./cache/xdp/...
	cd web/ui && npm ci && npm run build
