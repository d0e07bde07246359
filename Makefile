# Everything lives in $(VENV); each stamp there says that one step is done, so the second call starts at once.
PYTHON ?= python3
VENV   ?= .venv
# A pinned PyTorch; another one: make install TORCH=torch
TORCH  ?= torch==2.13.0
JOBS   ?= 2
BIN    := $(VENV)/bin
TESTS  := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help install dev demo check test test-cpus test-long test-avx2 lint figures bundle-gpu

help:            ## this list
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*##/\t/' | expand -t 14

install: $(VENV)/.core   ## the package and its core dependencies into .venv

dev: $(VENV)/.dev        ## all that lint and tests need, into .venv

demo: $(VENV)/.core      ## make portraits of people the model has never seen; a few minutes on two cores
	$(BIN)/facefact demo

check: lint              ## lint, and the fast tests of what most changes touch: under 90 s on two cores
	$(TESTS) -m "not slow" $(FAST) $(PYTEST)

test: $(VENV)/.dev       ## all tests, the slow ones too (make test PYTEST="-m 'not slow'" leaves them out)
	$(TESTS) $(PYTEST)

# The layers that most changes touch; trainings, preparation, commands and benchmarks take minutes.
FAST := tests/test_*.py tests/metrics tests/encoder tests/faces tests/world tests/adapter tests/generate tests/train/losses

# What a processor without AVX-512, and one without AVX at all, would do: PyTorch, oneDNN and MKL are held to less.
# (Without the full-size models, which take many minutes in so old a way.)
AVX2   := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
LOWEST := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
ON_ALL := tests/adapter tests/generate tests/test_device.py tests/train/adapter/test_run.py

test-cpus: $(VENV)/.dev  ## adapter, generation and a small training as on processors with AVX2 alone, and with less
	$(AVX2) $(TESTS) -m "not slow" $(ON_ALL) $(PYTEST)
	$(LOWEST) $(TESTS) -m "not slow" $(ON_ALL) $(PYTEST)

test-long: $(VENV)/.dev   ## the long proofs: kills by the hundred, thousands of calls; half an hour
	$(TESTS) --long -m long $(PYTEST)

# (That it acts in each of diffusers' pipelines is no matter of the processor.)
test-avx2: $(VENV)/.dev  ## the part of it that CI runs: the adapter with AVX2 alone
	$(AVX2) $(TESTS) -m "not slow" tests/adapter --ignore=tests/adapter/test_pipelines.py $(PYTEST)

lint: $(VENV)/.dev       ## ruff (formatter and linter) and mypy
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy

figures: $(VENV)/.core   ## measure the bundled model again, every figure of the README (longer)
	$(BIN)/facefact eval world --seed 1 --seeds 5 --json docs/figures.json --out docs/evidence/figures.md

# One piece of the training; RECIPE and OUT are its own to choose. After so many minutes it is told to stop as by
# Ctrl-C: it finishes its step and saves. (124: timeout had to say so.)
MINUTES ?= 10
RECIPE  ?= configs/world_gpu.yaml
OUT     ?= runs/bundle_gpu

bundle-gpu: $(VENV)/.train  ## train the bundled model further on a GPU: ten minutes, again goes on; thirty in all
	@timeout --foreground --signal=INT --kill-after=120 $(MINUTES)m $(BIN)/facefact train $(RECIPE) --out $(OUT); \
	status=$$?; \
	if test $$status -eq 124; then echo "$(MINUTES) minutes are over and all is saved: make bundle-gpu goes on"; \
	else exit $$status; fi

$(VENV)/.train: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	@touch $@

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
	-$(BIN)/python -m pip install --quiet 'protobuf<5' onnxruntime
	@touch $@
