# Everything lives in $(VENV); each stamp there says that one step is done, so the second call starts at once.
PYTHON ?= python3
VENV   ?= .venv
# A pinned PyTorch; another one: make install TORCH=torch
TORCH  ?= torch==2.13.0
JOBS   ?= 2
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test lint figures

help:            ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 12

install: $(VENV)/.core   ## the package and its core dependencies into .venv

demo: $(VENV)/.core      ## make portraits of people the model has never seen; a few minutes on two cores
	$(BIN)/facefact demo

test: $(VENV)/.dev       ## all tests, the slow ones too (make test PYTEST="-m 'not slow'" leaves them out)
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(PYTEST)

lint: $(VENV)/.dev       ## ruff (formatter and linter) and mypy
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy

figures: $(VENV)/.core   ## measure the bundled model again, every figure of the README (longer)
	$(BIN)/facefact eval world --seed 1 --json docs/figures.json

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# MediaPipe without its declared dependencies: they would bring jax and a second OpenCV. Its tests skip where it cannot
# be had (Python 3.13, no wheel for the machine, no libGL).
$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	-$(BIN)/python -m pip install --quiet absl-py attrs flatbuffers 'protobuf<5' matplotlib
	-$(BIN)/python -m pip install --quiet --no-deps mediapipe==0.10.14
	-$(BIN)/python -m pip install --quiet 'ray>=2.40' pandas datasets webdataset
	@touch $@
