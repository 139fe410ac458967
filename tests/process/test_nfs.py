"""nfs-ganesha serves a mount by file handles (FSAL_VFS: name_to_handle_at, open_by_handle_at), libnfs's tools work with it.

Server, rpcbind and tools run in a network namespace of their own, so that no port is taken from anybody. libnfs 4.0 cannot write by
NFSv4, whatever is served (it asks for a time in 2106 and then fails), so what is written here is written by NFSv3.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.mounts import DevCluster, dev_cluster

SECONDS_MAX = 300
PORT = 22049
CONFIGURATION = f"""
NFS_CORE_PARAM {{
    NFS_Port = {PORT};
    MNT_Port = {PORT + 1};
    Enable_NLM = false;
    Enable_RQUOTA = false;
    Enable_UDP = false;
    NFS_Protocols = 3, 4;
}}
NFSv4 {{
    Graceless = true;
    RecoveryBackend = fs;
    RecoveryRoot = "%(home)s";
}}
EXPORT {{
    Export_Id = 1;
    Path = "%(path)s";
    Pseudo = "/export";
    Access_Type = RW;
    Squash = No_Root_Squash;
    Protocols = 3, 4;
    SecType = sys;
    Attr_Expiration_Time = 0;
    FSAL {{ Name = VFS; }}
}}
"""


class NfsServer:
    """A directory exported, and the tools that use it."""

    def __init__(self, exported: Path, home: Path) -> None:
        self.exported = exported
        self._home = home
        self._stack = ExitStack()
        self._holder_pid = 0

    def __enter__(self) -> "NfsServer":
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        configuration = self._home / "ganesha.conf"
        configuration.write_text(CONFIGURATION % {"home": self._home, "path": self.exported})
        # The mount namespace is for rpcbind, which keeps its socket in /run.
        script = "mount -t tmpfs none /run && mkdir /run/rpcbind && ip link set lo up && exec rpcbind -f"
        self._holder_pid = self._run_beside("unshare", "--net", "--mount", "sh", "-c", script)
        self._wait(lambda: self._inside("rpcinfo", "-p", check=False).returncode == 0)
        log = self._home / "log"
        options = ["-F", "-f", str(configuration), "-L", str(log), "-p", str(self._home / "pid")]
        self._run_beside(*self._enter(), "ganesha.nfsd", *options)
        self._wait(lambda: log.exists() and "NFS SERVER INITIALIZED" in log.read_text())

    def _run_beside(self, *command: str) -> int:
        """Its pid; it is killed at the end, before what was started earlier."""
        with open(self._home / "output", "a") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/")
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process.pid

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + SECONDS_MAX
        while not condition():
            said = (
                path.read_text(errors="replace")[-3000:] for path in (self._home / "output", self._home / "log") if path.exists()
            )
            assert time.monotonic() < deadline_s, "\n".join(said)
            os.sched_yield()

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._holder_pid), "--net", "--mount"]

    def _inside(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[bytes]":
        done = subprocess.run([*self._enter(), *command], capture_output=True, timeout=SECONDS_MAX, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-500:]!r}\n{done.stderr[-2000:]!r}"
        return done

    def tool(self, name: str, *arguments: str) -> bytes:
        """What nfs-ls, nfs-cat or nfs-cp printed."""
        return self._inside(name, *arguments).stdout

    def url(self, version: int, path: str = "") -> str:
        """Of a file below the export."""
        base = f"{self.exported}" if version == 3 else "/export"
        port = "" if version == 3 else f"&nfsport={PORT}"
        return f"nfs://127.0.0.1{base}/{path}?version={version}{port}"

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture
def cluster() -> Iterator[DevCluster]:
    """One of its own: a server that dies late holds its mount."""
    with dev_cluster("--data", "2") as cluster:
        yield cluster


def make_tree(top: Path) -> dict[str, bytes]:
    """Files of many sizes, by path."""
    files = {
        "empty": b"",
        "one": b"1",
        "dir/page": os.urandom(4097),
        "dir/deeper/inline": os.urandom(16000),
        "dir/deeper/large": os.urandom(9_000_001),
        "odd name é": os.urandom(70_000),
    }
    for path, content in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(content)
    return files


def test_files_go_out_and_in(cluster: DevCluster, tmp_path: Path) -> None:
    """Listings and bytes are those of the mount, by NFSv3 and NFSv4; what is copied in is there; a change behind the server's back
    is seen; and all of it is sound."""
    exported = cluster.mount / "exported"
    files = make_tree(exported)
    with NfsServer(exported, tmp_path) as server:
        for version in (3, 4):
            listed = server.tool("nfs-ls", "-R", server.url(version)).decode()
            for path, content in files.items():
                assert any(line.endswith(f" {len(content)} {path}") for line in listed.splitlines()), listed
                if " " not in path:
                    assert server.tool("nfs-cat", server.url(version, path)) == content
        local = tmp_path / "local"
        local.write_bytes(os.urandom(5_000_000))
        server.tool("nfs-cp", str(local), server.url(3, "dir/new"))
        assert (exported / "dir/new").read_bytes() == local.read_bytes()
        (exported / "dir/new").write_bytes(b"changed on the mount")
        (exported / "one").rename(exported / "two")
        for version in (3, 4):
            assert server.tool("nfs-cat", server.url(version, "dir/new")) == b"changed on the mount"
            assert server.tool("nfs-cat", server.url(version, "two")) == b"1"
    checked = cluster.ringfs("check", cluster.mount)
    assert checked.returncode == 0
