#!/usr/bin/env bash
# Prepares a machine for `make demo`, and with --tests for `make test`: Debian packages, .venv, the project in it at the versions of
# requirements.lock. Does only what is missing; a second run takes a blink. What it runs is shown when it fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec 9<. && flock 9 # two makes at once take turns

readonly packages=(acl attr ca-certificates ffmpeg fio fuse3 gcc git libc6-dev libfuse3-dev libisal2 pkg-config sqlite3)
# Servers that tests run: etcd, and on a mount PostgreSQL and an NFS server with its clients.
readonly test_packages=(etcd-client etcd-server iproute2 libnfs-utils nfs-ganesha nfs-ganesha-vfs postgresql postgresql-contrib rpcbind)
readonly stamp=.venv/.ringfs-stamp

quietly() { # runs a command, shows its output only if it fails
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: failed: $*" >&2
        exit 1
    fi
    rm -f "$log"
}

say() { echo "setup: $*" >&2; }

missing_packages() { # of those named, the ones that are not installed
    local name
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || echo "$name"
    done
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        echo "setup: not root; first run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    say "installing Debian packages: ${missing[*]}"
    quietly apt-get update -q
    without_services env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

without_services() { # runs apt so that it starts none of the servers that it installs
    local policy=/usr/sbin/policy-rc.d
    if [[ -e $policy ]]; then
        quietly "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    quietly "$@"
    rm -f "$policy"
    trap - EXIT
}

find_python() { # the first Python of at least 3.11
    local candidate
    for candidate in python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "setup: no Python 3.11 or newer on PATH; first run: apt-get install python3" >&2
    exit 1
}

install_packages "${packages[@]}"
if [[ ${1-} == --tests ]]; then install_packages "${test_packages[@]}"; fi

if ! .venv/bin/python -c '' 2>/dev/null; then
    python=$(find_python)
    # Debian's own Python comes without venv and headers; others bring both.
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
    "$python" -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' ||
        install_packages python3-dev
    say "making .venv with $("$python" --version)"
    rm -rf .venv
    quietly "$python" -m venv .venv
fi

wanted=$({ cat requirements.lock pyproject.toml tools/setup.sh; .venv/bin/python --version; pwd; } | sha256sum)
if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
    say "installing ringfs and the versions of requirements.lock into .venv"
    export PIP_DISABLE_PIP_VERSION_CHECK=1
    # Old pips build with whatever is newest; the locked one takes --build-constraint.
    quietly .venv/bin/python -m pip install --quiet --constraint requirements.lock pip
    quietly .venv/bin/python -m pip install --quiet --constraint requirements.lock --build-constraint requirements.lock --editable '.[dev]'
    echo "$wanted" >"$stamp"
fi
