"""`ringfs dev up`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from ringfs.base.config import default_class_for
from ringfs.base.errors import UserError
from ringfs.cli import mounts
from ringfs.cli.dev import layout as layouts
from ringfs.cli.dev import supervise
from ringfs.cli.dev.etcd import find_program
from ringfs.cli.dev.health import wait_healthy
from ringfs.cli.dev.layout import Layout
from ringfs.cli.dev.starting import start
from ringfs.cli.dev.table import read_rows, render
from ringfs.cli.driver_option import driver_option
from ringfs.cli.mount_point import prepare_mount_point
from ringfs.cli.output import progress
from ringfs.ring.classes import parse_class

_DATA_COUNT = 3
#: So many can agree when fewer than half are lost; more only make each write slower.
_META_COUNTS = ("1", "3", "5")


@click.command("up")
@click.argument("directory", metavar="DIR")
@click.option("--mount", "mount", metavar="MNT", help="Where mount1 is mounted; made if it is not there. Default: DIR/mnt.")
@click.option("--data", "data_count", type=click.IntRange(1, 64), help=f"Data nodes. Default: {_DATA_COUNT}; more can come later.")
@click.option(
    "--meta", "meta_text", type=click.Choice(_META_COUNTS), help="Metadata servers. Default: 1; else as many etcd members run."
)
@click.option(
    "--class",
    "class_text",
    metavar="CLASS",
    help="Class of service of a new cluster. Default: ec:2+1; with two data nodes replica:2.",
)
@driver_option
def command(
    directory: str, mount: str | None, data_count: int | None, meta_text: str | None, class_text: str | None, driver: str | None
) -> None:
    """Make or start a cluster in DIR; returns when it is healthy and mounted.

    On a cluster that is there, starts what does not run and leaves alone what does. The processes go on in the background.

    \b
    Example:  ringfs dev up ./cluster --mount /mnt/ringfs --data 3 --class ec:2+1
    """
    wanted = _Wanted(data_count, None if meta_text is None else int(meta_text), class_text)
    with progress() as shown, _opened(Path(directory).resolve(), wanted) as layout:
        _place_mount1(layout, mount, driver)
        shown.step("starting servers")
        servers = [server for server in layout.servers() if server.verb != "mount"]
        start(layout, servers)
        shown.step("waiting for a leader and every node")
        wait_healthy(layout, servers)
        shown.step("mounting")
        start(layout, layout.mounts())
        wait_healthy(layout, layout.mounts())
    click.echo(render(read_rows(layout)))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for; None: nothing was said."""

    data_count: int | None
    meta_count: int | None
    class_text: str | None


@contextmanager
def _opened(root: Path, wanted: _Wanted) -> Iterator[Layout]:
    """The cluster in a directory, made or grown as asked for, locked."""
    layouts.check_creatable(root)
    data_count, meta_count = wanted.data_count or _DATA_COUNT, wanted.meta_count or 1
    class_text = wanted.class_text or default_class_for(data_count)
    if not layouts.is_dev_cluster(root):
        _check_class(class_text, data_count)
        if meta_count > 1:
            find_program()
    root.mkdir(parents=True, exist_ok=True)
    with layouts.locked(root):
        if layouts.is_dev_cluster(root):
            layout = Layout(root)
            _adapt(layout, wanted)
        else:
            layout = layouts.create_layout(root, data_count, class_text, meta_count)
        yield layout


def _check_class(class_text: str, data_count: int) -> None:
    copies = parse_class(class_text).width
    if copies > data_count:
        raise UserError(f"class {class_text} needs {copies} data nodes, not {data_count}: give --data {copies} or another --class")


def _adapt(layout: Layout, wanted: _Wanted) -> None:
    """What may be changed about a cluster that exists. Raises UserError."""
    config, data_count = layout.config, wanted.data_count
    if wanted.class_text not in (None, config.default_class):
        raise UserError(
            f"{layout.root} has class {config.default_class}, not {wanted.class_text}: "
            "the first start has set it; leave --class out"
        )
    if wanted.meta_count not in (None, len(config.meta)):
        raise UserError(
            f"{layout.root} has {len(config.meta)} metadata server{'s' if len(config.meta) > 1 else ''}, not {wanted.meta_count}: "
            "leave --meta out; 'ringfs meta migrate' moves a journal to etcd, which several need"
        )
    if data_count is not None and data_count < len(config.data):
        raise UserError(f"{layout.root} has {len(config.data)} data nodes, which hold data: 'ringfs dev remove' takes one away")
    layout.grow(max(0, (data_count or 0) - len(config.data)))


def _place_mount1(layout: Layout, asked: str | None, driver: str | None) -> None:
    """Say where mount1 belongs and through which driver, if that is new."""
    known = next((server for server in layout.mounts() if server.name == "mount1"), None)
    if known is not None and asked is None:
        if driver is not None:
            layout.set_mount("mount1", Path(known.arguments[0]), driver)
        return
    point = mounts.mount_point_of(Path(asked) if asked else layout.root / "mnt")
    if known is None or known.arguments[0] != str(point):
        if known is not None and supervise.is_running(known):
            raise UserError(
                f"mount1 is at {known.arguments[0]}: stop it first ('ringfs dev stop {layout.root} mount1'), or 'ringfs dev mount'"
            )
        prepare_mount_point(point, make=True)
        layout.set_mount("mount1", point, driver)
    elif driver is not None:
        layout.set_mount("mount1", point, driver)
