"""How `ringfs info` shows an inode, piece by piece as they are learned: lines for people, or one JSON object."""

import json
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import click

from ringfs.cli.checking.snapshot import ObjectEntry
from ringfs.cli.locate import Piece
from ringfs.cli.output import size_text
from ringfs.wire.messages.common import Attributes

_KINDS = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


@dataclass(slots=True)
class Totals:
    """Sums over the pieces. An object counts once for each extent that points to it; so do its missing parts."""

    extents: int = 0
    object_bytes: int = 0
    inline_bytes: int = 0
    missing_parts: int = 0

    def add(self, pieces: Sequence[Piece]) -> None:
        """Count a batch."""
        self.extents += len(pieces)
        self.object_bytes += sum(piece.length for piece in pieces if piece.kind == "object")
        self.inline_bytes += sum(piece.length for piece in pieces if piece.kind == "inline")
        self.missing_parts += sum(piece.missing_parts for piece in pieces)


class View(Protocol):
    """Called in this order: begin, pieces …, end."""

    def begin(self, path: str, attributes: Attributes, service_class: str) -> None:
        """The inode itself."""
        ...

    def pieces(self, pieces: Sequence[Piece]) -> None:
        """Some of its extents."""
        ...

    def end(self, totals: Totals, silent: dict[str, str]) -> None:
        """The sums, and the nodes that could not be asked."""
        ...


class TextView:
    """For people."""

    def begin(self, path: str, attributes: Attributes, service_class: str) -> None:
        """See View."""
        kind = _KINDS.get(stat.S_IFMT(attributes.mode), "unknown type")
        mode = stat.S_IMODE(attributes.mode)
        owner = f"owner {attributes.uid}:{attributes.gid}"
        unit = "entries" if stat.S_ISDIR(attributes.mode) else f"bytes ({size_text(attributes.size_bytes)})"
        click.echo(f"{path}")
        click.echo(
            f"inode     {attributes.inode}, {kind}, mode {mode:04o}, {owner}, links {attributes.links}, change {attributes.change}"
        )
        click.echo(f"size      {attributes.size_bytes} {unit}, {size_text(attributes.stored_bytes)} stored")
        for name in ("mtime", "ctime", "atime", "btime"):
            click.echo(f"{name}     {_time_text(getattr(attributes, f'{name}_ns'))}")
        click.echo(f"xattrs    {attributes.xattr_count}")
        click.echo(f"class     {service_class} for what is written now")

    def pieces(self, pieces: Sequence[Piece]) -> None:
        """See View."""
        for piece in pieces:
            click.echo(f"{piece.offset:>14} +{piece.length:<9} {_place_text(piece)}")

    def end(self, totals: Totals, silent: dict[str, str]) -> None:
        """See View."""
        in_objects, inline = size_text(totals.object_bytes), size_text(totals.inline_bytes)
        click.echo(f"total     {totals.extents} extents, {in_objects} in objects, {inline} inline")
        for name, why in silent.items():
            click.echo(f"node {name} could not be asked: {why}")
        if totals.missing_parts:
            click.echo(f"missing   {totals.missing_parts} copies or fragments")


class JsonView:
    """One JSON object, written as it is learned."""

    def __init__(self) -> None:
        #: Between two extents.
        self._comma = ""

    def begin(self, path: str, attributes: Attributes, service_class: str) -> None:
        """See View."""
        head = json.dumps({"path": path, "attributes": asdict(attributes), "class": service_class})
        click.echo(head[:-1] + ', "extents": [', nl=False)

    def pieces(self, pieces: Sequence[Piece]) -> None:
        """See View."""
        for piece in pieces:
            click.echo(self._comma + json.dumps(_piece_json(piece)), nl=False)
            self._comma = ", "

    def end(self, totals: Totals, silent: dict[str, str]) -> None:
        """See View."""
        tail = json.dumps({"totals": asdict(totals), "silent_nodes": silent})
        click.echo("], " + tail[1:])


def _piece_json(piece: Piece) -> dict[str, Any]:
    shown: dict[str, Any] = {"offset": piece.offset, "length": piece.length, "kind": piece.kind}
    if piece.kind == "object":
        entry = piece.entry
        known = (
            None
            if entry is None
            else {"size_bytes": entry.size_bytes, "live_bytes": entry.live_bytes, "class": entry.stored_class, "form": entry.form}
        )
        parts = [{"node": each.node.name, "domain": each.node.domain, "part": str(each.part)} for each in piece.held]
        shown |= {"object": piece.oid, "object_offset": piece.object_offset, "nodes": piece.nodes, "parts": parts, "stored": known}
    return shown


def _place_text(piece: Piece) -> str:
    if piece.kind != "object":
        return piece.kind
    stored = "unlinked meanwhile" if piece.entry is None else f"{size_text(piece.entry.size_bytes)}, {_stored_text(piece.entry)}"
    holders = ", ".join(map(str, piece.held)) or "no node"
    by = "on" if all(each.part.is_whole for each in piece.held) else "fragments"
    missing = f", {piece.missing_parts} MISSING" if piece.missing_parts else ""
    return f"object {piece.oid} +{piece.object_offset} ({stored}) {by} {holders}{missing}"


def _stored_text(entry: ObjectEntry) -> str:
    """What it is promised, and how it is stored if that is something else."""
    return entry.stored_class if entry.form == entry.stored_class else f"{entry.stored_class} as {entry.form}"


def _time_text(time_ns: int) -> str:
    seconds, rest_ns = divmod(time_ns, 10**9)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") + f".{rest_ns:09} UTC"
