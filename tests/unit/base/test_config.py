"""cluster.toml: what a good one gives, and the one line that each mistake gives, with file, line and key."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfs.base.config import DataConfig, EtcdConfig, MetaConfig, MountConfig, RingConfig, load_config, load_key, load_password
from ringfs.base.errors import UserError
from ringfs.base.limits import MIB

SMALL = """\
cluster = "6F1E1C9E-52A7-4F1B-9D63-1F0D0A6F3C11"
key_file = "cluster.key"

[[meta]]
name = "meta1"
address = "127.0.0.1:7000"
state = "meta1/state"

[[data]]
name = "data1"
address = "127.0.0.1:7001"
disk = "/disks/one"

[[data]]
name = "data2"
address = "[::1]:7002"
disk = "data2/disk"
"""
FULL = (
    SMALL.replace("[[meta]]", 'default_class = "replica:3"\n\n[[meta]]', 1)
    + """\
domain = "rack2"
weight = 50
capacity_bytes = 1_000_000_000

[mount]
dirty_bytes_max = 67_108_864
cache_bytes_max = 33554432
readahead_bytes = 0
commit_interval_s = 0.5
leader_wait_s = 20
entry_timeout_s = 0
attr_timeout_s = 2
atime = "noatime"

[log]
level = "debug"

[ring]
out_after_s = 30
scan_s = 5
heal_bytes_per_s = 1_000_000
scrub_period_s = 86400
sweep_after_s = 300
"""
)
THREE = (
    SMALL
    + """\

[[meta]]
name = "meta2"
address = "127.0.0.1:7003"
state = "meta2/state"

[etcd]
endpoints = ["10.0.0.1:2379", "etcd2:2379", "[::1]:2379"]
prefix = "/one/"
authority = "ca.pem"
certificate = "/etc/ringfs/ringfs.pem"
key = "/etc/ringfs/ringfs.key"
user = "ringfs"
password_file = "password"
lease_s = 5
"""
)


def written(folder: Path, text: str) -> Path:
    """A cluster.toml of that text."""
    path = folder / "cluster.toml"
    path.write_text(text)
    return path


def test_defaults(tmp_path: Path) -> None:
    """What a short file leaves out has its documented default; paths are relative to the file."""
    config = load_config(written(tmp_path, SMALL))
    assert config.cluster == "6f1e1c9e-52a7-4f1b-9d63-1f0d0a6f3c11"
    assert config.key_file == tmp_path / "cluster.key"
    assert config.default_class == "replica:2"
    assert config.meta == (MetaConfig("meta1", "127.0.0.1:7000", tmp_path / "meta1/state"),)
    assert config.data[0] == DataConfig("data1", "127.0.0.1:7001", Path("/disks/one"), "data1", None, None)
    assert config.mount == MountConfig(64 * MIB, 96 * MIB, 16 * MIB, 1.0, 300.0, 1.0, 1.0)
    assert config.log_level == "info"
    assert config.etcd is None
    assert config.ring == RingConfig(600.0, 600.0, 64 * MIB, 2_592_000.0, 3600.0)


def test_default_class_goes_by_failure_domains(tmp_path: Path) -> None:
    """Three can have fragments; disks of one host are one domain."""
    more = '\n[[data]]\nname = "data{0}"\naddress = "127.0.0.1:90{0}"\ndisk = "{0}"\ndomain = "{1}"\n'
    assert load_config(written(tmp_path, SMALL + more.format(21, "data1"))).default_class == "replica:2"
    assert load_config(written(tmp_path, SMALL + more.format(21, "third"))).default_class == "ec:2+1"


def test_everything(tmp_path: Path) -> None:
    """Every key there is."""
    config = load_config(written(tmp_path, FULL))
    assert config.default_class == "replica:3"
    assert config.data[1] == DataConfig("data2", "[::1]:7002", tmp_path / "data2/disk", "rack2", 50, 10**9)
    assert config.mount == MountConfig(64 * MIB, 32 * MIB, 0, 0.5, 20.0, 0.0, 2.0, atime="noatime")
    assert config.log_level == "debug"
    assert config.ring == RingConfig(30.0, 5.0, 1_000_000, 86_400.0, 300.0)


SEVERAL = SMALL.replace('disk = "/disks/one"', 'disks = ["/disks/one", "two"]').replace("7002", "7012")


def test_several_disks(tmp_path: Path) -> None:
    """Each is a node with a name, a port and a directory of its own; one process serves them."""
    config = load_config(written(tmp_path, SEVERAL))
    one, two, other = config.data
    assert one == DataConfig("data1.1", "127.0.0.1:7001", Path("/disks/one"), "data1", None, None, "data1")
    assert two == DataConfig("data1.2", "127.0.0.1:7002", tmp_path / "two", "data1", None, None, "data1")
    assert (one.process, other.process) == ("data1", "data2")
    assert config.disks_of("data1") == (one, two)
    assert config.disks_of("data2") == (other,)
    assert config.data_named("data1.2") is two
    with pytest.raises(UserError, match=r"no \[\[data\]\] named 'data3'"):
        config.disks_of("data3")


def test_advertise(tmp_path: Path) -> None:
    """Others reach a node elsewhere than where it listens; then several may listen on the same address, with the same path."""
    text = SMALL.replace("127.0.0.1:7001", '0.0.0.0:7001"\nadvertise = "10.0.0.1:9001').replace(
        "[::1]:7002", '0.0.0.0:7001"\nadvertise = "10.0.0.2:9001'
    )
    one, two = load_config(written(tmp_path, text.replace('"data2/disk"', '"/disks/one"'))).data
    assert (one.address, one.reached_at) == ("0.0.0.0:7001", "10.0.0.1:9001")
    assert (two.address, two.reached_at) == ("0.0.0.0:7001", "10.0.0.2:9001")
    several = SEVERAL.replace("127.0.0.1:7001", '127.0.0.1:7001"\nadvertise = "[fd00::1]:9001')
    one, two, other = load_config(written(tmp_path, several)).data
    assert (one.reached_at, two.reached_at, other.reached_at) == ("[fd00::1]:9001", "[fd00::1]:9002", "[::1]:7012")


@pytest.mark.parametrize(
    ("kind", "more", "domains"),
    [
        ("host", 'rack = "r1"', ["data1", "data1", "data2"]),
        ("disk", "", ["data1.1", "data1.2", "data2"]),
        ("rack", 'rack = "r1"', ["r1", "r1", "r2"]),
        ("rack", 'domain = "d"', ["d", "d", "r2"]),
        ("disk", 'domain = "d"\nrack = "r1"', ["d", "d", "data2"]),
    ],
)
def test_failure_domains(tmp_path: Path, kind: str, more: str, domains: list[str]) -> None:
    """By what failure_domain says, unless a section has a domain of its own."""
    text = SEVERAL.replace("[[meta]]", f'failure_domain = "{kind}"\n[[meta]]', 1).replace("disks =", f"{more}\ndisks =")
    config = load_config(written(tmp_path, text + 'rack = "r2"\n'))
    assert [row.domain for row in config.data] == domains


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("disks = ", 'failure_domain = "disk"\ndisks = ', r"line \d+: \[data\] failure_domain is not known here"),
        ("[[meta]]", 'failure_domain = "room"\n[[meta]]', "failure_domain must be host, disk or rack"),
        ("[[meta]]", 'failure_domain = "rack"\n[[meta]]', r"\[data\] needs a rack \(or a domain\)"),
        ('["/disks/one", "two"]', "[]", "disks must be a list of 1 to 64 directories"),
        ('["/disks/one", "two"]', '["/disks/one", 2]', "disks must be text"),
        ('["/disks/one", "two"]', '["/disks/one", "/disks/one"]', "disk '127.0.0.1:/disks/one' is there twice"),
        ("disks = ", 'disk = "x"\ndisks = ', r"\[data\] disk is not known here"),
        ("127.0.0.1:7001", "127.0.0.1:65535", "address must leave ports for 2 disks"),
        ("127.0.0.1:7000", "127.0.0.1:7002", "address '127.0.0.1:7002' is there twice"),
        ("disks = ", 'advertise = "10.0.0.1:65535"\ndisks = ', "advertise must leave ports for 2 disks"),
        ("disks = ", 'advertise = "10.0.0.1"\ndisks = ', "advertise is wrong: '10.0.0.1' is not an address"),
        ("disks = ", 'advertise = "127.0.0.1:6999"\ndisks = ', "address '127.0.0.1:7000' is there twice"),
        ("127.0.0.1:7001", "0.0.0.0:7001", "address 0.0.0.0 is no place that others can connect to: say one with advertise"),
        ('name = "data2"', 'name = "data1.2"', "name 'data1.2' is there twice"),
        ('name = "data2"', 'name = "data1"', "name 'data1' is there twice"),
    ],
)
def test_mistakes_about_disks(tmp_path: Path, old: str, new: str, what: str) -> None:
    """Each is named, with its line."""
    assert old in SEVERAL
    with pytest.raises(UserError, match=what):
        load_config(written(tmp_path, SEVERAL.replace(old, new, 1)))


def test_etcd(tmp_path: Path) -> None:
    """Several metadata servers keep their journal on etcd: every key there is, and what is left out."""
    assert load_config(written(tmp_path, THREE)).etcd == EtcdConfig(
        endpoints=("10.0.0.1:2379", "etcd2:2379", "[::1]:2379"),
        prefix="/one/",
        authority=tmp_path / "ca.pem",
        certificate=Path("/etc/ringfs/ringfs.pem"),
        key=Path("/etc/ringfs/ringfs.key"),
        user="ringfs",
        password_file=tmp_path / "password",
        lease_s=5,
    )
    least = SMALL + '\n[etcd]\nendpoints = ["e:1"]\n'
    assert load_config(written(tmp_path, least)).etcd == EtcdConfig(("e:1",), "/ringfs/", None, None, None, "", None, 2)


def test_documented_example(tmp_path: Path) -> None:
    """The example of docs/formats/cluster-toml.md is right; two hosts may use the same path."""
    page = (Path(__file__).resolve().parents[3] / "docs/formats/cluster-toml.md").read_text()
    whole, etcd = (part.partition("```")[0] for part in page.split("```toml\n")[1:])
    config = load_config(written(tmp_path, whole + etcd))
    assert [str(node.disk) for node in config.data] == ["/disks/one", "/disks/one"]
    assert config.etcd is not None
    assert len(config.etcd.endpoints) == 3


def test_by_name(tmp_path: Path) -> None:
    """Servers are found by name; a wrong one is answered with those there are."""
    config = load_config(written(tmp_path, SMALL))
    assert config.meta_named("meta1") is config.meta[0]
    assert config.data_named("data2") is config.data[1]
    with pytest.raises(UserError, match=r"no \[\[data\]\] named 'data9'; it has data1, data2"):
        config.data_named("data9")
    with pytest.raises(UserError, match=r"no \[\[meta\]\] named 'data1'; it has meta1"):
        config.meta_named("data1")


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        ("cluster = ", "clusterr = ", 1, "clusterr is not known here: is cluster meant?"),
        ("cluster = ", "id = ", 1, "cluster is missing"),
        ('key_file = "cluster.key"', 'key_file = ""', 2, "key_file must be text"),
        ('"6F1E', '"XF1E', 1, "cluster must be a uuid"),
        ('default_class = "replica:3"', 'default_class = "three"', 4, "default_class must be a class of service"),
        ('default_class = "replica:3"', "speed = 1", 4, "speed is not known here"),
        ('name = "meta1"', "name = 1", 7, "[meta] name must be a name"),
        ('name = "meta1"', 'name = "me/ta"', 7, "[meta] name must be a name"),
        ('state = "meta1/state"', 'stat = "x"', 9, "[meta] stat is not known here: is state meant?"),
        ('state = "meta1/state"', "", 6, "[meta] state is missing"),
        ("127.0.0.1:7000", "127.0.0.1", 8, "[meta] address is wrong"),
        ("127.0.0.1:7000", "127.0.0.1:0", 8, "[meta] address must have a port"),
        ('disk = "/disks/one"', 'disk = "/disks/one"\nwieght = 1', 15, "[data] wieght is not known here"),
        ('name = "data2"', 'name = "data1"', 17, "[data] name 'data1' is there twice"),
        ('name = "data2"', 'name = "meta1"', 17, "[data] name 'meta1' is there twice"),
        ("[::1]:7002", "127.0.0.1:7001", 18, "[data] address '127.0.0.1:7001' is there twice"),
        (
            '[::1]:7002"\ndisk = "data2/disk',
            '127.0.0.1:7003"\ndisk = "/disks/one',
            19,
            "[data] disk '127.0.0.1:/disks/one' is there twice",
        ),
        ("weight = 50", "weight = 0", 21, "[data] weight must be a whole number from 1"),
        ("weight = 50", "weight = true", 21, "[data] weight must be a whole number"),
        ("weight = 50", "weight = 50.5", 21, "[data] weight must be a whole number"),
        ("1_000_000_000", "-1", 22, "[data] capacity_bytes must be"),
        ("67_108_864", '"64 MiB"', 25, "[mount] dirty_bytes_max must be a whole number"),
        ("leader_wait_s = 20", "leader_wait_s = 0", 29, "[mount] leader_wait_s must be a number of seconds from 1"),
        ("attr_timeout_s = 2", "attr_timeout_s = nan", 31, "[mount] attr_timeout_s must be a number of seconds"),
        ("attr_timeout_s = 2", "attr_timeout = 2", 31, "[mount] attr_timeout is not known here"),
        ('atime = "noatime"', 'atime = "never"', 32, "[mount] atime must be relatime, strictatime or noatime"),
        ('level = "debug"', 'level = "loud"', 35, "[log] level must be one of debug, info, warning, error"),
        ('level = "debug"', "level = [1]", 35, "[log] level must be one of"),
        ("out_after_s = 30", "out_after_s = 5", 38, "[ring] out_after_s must be a number of seconds from 10"),
        ("scan_s = 5", "scan = 5", 39, "[ring] scan is not known here"),
        ("1_000_000\nscrub", "1000\nscrub", 40, "[ring] heal_bytes_per_s must be a whole number from 65536"),
        ("sweep_after_s = 300", "sweep_after_s = 60", 42, "[ring] sweep_after_s must be a number of seconds from 120"),
        ("[log]", "[logs]", 34, "logs is not known here"),
        ("[log]", "[[log]]", 34, "log must be a table"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    """Each mistake is refused with the file, the line and the key."""
    assert old in FULL
    path = written(tmp_path, FULL.replace(old, new, 1))
    with pytest.raises(UserError) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}, line {line}: {what}"), refused.value


@pytest.mark.parametrize(
    ("old", "new", "line", "what"),
    [
        (THREE[THREE.index("[etcd]") :], "", 19, "[meta] is one too many without [etcd]"),
        ("endpoints", "endpoint", 25, "[etcd] endpoint is not known here: is endpoints meant?"),
        (THREE[THREE.index("endpoints") :], "", 24, "[etcd] endpoints is missing"),
        ('["10.0.0.1:2379", "etcd2:2379", "[::1]:2379"]', '"10.0.0.1:2379"', 25, "[etcd] endpoints must be a list"),
        ('["10.0.0.1:2379", "etcd2:2379", "[::1]:2379"]', "[]", 25, "[etcd] endpoints must be a list"),
        ('"etcd2:2379"', '"etcd2"', 25, "[etcd] endpoints has 'etcd2', which is wrong: "),
        ('"etcd2:2379"', "3", 25, "[etcd] endpoints has 3, which must be text"),
        ('"etcd2:2379"', '"10.0.0.1:2379"', 25, "[etcd] endpoints has an address twice"),
        ('"/one/"', '"/one"', 26, "[etcd] prefix must end with a slash"),
        ('authority = "ca.pem"', "", 28, "[etcd] certificate needs authority as well"),
        ('certificate = "/etc/ringfs/ringfs.pem"', "", 29, "[etcd] key needs certificate as well"),
        ('key = "/etc/ringfs/ringfs.key"', "", 28, "[etcd] certificate needs key as well"),
        ('user = "ringfs"', "", 31, "[etcd] password_file needs user as well"),
        ('password_file = "password"', "", 30, "[etcd] user needs password_file as well"),
        ("lease_s = 5", "lease_s = 1", 32, "[etcd] lease_s must be a whole number from 2"),
        ("lease_s = 5", "lease_s = 2.5", 32, "[etcd] lease_s must be a whole number"),
        ("lease_s = 5", "lease = 5", 32, "[etcd] lease is not known here"),
        ("[etcd]", "[[etcd]]", 24, "etcd must be a table"),
    ],
)
def test_mistakes_about_etcd(tmp_path: Path, old: str, new: str, line: int, what: str) -> None:
    """The same for several metadata servers."""
    assert old in THREE
    path = written(tmp_path, THREE.replace(old, new, 1))
    with pytest.raises(UserError) as refused:
        load_config(path)
    assert str(refused.value).startswith(f"{path}, line {line}: {what}"), refused.value


def test_not_toml_not_there_nobody_in_it(tmp_path: Path) -> None:
    """No file, no TOML, no text, no servers."""
    with pytest.raises(UserError, match=r"cannot read .*: No such file"):
        load_config(tmp_path / "cluster.toml")
    with pytest.raises(UserError, match=r"is not TOML.*line 2"):
        load_config(written(tmp_path, "a = 1\nb = x\n"))
    (tmp_path / "cluster.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        load_config(tmp_path / "cluster.toml")
    head, meta, data = SMALL.partition("[[meta]]")[0], SMALL[SMALL.index("[[meta]]") :].partition("[[data]]")[0], SMALL
    with pytest.raises(UserError, match=r"there is no \[\[data\]\]"):
        load_config(written(tmp_path, head + meta))
    with pytest.raises(UserError, match=r"there is no \[\[meta\]\]"):
        load_config(written(tmp_path, head + data[data.index("[[data]]") :]))
    with pytest.raises(UserError, match=r"line 3: mount must be a table"):
        load_config(written(tmp_path, head.rstrip() + "\nmount = 1\n" + meta))
    with pytest.raises(UserError, match=r"line 3: data must be an array of tables"):
        load_config(written(tmp_path, head.rstrip() + "\ndata = [1]\n" + meta))


@given(st.integers(0, len(FULL)), st.integers(0, 60), st.text(max_size=10))
def test_any_damage_is_a_user_error(tmp_path_factory: pytest.TempPathFactory, start: int, length: int, text: str) -> None:
    """Whatever is cut out of a file and put in its place: it is still right, or the person is told."""
    path = tmp_path_factory.mktemp("damage") / "cluster.toml"
    path.write_bytes((FULL[:start] + text + FULL[start + length :]).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(UserError):
        assert len(load_config(path).data) in (1, 2)


def test_key_file(tmp_path: Path) -> None:
    """64 hexadecimal digits that only the owner can read; anything else is refused without showing the key."""
    path = tmp_path / "cluster.key"
    path.write_text("ab" * 32 + "\n")
    path.chmod(0o600)
    assert load_key(path) == b"\xab" * 32
    for mode in (0o640, 0o604, 0o610):
        path.chmod(mode)
        with pytest.raises(UserError, match="chmod 600"):
            load_key(path)
    path.chmod(0o600)
    for text in ("", "ab" * 31, "ab" * 33, "xy" * 32, "é" * 32):
        path.write_text(text)
        with pytest.raises(UserError, match="64 hexadecimal digits"):
            load_key(path)
    with pytest.raises(UserError, match="cannot read the key file"):
        load_key(tmp_path / "none")


def test_password_file(tmp_path: Path) -> None:
    """One line that only the owner can read; anything else is refused without showing it."""
    path = tmp_path / "password"
    path.write_text(" with spaces \n")
    path.chmod(0o600)
    assert load_password(path) == " with spaces "
    path.chmod(0o640)
    with pytest.raises(UserError, match=r"the password file .* is open to others \(mode 0640\): chmod 600"):
        load_password(path)
    path.chmod(0o600)
    for content in (b"", b"two\nlines\n", b"\xff\n"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="must hold one line of text"):
            load_password(path)
    with pytest.raises(UserError, match="cannot read the password file"):
        load_password(tmp_path / "none")
