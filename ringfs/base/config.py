"""cluster.toml and the key file: what they may say. docs/formats/cluster-toml.md explains it to people.

Every mistake is a UserError that names file, line and key. Nothing here starts or opens anything else.
"""

import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ringfs.base.address import split_address
from ringfs.base.config_data import DataConfig, data_nodes
from ringfs.base.config_values import (
    as_address,
    as_atime,
    as_class,
    as_endpoints,
    as_failure_domain,
    as_flag,
    as_level,
    as_name,
    as_prefix,
    as_text,
    as_uuid,
    between,
    seconds,
)
from ringfs.base.errors import UserError
from ringfs.base.limits import KIB, MIB
from ringfs.base.toml_tables import Table, read_tables

KEY_BYTES = 32
#: As many failure domains as ec:2+1 needs.
_EC_DOMAINS = 3

__all__ = [
    "ClusterConfig",
    "DataConfig",
    "EtcdConfig",
    "MetaConfig",
    "MountConfig",
    "RingConfig",
    "default_class_for",
    "load_config",
    "load_key",
    "load_password",
]


@dataclass(frozen=True, slots=True)
class MetaConfig:
    """A metadata server. `state` is its directory."""

    name: str
    address: str
    state: Path


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """The etcd that keeps the journal of several metadata servers. Keys of the cluster begin with prefix.

    Files are PEM; with `authority` the connection is TLS, with certificate and key etcd knows us by it. user "": no user.
    """

    endpoints: tuple[str, ...]
    prefix: str
    authority: Path | None
    certificate: Path | None
    key: Path | None
    user: str
    password_file: Path | None
    #: For how long a leader holds its place without a word of its; etcd counts whole seconds, and at least 2.
    lease_s: int

    def load_password(self) -> str:
        """The password of user; "" if there is none. Raises UserError."""
        return "" if self.password_file is None else load_password(self.password_file)


@dataclass(frozen=True, slots=True)
class MountConfig:
    """Tunables of clients; see docs/formats/cluster-toml.md."""

    dirty_bytes_max: int = 64 * MIB
    cache_bytes_max: int = 96 * MIB
    readahead_bytes: int = 16 * MIB
    commit_interval_s: float = 1.0
    leader_wait_s: float = 300.0
    entry_timeout_s: float = 1.0
    attr_timeout_s: float = 1.0
    delegations: bool = True
    atime: str = "relatime"


@dataclass(frozen=True, slots=True)
class RingConfig:
    """How the ring is looked after; see docs/formats/cluster-toml.md."""

    out_after_s: float = 600.0
    scan_s: float = 600.0
    heal_bytes_per_s: int = 64 * MIB
    scrub_period_s: float = 30 * 86_400.0
    sweep_after_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class ClusterConfig:
    """A whole cluster.toml. Its paths are absolute, or relative to the working directory if the file's own was."""

    path: Path
    #: A uuid in its usual text form.
    cluster: str
    key_file: Path
    #: A class of service; ring/classes.py says which there are.
    default_class: str
    #: At least one of each; names and addresses are unique over both.
    meta: tuple[MetaConfig, ...]
    data: tuple[DataConfig, ...]
    mount: MountConfig
    #: A key of base/log.py's LEVELS.
    log_level: str
    #: None: the only metadata server keeps its journal in files. Several need etcd.
    etcd: EtcdConfig | None = None
    ring: RingConfig = RingConfig()

    def meta_named(self, name: str) -> MetaConfig:
        """The metadata server of that name. Raises UserError."""
        for server in self.meta:
            if server.name == name:
                return server
        raise UserError(f"{self.path} has no [[meta]] named {name!r}; it has {_names(self.meta)}")

    def data_named(self, name: str) -> DataConfig:
        """The data node of that name. Raises UserError."""
        for node in self.data:
            if node.name == name:
                return node
        raise UserError(f"{self.path} has no [[data]] named {name!r}; it has {_names(self.data)}")

    def disks_of(self, name: str) -> tuple[DataConfig, ...]:
        """The disks of the [[data]] section of that name, which one process serves: one data node each. Raises UserError."""
        disks = tuple(node for node in self.data if node.process == name)
        return disks or (self.data_named(name),)

    def load_key(self) -> bytes:
        """The cluster key. Raises UserError."""
        return load_key(self.key_file)


def load_config(path: Path) -> ClusterConfig:
    """Read and check a cluster.toml. Raises UserError."""
    top = read_tables(path)
    folder = path.parent
    meta_tables, data_tables = top.tables("meta"), top.tables("data")
    failure_domain = top.take_or("failure_domain", as_failure_domain, "host")
    sections = [data_nodes(table, folder, failure_domain) for table in data_tables]
    data = tuple(node for nodes in sections for node in nodes)
    config = ClusterConfig(
        path=path,
        cluster=top.take("cluster", as_uuid),
        key_file=folder / top.take("key_file", as_text),
        default_class=top.take_or("default_class", as_class, default_class_for(len({node.domain for node in data}))),
        meta=tuple(_meta(table, folder) for table in meta_tables),
        data=data,
        mount=_mount(top.table("mount")),
        log_level=_log_level(top.table("log")),
        etcd=_etcd(top.table("etcd"), folder) if top.has("etcd") else None,
        ring=_ring(top.table("ring")),
    )
    top.end()
    for name, tables in ("meta", meta_tables), ("data", data_tables):
        if not tables:
            top.mistake(None, f"there is no [[{name}]]: a cluster needs at least one")
    if len(meta_tables) > 1 and config.etcd is None:
        meta_tables[1].mistake(None, "is one too many without [etcd], where several keep their journal: see docs/operating.md")
    rows: list[tuple[Table, MetaConfig | DataConfig]] = [
        *zip(meta_tables, config.meta, strict=True),
        *((table, node) for table, nodes in zip(data_tables, sections, strict=True) for node in nodes),
    ]
    processes = [(table, nodes[0].section) for table, nodes in zip(data_tables, sections, strict=True) if nodes[0].section]
    _refuse_twins("name", [*((table, row.name) for table, row in rows), *processes])
    # Several may listen on the same one, if others reach each on its own.
    _refuse_twins("address", ((table, _reached_at(row)) for table, row in rows))
    # Hosts may use the same path each.
    _refuse_twins("state", ((table, _place(row, row.state)) for table, row in rows if isinstance(row, MetaConfig)))
    _refuse_twins("disk", ((table, _place(row, row.disk)) for table, row in rows if isinstance(row, DataConfig)))
    return config


def default_class_for(domain_count: int) -> str:
    """The class of service of a cluster that names none: it survives the loss of any one failure domain."""
    return "ec:2+1" if domain_count >= _EC_DOMAINS else "replica:2"


def load_key(path: Path) -> bytes:
    """The 32 bytes of a key file: 64 hexadecimal digits, readable by its owner only. Raises UserError."""
    text = _read_secret(path, "key file")
    if re.fullmatch(rb"[0-9a-fA-F]{64}\s*", text) is None:
        raise UserError(f"the key file {path} must hold {2 * KEY_BYTES} hexadecimal digits and nothing else")
    return bytes.fromhex(text.decode("ascii"))


def load_password(path: Path) -> str:
    """The one line of a password file, readable by its owner only. Raises UserError."""
    text = _read_secret(path, "password file")
    try:
        (line,) = text.decode().splitlines()
    except ValueError:
        raise UserError(f"the password file {path} must hold one line of text") from None
    return line


def _read_secret(path: Path, what: str) -> bytes:
    """What is in a file that nobody else may read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the {what} {path}: {error.strerror}") from error
    if mode & 0o077:
        raise UserError(f"the {what} {path} is open to others (mode {mode:04o}): chmod 600 {path}")
    return text


# --- tables ---------------------------------------------------------------------------------------------------------------


def _meta(table: Table, folder: Path) -> MetaConfig:
    made = MetaConfig(
        name=table.take("name", as_name),
        address=table.take("address", as_address),
        state=folder / table.take("state", as_text),
    )
    table.end()
    return made


def _etcd(table: Table, folder: Path) -> EtcdConfig:
    def file(name: str) -> Path | None:
        text = table.take_or(name, as_text, None)
        return None if text is None else folder / text

    made = EtcdConfig(
        endpoints=table.take("endpoints", as_endpoints),
        prefix=table.take_or("prefix", as_prefix, "/ringfs/"),
        authority=file("authority"),
        certificate=file("certificate"),
        key=file("key"),
        user=table.take_or("user", as_text, ""),
        password_file=file("password_file"),
        lease_s=table.take_or("lease_s", between(2, 60), 2),
    )
    table.end()
    for name, value, needed, is_there in (
        ("certificate", made.certificate, "key", made.key),
        ("key", made.key, "certificate", made.certificate),
        ("certificate", made.certificate, "authority", made.authority),
        ("user", made.user, "password_file", made.password_file),
        ("password_file", made.password_file, "user", made.user),
    ):
        if value and not is_there:
            table.mistake(name, f"needs {needed} as well")
    return made


def _mount(table: Table) -> MountConfig:
    default = MountConfig()
    made = MountConfig(
        dirty_bytes_max=table.take_or("dirty_bytes_max", between(MIB, 1 << 40), default.dirty_bytes_max),
        cache_bytes_max=table.take_or("cache_bytes_max", between(MIB, 1 << 40), default.cache_bytes_max),
        readahead_bytes=table.take_or("readahead_bytes", between(0, 1 << 30), default.readahead_bytes),
        commit_interval_s=table.take_or("commit_interval_s", seconds(0.01, 60), default.commit_interval_s),
        leader_wait_s=table.take_or("leader_wait_s", seconds(1, 86_400), default.leader_wait_s),
        entry_timeout_s=table.take_or("entry_timeout_s", seconds(0, 3600), default.entry_timeout_s),
        attr_timeout_s=table.take_or("attr_timeout_s", seconds(0, 3600), default.attr_timeout_s),
        delegations=table.take_or("delegations", as_flag, default.delegations),
        atime=table.take_or("atime", as_atime, default.atime),
    )
    table.end()
    return made


def _ring(table: Table) -> RingConfig:
    default = RingConfig()
    made = RingConfig(
        out_after_s=table.take_or("out_after_s", seconds(10, 30 * 86_400), default.out_after_s),
        scan_s=table.take_or("scan_s", seconds(1, 7 * 86_400), default.scan_s),
        heal_bytes_per_s=table.take_or("heal_bytes_per_s", between(64 * KIB, 1 << 40), default.heal_bytes_per_s),
        scrub_period_s=table.take_or("scrub_period_s", seconds(60, 3650 * 86_400), default.scrub_period_s),
        sweep_after_s=table.take_or("sweep_after_s", seconds(120, 3650 * 86_400), default.sweep_after_s),
    )
    table.end()
    return made


def _log_level(table: Table) -> str:
    level = table.take_or("level", as_level, "info")
    table.end()
    return level


def _refuse_twins(key: str, values: Iterable[tuple[Table, str]]) -> None:
    seen: set[str] = set()
    for table, value in values:
        if value in seen:
            table.mistake(key, f"{value!r} is there twice")
        seen.add(value)


def _reached_at(row: MetaConfig | DataConfig) -> str:
    return row.reached_at if isinstance(row, DataConfig) else row.address


def _place(row: MetaConfig | DataConfig, path: Path) -> str:
    return f"{split_address(_reached_at(row))[0]}:{path}"


def _names(rows: Iterable[MetaConfig | DataConfig]) -> str:
    return ", ".join(row.name for row in rows)
