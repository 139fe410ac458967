# Two commands: `make demo` shows ringfs at work on real media, `make test` runs every check. Both prepare the machine first.
.PHONY: demo test lint fast format lock setup
.DEFAULT_GOAL := test

bin := .venv/bin
sources := ringfs tools tests

setup:
	@tools/setup.sh

demo: setup
	@$(bin)/python tools/demo.py

test: lint
	@tools/setup.sh --tests
	@$(bin)/python -m pytest --numprocesses 2 --dist loadfile --require-mounts

# Everything but the tests.
lint: setup
	@$(bin)/ruff check --quiet $(sources)
	@$(bin)/ruff format --quiet --check $(sources) || { echo "run: make format" >&2; exit 1; }
	@$(bin)/mypy --no-error-summary
	@report=$$($(bin)/lint-imports --no-cache 2>&1) || { echo "$$report" >&2; exit 1; }

# What needs no mount and no processes: for the edit loop.
fast: setup
	@$(bin)/python -m pytest tests/unit tests/tidy

format: setup
	@$(bin)/ruff check --quiet --fix-only $(sources)
	@$(bin)/ruff format --quiet $(sources)

lock: setup
	@tools/lock.sh
