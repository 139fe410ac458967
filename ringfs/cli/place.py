"""Finding the cluster that a verb is about: --cluster, RINGFS_CLUSTER, or the mount that one is in or points at."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ringfs.base.config import ClusterConfig, load_config
from ringfs.base.errors import UserError
from ringfs.cli import mounts
from ringfs.cli.in_time import Unresponsive, in_time

VARIABLE = "RINGFS_CLUSTER"
CONFIG_NAME = "cluster.toml"


def cluster_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The --cluster option, as the parameter `cluster`."""
    return click.option(
        "--cluster",
        metavar="FILE|DIR",
        help=f"Its {CONFIG_NAME}, the directory of that, or a place in a mount. Default: ${VARIABLE}, or the mount you are in",
    )(function)


def find_cluster(named: str | None, pointed_at: str | None = None) -> ClusterConfig:
    """The configuration of the cluster that is meant. Raises UserError if none is, or its file is wrong."""
    return load_config(find_config(named, pointed_at))


def find_in_cluster(path: str, cluster: str | None) -> tuple[ClusterConfig, int | None]:
    """The cluster of a path, and its inode if a mount tells it; else it is a path below the root. Raises UserError."""
    if cluster is not None:
        return find_cluster(cluster), None
    place = Path(os.path.abspath(path))
    root = mounts.ringfs_mount_of(place) or mounts.ringfs_mount_around(place.parent)
    if root is None:
        return find_cluster(None), None
    config = load_config(mounts.config_of(root))
    try:
        return config, in_time(os.lstat, os.fspath(place)).st_ino
    except Unresponsive:
        raise UserError(
            f"the mount at {root} does not answer: name the cluster with --cluster, and the path below its root"
        ) from None
    except OSError as error:
        raise UserError(f"cannot look at {path}: {error.strerror}") from None


def find_config(named: str | None, pointed_at: str | None = None) -> Path:
    """Its file: what is named, else the mount that pointed_at is in, else the environment, else the mount one is in."""
    if named is not None:
        return _resolve(named, "--cluster")
    if pointed_at is not None:
        return _resolve(pointed_at, "the place")
    if os.environ.get(VARIABLE):
        return _resolve(os.environ[VARIABLE], VARIABLE)
    root = mounts.ringfs_mount_around(Path())
    if root is None:
        raise UserError(f"no cluster is named, and this is no ringfs mount: give --cluster FILE|DIR, or set {VARIABLE}")
    return mounts.config_of(root)


def _resolve(place: str, said_by: str) -> Path:
    """A configuration file, a directory that has one, or any place in a mount."""
    root = mounts.ringfs_mount_around(Path(place))
    if root is not None:
        return mounts.config_of(root)
    path = mounts.real_path(Path(place))
    if path.is_file():
        return path
    if (path / CONFIG_NAME).is_file():
        return path / CONFIG_NAME
    if not path.exists():
        raise UserError(f"{said_by} {place} does not exist: name a {CONFIG_NAME}, its directory, or a place in a ringfs mount")
    raise UserError(f"{said_by} {place} is no cluster: it has no {CONFIG_NAME} and is in no ringfs mount")
