#!/usr/bin/env bash
# Makes ringfs/meta/etcd/etcd_pb2.py from etcd.proto. Run after changing that; commit both files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet "grpcio-tools>=1.66"
"$scratch/venv/bin/python" -m grpc_tools.protoc -I ringfs/meta/etcd --python_out=ringfs/meta/etcd etcd.proto
