.PHONY: help run full test lint lock fuzz phantom-speed phantom-acceptance
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

full: $(READY)  ## the paper's setting on a GPU, in a clone of its own
	cp params/full.yaml params.yaml
	$(BIN)/meddet phantom --preset full --out data
	$(BIN)/dvc add data
	$(BIN)/python -m flows.train

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint  ## set up, lint, and all tests
	$(BIN)/python -m pytest

fuzz: $(READY)  ## 100,000 damaged DICOM files (minutes); exit 1 if one crashes its worker
	$(BIN)/python -m benchmarks.fuzz_dicom --count 100000 --out out/fuzz

phantom-speed: $(READY)  ## images per second and memory of the phantom
	$(BIN)/python benchmarks/phantom.py speed --out out/phantom-speed.json

phantom-acceptance: $(READY)  ## the phantom's statistics beside the ranges of real images
	$(BIN)/python benchmarks/phantom.py acceptance --out out/phantom-acceptance.json

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml (needs uv on the path)
	uv pip compile pyproject.toml --all-extras --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.lock
