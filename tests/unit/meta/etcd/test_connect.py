"""From the configuration to how etcd is reached."""

from pathlib import Path

import pytest

from ringfs.base.config import EtcdConfig
from ringfs.base.errors import UserError
from ringfs.meta.etcd.client import Access
from ringfs.meta.etcd.connect import access_of


def test_everything_is_handed_on(tmp_path: Path) -> None:
    """Files by name, but the password itself; its file is read now."""
    ca, certificate, key, password = (tmp_path / name for name in ("ca", "certificate", "key", "password"))
    config = EtcdConfig(("a:1", "b:2"), "/ringfs/", ca, certificate, key, "ringfs", password, 2)
    with pytest.raises(UserError, match="cannot read the password file"):
        access_of(config)
    password.write_text("secret\n")
    password.chmod(0o600)
    assert access_of(config) == Access(("a:1", "b:2"), ca, certificate, key, "ringfs", "secret")


def test_neither_tls_nor_user() -> None:
    """What is not configured is not used."""
    assert access_of(EtcdConfig(("a:1",), "/ringfs/", None, None, None, "", None, 2)) == Access(("a:1",))
