"""`ringfs version`."""

import json
import platform
import re
import subprocess
from importlib import metadata

import click

from ringfs.cli.output import json_option


@click.command("version")
@json_option
def command(as_json: bool) -> None:
    """Print the versions of ringfs and of what it stands on.

    \b
    Example:  ringfs version
    """
    versions = {"ringfs": _ringfs(), "python": platform.python_version(), "kernel": platform.release(), "fuse": _fuse()}
    if as_json:
        click.echo(json.dumps(versions))
        return
    for name, version in versions.items():
        click.echo(f"{name} {version}")


def _ringfs() -> str:
    try:
        return metadata.version("ringfs")
    except metadata.PackageNotFoundError:
        return "not installed (run from its sources)"


def _fuse() -> str:
    try:
        told = subprocess.run(["fusermount3", "--version"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return "not installed: fusermount3 is missing (Debian package fuse3)"
    found = re.search(r"[0-9]+(\.[0-9]+)+", told)
    return found.group() if found else told.strip()
