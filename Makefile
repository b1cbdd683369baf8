# Countenance. Everything happens in .venv; nothing outside this folder is changed.
#
#   make demo            play a trailer to two viewers over real WebRTC, draw their timelines (CAMERA=0 or CAMERA=film.mp4)
#   make test            run the tests
#   make check           lint, types, import contracts
#   make up              start the whole platform and keep it running (Ctrl-C stops it)
#   make peers           install what measuring OpenCV's Haar cascade needs, into .venv/peers
#   make bench           measure the street: 1, 2, 4, 8 viewers (needs about five minutes)
#   make bench-classify  time the expression network in every runtime (needs about two minutes)
#   make bench-aggregate time one aggregate worker from score entries to committed packs
#   make bench-edge      time the face detector beside its peers, and with tracking (needs the data folder)
#   make evaluate        measure the shipped networks on every test set (needs the data folder)

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test check up peers bench bench-classify bench-aggregate bench-edge evaluate clean

# The first Python >= 3.11 found; override with `make PYTHON=/path/to/python demo`.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
OUT ?= out

CAMERA ?=
VIEWERS ?= 1,2,4,8
TESTS ?= tests
PYTEST_WORKERS ?= 2
NO_DATA := This needs a folder with test sets: make $(MAKECMDGOALS) COUNTENANCE_DATA=DIR

# Tests that need training or evaluation data are skipped, with a reason, where this folder is absent.
ifneq ($(wildcard ../shared/data),)
export COUNTENANCE_DATA ?= $(abspath ../shared/data)
endif

# TensorFlow's start-up notices say nothing about this project.
export TF_CPP_MIN_LOG_LEVEL ?= 2

help:
	@sed -n 's/^#   //p' Makefile

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[edge,cloud]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[edge,cloud,train,dev]'
	@touch $@ $(VENV)/.installed-demo

demo: $(VENV)/.installed-demo
	$(BIN)/countenance demo --out $(OUT)/demo $(if $(CAMERA),--camera $(CAMERA))

up: $(VENV)/.installed-demo
	$(BIN)/countenance up --state $(OUT)/up

bench: $(VENV)/.installed-demo
	@mkdir -p $(OUT)/bench
	$(BIN)/countenance bench street --viewers $(VIEWERS) $(if $(COUNTENANCE_DATA),--data $(COUNTENANCE_DATA)) --out $(OUT)/bench/street.json

bench-classify: $(VENV)/.installed-demo
	@mkdir -p $(OUT)/bench
	$(BIN)/countenance bench classify $(if $(COUNTENANCE_DATA),--data $(COUNTENANCE_DATA)) --out $(OUT)/bench/classify.json

bench-aggregate: $(VENV)/.installed-demo
	@mkdir -p $(OUT)/bench
	$(BIN)/countenance bench aggregate --out $(OUT)/bench/aggregate.json

# OpenCV 5 has no Haar cascade, so that peer runs in an environment of its own.
peers: $(VENV)/peers/.installed

$(VENV)/peers/.installed: | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/peers
	$(VENV)/peers/bin/python -m pip install --quiet --disable-pip-version-check 'opencv-python-headless>=4.11,<5'
	@touch $@

bench-edge: $(VENV)/.installed-demo
	@test -n "$(COUNTENANCE_DATA)" || { echo "$(NO_DATA)" >&2; exit 1; }
	@mkdir -p $(OUT)/bench
	$(BIN)/countenance bench edge --data $(COUNTENANCE_DATA) --out $(OUT)/bench/edge.json

evaluate: $(VENV)/.installed-dev
	@test -n "$(COUNTENANCE_DATA)" || { echo "$(NO_DATA)" >&2; exit 1; }
	@mkdir -p $(OUT)
	$(BIN)/countenance models evaluate --data $(COUNTENANCE_DATA) --out $(OUT)/evaluation.json

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture/test_unused_names.py

clean:
	rm -rf $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
