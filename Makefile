# One command for each thing one does with a clone. PYTHON=... picks the interpreter (3.10 to 3.13),
# OUT=... where the demo writes, CT=... the scan it runs on, CONSTRAINTS= (empty) lets pip take the newest versions.
PYTHON ?= python3
CONSTRAINTS ?= requirements/constraints.txt
OUT ?= out/demo
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
# Each test process on one thread: two processes with two threads each would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: setup demo pictures test test-slow test-gpu lint format bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py requirements/system.sh $(CONSTRAINTS)
	bash requirements/system.sh "$(PYTHON)"
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
# Two steps, for pip holds all wheels of a step beside what it unpacks: 3 GB less disk at the peak.
	$(PIP) torch torchvision
	$(PIP) -e '.[standalone,train,dev]'
	touch $@

# Without CT= a phantom with a burst C5 is made first: synthetic anatomy with known truth.
demo: setup
ifdef CT
	$(BIN)/cspine run "$(CT)" -o "$(OUT)/result"
else
	rm -rf "$(OUT)/phantom"
	$(BIN)/cspine phantom -o "$(OUT)/phantom" --n 1 --seed 7 --fracture C5:burst
	$(BIN)/cspine run "$(OUT)/phantom/phantom_000007/ct.nii.gz" -o "$(OUT)/result"
endif

# The four views of the run that `make demo` left, as one picture.
pictures: setup
	$(BIN)/python Testing/panel/picture_views.py "$(OUT)/result" "$(OUT)/four_views.jpg"

test: setup
	$(PYTEST) -n auto --maxprocesses 8 --dist loadfile -m "not slow and not gpu"

test-slow: setup
	$(PYTEST) -m "slow and not gpu"

test-gpu: setup
	$(PYTEST) -m gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/cspine bench

clean:
	rm -rf $(VENV) build dist out *.egg-info .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
