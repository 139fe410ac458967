#!/usr/bin/env bash
# Writes requirements.lock anew: the newest versions that pyproject.toml allows, of everything that a set-up installs
# or builds with. Run by `make lock`; commit the result after `make test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$(readlink -f .venv/bin/python)" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet --upgrade pip
# setuptools-scm and Cython: what pyfuse3 is built with.
"$scratch/venv/bin/python" -m pip install --quiet --upgrade '.[dev]' setuptools setuptools-scm cython
"$scratch/venv/bin/python" -m pip freeze --all --exclude ringfs | LC_ALL=C sort -f >requirements.lock
