# make run     the dashboard, at http://localhost:8501
# make test    every check: lint, format, types, all tests
#
# Both first set up .venv and prepare the embedded model and corpus; that is quick the second time.
#   PYTHON=python3.12   the interpreter for .venv: 3.11 to 3.14 (default: python3, or what is found on the PATH)
#   PORT=8600           another port for make run
#   WORKERS=4           how many processes run the tests
#   ARGS="-k wanda"     more arguments for pytest

PYTHON ?=
PORT ?= 8501
WORKERS ?= 2
ARGS ?=
export PYTHON

PY := .venv/bin/python

.PHONY: run test check format clean

run:
	@scripts/setup.sh run
	@$(PY) -m core setup
	@exec $(PY) -m streamlit run app.py --server.port $(PORT)

# One thread a test process: more than the machine has cores only get in each other's way.
# loadfile: tests that share something costly stand in one file, and so in one process.
# The browser tests measure how long the app takes to answer, so they run alone and with all cores.
test: check
	@$(PY) -m core setup
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(PY) -m pytest -n $(WORKERS) --dist loadfile -m "not browser" $(ARGS)
	$(PY) -m pytest -m browser -rP tests/browser

check:
	@scripts/setup.sh test
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format:
	@scripts/setup.sh test
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

# What make run and make test made in this folder; runs, converted models and cleaned text stay.
clean:
	rm -rf .venv .make .mypy_cache .pytest_cache .ruff_cache .hypothesis
