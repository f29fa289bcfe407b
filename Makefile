# Everything is done by Python: infra/setup (standard library only) and ragline itself.
PYTHON ?= python3
ACCEL ?= auto
ONCE ?=
DATA ?=

export PYTHONUNBUFFERED = 1

BIN = .venv/bin
STORE_TESTS = tests/contract/test_vector_store.py tests/contract/test_stored_vectors.py tests/integration/test_collections.py
.DEFAULT_GOAL = help
.PHONY: help env setup demo test test-fast test-milvus lint browser faults faults-short faults-mutants bench-hops \
	bench-ttft bench-bridge bench-retrieval bench-ingest bench-embed bench-replay lock clean
.NOTPARALLEL:

help:
	@echo 'make demo       set up, start everything, ask three questions, serve the web page (ONCE=1: stop after the answers)'
	@echo 'make setup      virtual environment, locked packages, models, Kafka'
	@echo 'make test       the whole suite, on real servers and models'
	@echo 'make test-fast  lint and the tests without servers and models'
	@echo 'make test-milvus  the tests of the vector store on a standalone Milvus 2.3, a minute (55 MB more)'
	@echo 'make lint       ruff and mypy'
	@echo 'make browser    Chromium (Debian), in which the web page is tested'
	@echo 'make faults     kill workers, brokers, Milvus, Redis and engines under 10,000 requests, and account for each'
	@echo 'make faults-short   a selection, in four minutes; faults-mutants: planted defects, which must be found'
	@echo 'make bench-hops what a hop costs, next to the raw client and other frameworks, about an hour (docs/benchmarks.md)'
	@echo 'make bench-ttft what the pipeline adds to the first token, a quarter of an hour; bench-bridge: 5,500 websockets'
	@echo 'make bench-retrieval DATA=FOLDER   how good and fast retrieval is on a data set in BEIR form (docs/benchmarks.md)'
	@echo 'make bench-ingest   how fast 200,000 chunks become searchable, and how each index searches them, ten minutes'
	@echo 'make bench-embed DATA=FOLDER       what the embedding worker and its backends reach and lose, about half an hour'
	@echo 'make bench-replay   100,000 recorded requests replayed, a quarter of an hour (docs/benchmarks.md)'
	@echo 'make lock       requirements/*.lock anew from pyproject.toml'
	@echo 'make clean      remove everything that was made here'
	@echo 'ACCEL=cpu|gpu chooses what the engine runs on; without it, what the machine has decides.'

env:
	@$(PYTHON) -m infra.setup install --accel $(ACCEL) $(CHECKS)

setup: env
	@$(BIN)/python -m ragline.prepare

demo: CHECKS = --ports
demo: setup
	@$(BIN)/ragline demo $(if $(ONCE),--once)

test: setup browser lint
	@$(BIN)/pytest

test-fast: lint
	@$(BIN)/pytest -m 'not servers and not models' tests/unit tests/contract

test-milvus: env
	@$(PYTHON) -m infra.setup milvus
	@$(BIN)/pytest --milvus standalone -k 'not memory and not qdrant' $(STORE_TESTS)

browser:
	@$(PYTHON) -m infra.setup browser

lint: env
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

faults: env
	@$(BIN)/python -m faults --document docs/faults.md

faults-short: env
	@$(BIN)/python -m faults --short

faults-mutants: env
	@$(BIN)/python -m faults --mutants

bench-hops: setup
	@$(PYTHON) -m infra.setup peers
	@$(BIN)/python -m bench.hops

bench-ttft: setup
	@$(BIN)/python -m bench.ttft

bench-bridge: setup
	@$(BIN)/python -m bench.bridge

bench-retrieval: setup
	@$(BIN)/python -m bench.retrieval --data "$(DATA)"

bench-ingest: setup
	@$(BIN)/python -m bench.ingest

bench-embed: setup
	@$(BIN)/python -m bench.embed --data "$(DATA)"

bench-replay: setup
	@$(BIN)/python -m bench.replay

lock:
	@$(PYTHON) -m infra.setup lock

clean:
	@$(PYTHON) -m infra.setup clean
