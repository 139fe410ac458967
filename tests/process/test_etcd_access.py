"""A real etcd that asks for certificates and for a user: who is let in, and what which user may do."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfs.base.config import EtcdConfig
from ringfs.meta.etcd.client import Access, EtcdClient
from ringfs.meta.etcd.connect import access_of
from ringfs.meta.etcd.interface import Absent, EtcdMisused, EtcdUnavailable, Get, Put
from tests.support.etcd import PatientEtcd, RealEtcd, patiently

SUBJECTS = {"authority": "/CN=authority", "stranger": "/CN=stranger", "member": "/CN=member", "server": "/CN=a metadata server"}


def openssl(*words: str | Path) -> None:
    """Runs it."""
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def make_certificates(directory: Path) -> None:
    """NAME.key and NAME.pem for each subject: two authorities, and what the first of them certifies."""
    (directory / "extensions").write_text("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
    for name, subject in SUBJECTS.items():
        key, certificate, request = (directory / f"{name}.{ending}" for ending in ("key", "pem", "csr"))
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        if name in ("authority", "stranger"):
            openssl("req", "-x509", "-new", "-key", key, "-subj", subject, "-days", "2", "-out", certificate)
            continue
        openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
        by = ("-CA", directory / "authority.pem", "-CAkey", directory / "authority.key", "-CAcreateserial")
        openssl("x509", "-req", "-in", request, *by, "-days", "2", "-extfile", directory / "extensions", "-out", certificate)


class GuardedEtcd:
    """One member with TLS, which asks for certificates, and for users once `add_users` was called."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        options = {
            "--cert-file": "member.pem",
            "--key-file": "member.key",
            "--trusted-ca-file": "authority.pem",
        }
        files = [word for option, name in options.items() for word in (option, str(directory / name))]
        self.etcd = RealEtcd(directory / "etcd", 1, ["--client-cert-auth", *files], scheme="https")
        (directory / "etcd").mkdir()

    def access(self, authority: str = "authority", certificate: str = "server", user: str = "", password: str = "") -> Access:
        """As the configuration would have it."""
        password_file = self.directory / f"password of {user}" if user else None
        if password_file is not None:
            password_file.write_text(f"{password}\n")
            password_file.chmod(0o600)
        authority_file, pem, key = (
            self.directory / name for name in (f"{authority}.pem", f"{certificate}.pem", f"{certificate}.key")
        )
        return access_of(EtcdConfig(self.etcd.endpoints, "/ringfs/", authority_file, pem, key, user, password_file, 2))

    def etcdctl(self, *words: str) -> None:
        """Runs it, as an operator would."""
        pem = ("--cacert", "authority.pem", "--cert", "server.pem", "--key", "server.key")
        command = ["etcdctl", "--endpoints", self.etcd.endpoints[0], *pem, *words]
        subprocess.run(command, cwd=self.directory, env={**os.environ, "ETCDCTL_API": "3"}, check=True, capture_output=True)

    def add_users(self) -> None:
        """ringfs as docs/operating.md has it, and one that may only write its keys."""
        for role in ("root", "keys"):
            self.etcdctl("role", "add", role)
        for user, role in (("root", "root"), ("ringfs", "root"), ("lowly", "keys")):
            self.etcdctl("user", "add", f"{user}:secret of {user}")
            self.etcdctl("user", "grant-role", user, role)
        self.etcdctl("role", "grant-permission", "keys", "--prefix=true", "readwrite", "/ringfs/")
        self.etcdctl("auth", "enable")


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[GuardedEtcd]:
    """It runs; whether it serves is another matter."""
    make_certificates(tmp_path)
    made = GuardedEtcd(tmp_path)
    try:
        made.etcd.start(0)
        yield made
    finally:
        made.etcd.close()


async def ask(access: Access) -> None:
    """A transaction such as the metadata service makes."""
    client = PatientEtcd(access)
    try:
        await client.transact([Absent(b"/ringfs/leader")], [Put(b"/ringfs/format", b"1")], [Get(b"/ringfs/format")])
    finally:
        client.close()


async def wait_serving(access: Access) -> None:
    """Until it answers."""
    await patiently(lambda: ask(access))


async def test_certificates(guarded: GuardedEtcd) -> None:
    """Who has none, or trusts another authority, is not served; nothing is said in clear text."""
    await wait_serving(guarded.access())
    with pytest.raises(EtcdUnavailable):
        await ask(Access(guarded.etcd.endpoints))
    with pytest.raises(EtcdUnavailable):
        await ask(guarded.access(authority="stranger"))
    with pytest.raises(EtcdUnavailable):
        await ask(Access(guarded.etcd.endpoints, authority=guarded.directory / "authority.pem"))
    with pytest.raises(EtcdUnavailable):
        await ask(guarded.access(certificate="stranger"))


async def test_users(guarded: GuardedEtcd) -> None:
    """The user may do everything, also after etcd was started again; others learn that the configuration is to be mended."""
    await wait_serving(guarded.access())
    guarded.add_users()
    with pytest.raises(EtcdMisused):
        await ask(guarded.access())
    with pytest.raises(EtcdMisused):
        await ask(guarded.access(user="ringfs", password="secret of lowly"))
    access = guarded.access(user="ringfs", password="secret of ringfs")
    client, watcher = PatientEtcd(access), PatientEtcd(access)
    try:
        await first_change(watcher)
        # Ends with a defragmentation: whatever was before is on disk, and tokens are not.
        await everything(client)
        guarded.etcd.kill(0)
        guarded.etcd.start(0)
        await wait_serving(access)
        assert [member.reason for member in await client.members()] == [""]
        with pytest.raises(EtcdUnavailable):
            await first_change(watcher)
        await first_change(watcher)
        await everything(client)
    finally:
        client.close()
        watcher.close()


async def test_a_user_that_may_write_its_keys_only(guarded: GuardedEtcd) -> None:
    """It may neither write others nor defragment: no other member is tried for that."""
    await wait_serving(guarded.access())
    guarded.add_users()
    client = PatientEtcd(guarded.access(user="lowly", password="secret of lowly"))
    try:
        await client.transact([], [Put(b"/ringfs/format", b"")])
        with pytest.raises(EtcdMisused, match="permission denied"):
            await client.transact([], [Put(b"/others/", b"")])
        with pytest.raises(EtcdMisused, match="permission denied"):
            await client.defragment(guarded.etcd.endpoints[0])
    finally:
        client.close()


async def first_change(client: EtcdClient) -> None:
    """Watch until something is told, which is of the first revision that there is."""
    async with client.watch(b"/ringfs/", b"/ringfs0", from_revision=1) as changes:
        assert (await changes.receive())[0].pair.key == b"/ringfs/format"


async def everything(client: EtcdClient) -> None:
    """Whatever the metadata service asks of etcd."""
    lease, ttl_s = await client.grant(60)
    revision = (await client.transact([], [Put(b"/ringfs/leader", b"me", lease)])).revision
    assert await client.keep_alive(lease) == ttl_s
    async with client.watch(b"/ringfs/", b"/ringfs0", from_revision=revision) as changes:
        assert [change.pair.key for change in await changes.receive()] == [b"/ringfs/leader"]
    await client.revoke(lease)
    await client.compact(1)
    (member,) = await client.members()
    assert member.reason == ""
    await client.disarm()
    await client.defragment(member.endpoint)
