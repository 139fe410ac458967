"""[[data]] sections of cluster.toml: one data node for each disk, all disks of a section in one process."""

from dataclasses import dataclass
from pathlib import Path

from ringfs.base.address import join_address, split_address
from ringfs.base.config_values import as_address, as_name, as_paths, as_text, between
from ringfs.base.limits import WEIGHT_MAX
from ringfs.base.toml_tables import Table

_PORT_MAX = 65_535
#: Hosts that mean every interface of the machine.
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """A data node: one disk. `weight` is the share of the ring with which it begins, None: that which its size says;
    `capacity_bytes` caps what it uses of its disk, None does not."""

    name: str
    address: str
    disk: Path
    domain: str
    weight: int | None
    capacity_bytes: int | None
    #: The [[data]] section with several disks that it is one of; empty: it has a section of its own name.
    section: str = ""
    #: Where others reach it, if that is another address than the one it listens on.
    advertise: str = ""

    @property
    def reached_at(self) -> str:
        """The address by which others reach it."""
        return self.advertise or self.address

    @property
    def process(self) -> str:
        """The name of its section, which one process serves."""
        return self.section or self.name


def data_nodes(table: Table, folder: Path, failure_domain: str) -> list[DataConfig]:
    """The data nodes of a [[data]] section, one for each disk. Raises UserError."""
    name = table.take("name", as_name)
    host, port = split_address(table.take("address", as_address))
    domain = _domain(table, name, failure_domain)
    weight = table.take_or("weight", between(1, WEIGHT_MAX), None)
    capacity_bytes = table.take_or("capacity_bytes", between(1, 1 << 63), None)
    advertise = table.take_or("advertise", as_address, "")
    if host in _EVERYWHERE and not advertise:
        table.mistake("address", f"{host} is no place that others can connect to: say one with advertise")
    if not table.has("disks"):
        disk = folder / table.take("disk", as_text)
        table.end()
        return [DataConfig(name, join_address(host, port), disk, domain or name, weight, capacity_bytes, "", advertise)]
    disks = [folder / disk for disk in table.take("disks", as_paths)]
    table.end()
    names = [f"{name}.{number}" for number in range(1, len(disks) + 1)]
    addresses = _following(table, "address", join_address(host, port), len(disks))
    advertised = _following(table, "advertise", advertise, len(disks)) if advertise else [""] * len(disks)
    return [
        DataConfig(own, addresses[index], disks[index], domain or own, weight, capacity_bytes, name, advertised[index])
        for index, own in enumerate(names)
    ]


def _following(table: Table, key: str, address: str, count: int) -> list[str]:
    """The address, and those of the ports behind it."""
    host, port = split_address(address)
    if port + count - 1 > _PORT_MAX:
        table.mistake(key, f"must leave ports for {count} disks, up to {_PORT_MAX}")
    return [join_address(host, port + index) for index in range(count)]


def _domain(table: Table, name: str, failure_domain: str) -> str | None:
    """The failure domain of a section's disks; None: each is one of its own."""
    rack = table.take_or("rack", as_name, None)
    domain = table.take_or("domain", as_name, None)
    if domain is not None:
        return domain
    if failure_domain == "rack" and rack is None:
        table.mistake(None, 'needs a rack (or a domain), since failure_domain is "rack"')
    return {"host": name, "rack": rack, "disk": None}[failure_domain]
