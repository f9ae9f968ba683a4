.PHONY: help run retrain serve unlock full test slow lint lock kills twice workers drift study-noise evaluation-speed nmode-share
.PHONY: fuzz phantom-speed phantom-acceptance
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 20

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

data: | $(READY)
	$(BIN)/meddet phantom --preset quick --out data

run: $(READY) | data  ## set up, write the phantom, train everything, register the student (about 20 minutes on 2 cores)
	$(BIN)/python -m flows.train

retrain: $(READY) | data  ## fetch, train what has changed, let the gate decide, commit on a branch
	$(BIN)/python -m flows.retrain

unlock: $(READY)  ## remove DVC's locks whose owners are dead
	$(BIN)/python -m flows.train --unlock

serve: $(READY)  ## retrain by schedule: Prefect's server, a worker and MLflow's pages on the loopback, until Ctrl-C
	$(BIN)/python -m flows.serve

full: $(READY)  ## the paper's setting on a GPU, in a clone of its own
	cp params/full.yaml params.yaml
	rm -f dvc.lock
	$(BIN)/meddet phantom --preset full --out data
	$(BIN)/dvc add data
	$(BIN)/python -m flows.train

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint  ## set up, lint, and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

slow: $(READY)  ## the tests that `make test` leaves out: a real PostgreSQL, another clock, language and home (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

kills: $(READY)  ## kill tiny trainings 30 times, go on, compare every bit of the weights (about 6 minutes)
	$(BIN)/python -m benchmarks.kills --out out/kills.json

twice: $(READY)  ## the whole graph in two clean clones, every file compared (tiny; --preset quick by hand)
	$(BIN)/python -m benchmarks.twice --out out/twice.json

workers: $(READY)  ## wall time of the three teachers on one worker and on two, a core each (about 9 minutes)
	$(BIN)/python -m benchmarks.workers --out out/workers.json

drift: $(READY)  ## how often the drift monitor alarms for nothing, and how soon for another scanner (minutes)
	$(BIN)/python -m benchmarks.drift render
	$(BIN)/python -m benchmarks.drift rule

study-noise: $(READY)  ## does nmODE^2 resist noise? four heads, three seeds, dvc experiments, spoilt images (hours)
	$(BIN)/python -m studies.noise --seeds 3

nmode-share: $(READY)  ## how much of the head nmODE^2 takes in each engine, one thread (a minute, after make run)
	$(BIN)/python -m benchmarks.nmode --out out/nmode.json

evaluation-speed: $(READY)  ## match 10,000 images once and resample their patients 2,000 times (a minute)
	$(BIN)/python -m benchmarks.evaluation --images 10000 --out out/evaluation.json

fuzz: $(READY)  ## 100,000 damaged DICOM files (minutes); exit 1 if one crashes its worker
	$(BIN)/python -m benchmarks.fuzz_dicom --count 100000 --out out/fuzz

phantom-speed: $(READY)  ## images per second and memory of the phantom
	$(BIN)/python -m benchmarks.phantom speed --out out/phantom-speed.json

phantom-acceptance: $(READY)  ## the phantom's statistics beside the ranges of real images
	$(BIN)/python -m benchmarks.phantom acceptance --out out/phantom-acceptance.json

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml (needs uv on the path)
	uv pip compile pyproject.toml --all-extras --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-package openvino-telemetry \
		--custom-compile-command "make lock" --output-file requirements.lock
