"""A writer that keeps a manifest of what was acknowledged to it, and the check of a mount against such a manifest.

The manifest is on a local disk. Before each operation on the mount the writer notes what it is about to do; after it, that it
is done, and after fsync(2) also the BLAKE3 of the whole content. Bytes of files count as acknowledged by fsync only, names by
an fsync of their directory, which is part of each operation on names. So a reader knows what must be there: the names after
the last finished operation (or with the one that was cut off), and of each file the content of its last fsync, in which bytes
that were written since may be newer.

    python -m tests.support.manifest write DIRECTORY MANIFEST SEED      until standard input ends: exit code 0
    python -m tests.support.manifest verify DIRECTORY MANIFEST          a JSON object: what was checked, what is wrong

The writer says on standard output what happens, a character each: "(" an fsync begins, ")" it is acknowledged, "." a name is.
A failed call is noted in the manifest, and ends it with exit code 3.
"""

import errno
import json
import os
import random
import select
import sys
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ringfs.base.checksums import plain_digest
from tests.support.file_model import impossible

FAILED = 3
PAGE_BYTES = 4096
FILES_MAX = 20
FILE_BYTES_MAX = 4 << 20
#: Content operations on a file after which it is synced.
UNSYNCED_MAX = 4
_DESCRIPTORS_MAX = 6
_SIZES = (300, 20_000, 20_000, 300_000, 300_000, 3_000_000)
_KINDS = {"create": 14, "append": 22, "overwrite": 20, "truncate": 10, "rename": 10, "unlink": 3, "sync": 40, "read": 10}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. kind: create, write, truncate, rename, unlink, sync. Bytes that are written follow from their seed."""

    kind: str
    file: int
    name: str = ""
    new_name: str = ""
    offset: int = 0
    size: int = 0
    seed: int = 0

    @property
    def is_of_names(self) -> bool:
        """Whether it ends with an fsync of the directory, and so is durable."""
        return self.kind in ("create", "rename", "unlink")

    def data(self) -> bytes:
        """What it writes."""
        return random.Random(self.seed).randbytes(self.size)


@dataclass(slots=True)
class Model:
    """What a directory must hold. versions of a file: the acknowledged content first, then one for each operation since."""

    names: dict[str, int] = field(default_factory=dict)
    versions: dict[int, list[bytes]] = field(default_factory=dict)

    def apply(self, operation: Operation) -> None:
        """The operation was done; a sync: acknowledged."""
        match operation.kind:
            case "create":
                self.names[operation.name] = operation.file
                self.versions[operation.file] = [b""]
            case "rename":
                self.names[operation.new_name] = self.names.pop(operation.name)
            case "unlink":
                del self.names[operation.name]
            case "sync":
                self.versions[operation.file] = self.versions[operation.file][-1:]
            case "truncate":
                # It is durable before what was written before it.
                self.versions[operation.file] += [_changed(version, operation) for version in self.versions[operation.file]]
            case _:
                self.versions[operation.file].append(_changed(self.versions[operation.file][-1], operation))

    def name_of(self, file: int) -> str:
        """Its one name."""
        return next(name for name, known in self.names.items() if known == file)


def _changed(content: bytes, operation: Operation) -> bytes:
    if operation.kind == "truncate":
        return content[: operation.size].ljust(operation.size, b"\0")
    head = content[: operation.offset].ljust(operation.offset, b"\0")
    return head + operation.data() + content[operation.offset + operation.size :]


# --- the manifest -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Entry:
    """An operation, when it began and ended (CLOCK_MONOTONIC, ns), and how. Neither done nor failed: its writer was cut off."""

    operation: Operation
    begun_ns: int
    ended_ns: int | None = None
    failed: str = ""
    blake3: str = ""

    @property
    def is_done(self) -> bool:
        """It was acknowledged."""
        return self.ended_ns is not None and not self.failed

    def was_under_way(self, at_ns: int) -> bool:
        """It had begun by then, and not ended."""
        return self.begun_ns < at_ns and (self.ended_ns is None or self.ended_ns > at_ns)


def read_manifest(path: Path) -> list[Entry]:
    """All entries, in order."""
    entries: list[Entry] = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if "operation" in row:
            entries.append(Entry(Operation(**row["operation"]), row["at_ns"]))
        else:
            last = entries[-1]
            last.ended_ns, last.failed, last.blake3 = row["at_ns"], row.get("failed", ""), row.get("blake3", "")
    return entries


# --- the writer -------------------------------------------------------------------------------------------------------


class Writer:
    """Random operations in a directory of its own, one after the other."""

    def __init__(self, directory: Path, manifest: Path, seed: int) -> None:
        self._directory = directory
        self._manifest = manifest.open("x")
        self._draw = random.Random(seed)
        self._model = Model()
        self._count = 0
        #: Kept open over several operations, the one used last at the end.
        self._descriptors: OrderedDict[int, int] = OrderedDict()

    def run(self) -> None:
        """Until standard input ends; then everything is synced. Raises OSError of the call that failed."""
        while not select.select([sys.stdin], [], [], 0)[0]:
            self._step()
        for file in list(self._model.names.values()):
            self._do(Operation("sync", file))
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def _step(self) -> None:
        """One operation. A file with many unsynced changes is synced first."""
        files = list(self._model.names.values())
        due = next((file for file in files if len(self._model.versions[file]) > UNSYNCED_MAX), None)
        if due is not None:
            self._do(Operation("sync", due))
            return
        (kind,) = self._draw.choices(list(_KINDS), list(_KINDS.values()))
        if not files or (kind == "create" and len(files) < FILES_MAX):
            self._count += 1
            self._do(Operation("create", self._count, name=f"file{self._count}"))
        elif kind == "read":
            self._read(self._draw.choice(files))
        elif kind != "create":
            self._do(self._operation_on(kind, self._draw.choice(files)))

    def _operation_on(self, kind: str, file: int) -> Operation:
        size, length = len(self._model.versions[file][-1]), self._draw.randrange(1, self._draw.choice(_SIZES))
        seed = self._draw.randrange(1 << 32)
        match kind:
            case "append" if size + length <= FILE_BYTES_MAX:
                return Operation("write", file, offset=size, size=length, seed=seed)
            case "overwrite":
                return Operation("write", file, offset=self._draw.randrange(size + 1), size=length, seed=seed)
            case "append" | "truncate":
                return Operation("truncate", file, size=self._draw.randrange(min(FILE_BYTES_MAX, 2 * size + 2)))
            case "rename":
                self._count += 1
                targets = [name for name, known in self._model.names.items() if known != file]
                replaced = self._draw.choice(targets) if targets and self._draw.random() < 0.3 else f"name{self._count}"
                return Operation("rename", file, name=self._model.name_of(file), new_name=replaced)
            case "unlink":
                return Operation("unlink", file, name=self._model.name_of(file))
        return Operation("sync", file)

    def _do(self, operation: Operation) -> None:
        """Note it, do it, note that it is done: durably, if that promises something."""
        if operation.kind == "sync":
            self._say("(")
        self._note(operation=asdict(operation))
        try:
            self._call(operation)
        except OSError as error:
            self._note(failed=errno.errorcode.get(error.errno or 0, str(error)))
            raise
        gone = self._model.names.get(operation.new_name) if operation.kind == "rename" else None
        self._model.apply(operation)
        if operation.kind == "sync":
            self._note(blake3=plain_digest(self._model.versions[operation.file][-1]).hex())
        else:
            self._note()
        if operation.kind == "sync" or operation.is_of_names:
            os.fsync(self._manifest.fileno())
            self._say(")" if operation.kind == "sync" else ".")
        for file in (gone, operation.file if operation.kind == "unlink" else None):
            if file is not None and file in self._descriptors:
                os.close(self._descriptors.pop(file))

    def _call(self, operation: Operation) -> None:
        path = self._directory / operation.name
        match operation.kind:
            case "create":
                self._keep(operation.file, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            case "rename":
                path.rename(self._directory / operation.new_name)
            case "unlink":
                path.unlink()
            case "write":
                self._write(operation.file, operation.data(), operation.offset)
            case "truncate":
                os.ftruncate(self._descriptor(operation.file), operation.size)
            case "sync":
                os.fsync(self._descriptor(operation.file))
        if operation.is_of_names:
            self._sync_names()

    def _write(self, file: int, data: bytes, offset: int) -> None:
        """The kernel may split a write into requests: one that meets the end of its mount comes short first, and fails later."""
        written = 0
        while written < len(data):
            written += os.pwrite(self._descriptor(file), data[written:], offset + written)

    def _sync_names(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, file: int) -> None:
        """Here, everything done so far must be seen, acknowledged by fsync or not."""
        expected, content = self._model.versions[file][-1], b""
        # A read that meets the end of its mount comes short first, and fails when it goes on.
        while piece := os.pread(self._descriptor(file), len(expected) + 1 - len(content), len(content)):
            content += piece
        assert content == expected, f"{self._model.name_of(file)} reads wrong"

    def _descriptor(self, file: int) -> int:
        if file not in self._descriptors:
            self._keep(file, os.open(self._directory / self._model.name_of(file), os.O_RDWR))
        self._descriptors.move_to_end(file)
        return self._descriptors[file]

    def _keep(self, file: int, descriptor: int) -> None:
        self._descriptors[file] = descriptor
        if len(self._descriptors) > _DESCRIPTORS_MAX:
            os.close(self._descriptors.popitem(last=False)[1])

    def _note(self, **row: Any) -> None:
        self._manifest.write(json.dumps({"at_ns": time.monotonic_ns(), **row}) + "\n")
        self._manifest.flush()

    def _say(self, what: str) -> None:
        os.write(1, what.encode())


# --- the check --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Verdict:
    """What was checked, and what is wrong. exact_count: files that had to be byte for byte what an fsync acknowledged."""

    acknowledged_count: int = 0
    file_count: int = 0
    exact_count: int = 0
    byte_count: int = 0
    findings: list[str] = field(default_factory=list)


def verify(directory: Path, entries: list[Entry]) -> Verdict:
    """Compare a directory with the manifest of its writer."""
    verdict = Verdict(sum(entry.is_done and (entry.operation.is_of_names or bool(entry.blake3)) for entry in entries))
    model, cut_off = _replay(entries, verdict)
    found = sorted(os.listdir(directory))
    possible = [dict(model.names)]
    if cut_off is not None:
        model.apply(cut_off)
        possible.append(model.names)
    names = next((names for names in possible if sorted(names) == found), None)
    if names is None:
        verdict.findings.append(f"{directory} holds {found}, but must hold {' or '.join(str(sorted(names)) for names in possible)}")
        return verdict
    for name, file in names.items():
        _verify_file(directory / name, model.versions[file], verdict)
    return verdict


def _replay(entries: list[Entry], verdict: Verdict) -> tuple[Model, Operation | None]:
    """What must be there, and the operation on names of which it is not known whether it took effect."""
    model = Model()
    for entry in entries:
        operation = entry.operation
        if not entry.is_done:
            assert entry is entries[-1], "a writer ends with what fails"
            if operation.is_of_names:
                return model, operation
            if operation.kind == "sync":
                return model, None
        model.apply(operation)
        if entry.blake3 and plain_digest(model.versions[operation.file][0]).hex() != entry.blake3:
            verdict.findings.append(f"the manifest contradicts itself about file {operation.file}")
    return model, None


def _verify_file(path: Path, versions: list[bytes], verdict: Verdict) -> None:
    content = path.read_bytes()
    verdict.file_count += 1
    verdict.byte_count += len(content)
    if len(versions) == 1:
        verdict.exact_count += 1
        if plain_digest(content) != plain_digest(versions[0]):
            verdict.findings.append(f"{path}: {_difference(content, versions)}")
    elif not min(map(len, versions)) <= len(content) <= max(map(len, versions)) or impossible(content, versions):
        verdict.findings.append(f"{path}, changed since its fsync: {_difference(content, versions)}")


def _difference(content: bytes, versions: list[bytes]) -> str:
    sizes = ", ".join(str(len(version)) for version in versions)
    wrong = impossible(content, versions)
    return f"{len(content)} bytes, expected {sizes}; {len(wrong)} wrong bytes, at {wrong[:10]}"


def main(arguments: list[str]) -> int:
    """See the module."""
    verb, directory, manifest = arguments[0], Path(arguments[1]), Path(arguments[2])
    if verb == "verify":
        print(json.dumps(asdict(verify(directory, read_manifest(manifest)))))
        return 0
    writer = Writer(directory, manifest, int(arguments[3]))
    try:
        writer.run()
    except OSError:
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
