"""`ringfs dev` with real processes: up, down, kill, stop, start, and what is refused. Each test leaves nothing running."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfs.cli import mounts, processes
from tests.support.mounts import DevCluster, dev_cluster
from tests.support.waiting import PATIENCE_S

OK, NOT_CLEAN, USAGE, NOT_REACHABLE = 0, 1, 2, 3
OTHER_CLUSTER = """\
cluster = "00000000-1111-2222-3333-444444444444"
key_file = "key"

[[meta]]
name = "meta1"
address = "127.0.0.1:1"
state = "meta1"

[[data]]
name = "data1"
address = "127.0.0.1:2"
disk = "{disk}"
"""
CONTENT = os.urandom(3_000_000)


@pytest.fixture(scope="module")
def shared() -> Iterator[DevCluster]:
    """A cluster for tests that leave it as it is: up, healthy, one mount."""
    with dev_cluster("--data", "3") as cluster:
        yield cluster


@pytest.fixture
def own() -> Iterator[DevCluster]:
    """A small cluster for a test that does things to it."""
    with dev_cluster("--data", "2") as cluster:
        yield cluster


def pid_of(cluster: DevCluster, name: str) -> int:
    """As status tells it; it is the one in the pid file."""
    pid = cluster.rows()[name]["pid"]
    assert (cluster.directory / name / "pid").read_text() == f"{pid}\n"
    assert isinstance(pid, int)
    return pid


def processes_of(cluster: DevCluster) -> list[int]:
    """Every process of the cluster, found in /proc."""
    mark = str(cluster.directory)
    found = processes.find(lambda argv: any(part.startswith(mark) for part in argv) and "ringfs.cli.main" in argv)
    return [process.pid for process in found]


def refused(cluster: DevCluster, *arguments: str | Path, code: int = USAGE) -> str:
    """The one line with which a command is refused; a daemon may have logged something before it."""
    done = cluster.ringfs(*arguments, check=False)
    assert done.returncode == code, done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith("time=")]
    assert len(lines) == 1, done.stdout
    assert lines[0].startswith("ringfs: ")
    return lines[0]


# --- a healthy cluster ------------------------------------------------------------------------------------------------


def test_up_is_healthy_and_mounted(shared: DevCluster) -> None:
    """When `up` returns all processes run, the mount answers, and files can be written and read."""
    found = shared.rows_without_notes()
    assert list(found) == ["meta1", "data1", "data2", "data3", "mount1"]
    assert {row["state"] for row in found.values()} == {"running"}
    (shared.mount / "file").write_bytes(CONTENT)
    assert (shared.mount / "file").read_bytes() == CONTENT
    for name in found:
        assert (shared.directory / name / "log").stat().st_size > 0


def test_up_again_changes_nothing(shared: DevCluster) -> None:
    """What runs is left alone."""
    before = shared.rows()
    shared.up()
    assert {name: row["pid"] for name, row in shared.rows().items()} == {name: row["pid"] for name, row in before.items()}


def test_status_finds_the_cluster(shared: DevCluster) -> None:
    """By option, environment, place, and working directory; all tell of the same healthy cluster."""
    by_option = json.loads(shared.ringfs("status", "--json", "--cluster", shared.directory).stdout)
    assert by_option["healthy"] is True
    assert [node["state"] for node in by_option["nodes"]] == ["up"] * 3
    assert len(by_option["sessions"]) == 1
    by_place = json.loads(shared.ringfs("status", "--json", shared.mount).stdout)
    by_directory = subprocess.run(
        [sys.executable, "-m", "ringfs.cli.main", "status", "--json"], cwd=shared.mount, capture_output=True, check=True
    )
    for told in (by_place, json.loads(by_directory.stdout)):
        assert told["cluster"] == by_option["cluster"]
    assert "health: good" in shared.ringfs("status", shared.mount).stdout


def test_info_tells_where_bytes_are(shared: DevCluster) -> None:
    """Every byte of a file is in an object with a fragment on each of three nodes, by its path in the mount and below the root."""
    (shared.mount / "info").write_bytes(CONTENT)
    told = json.loads(shared.ringfs("info", "--json", shared.mount / "info").stdout)
    assert told["attributes"]["size_bytes"] == len(CONTENT)
    assert told["totals"]["object_bytes"] == len(CONTENT)
    for extent in told["extents"]:
        assert len(set(extent["nodes"])) == 3
        assert {part["part"] for part in extent["parts"]} == {f"fragment {number} of ec:2+1" for number in range(3)}
        assert extent["stored"]["class"] == extent["stored"]["form"] == "ec:2+1"
    below = json.loads(shared.ringfs("info", "--json", "--cluster", shared.directory, "/info").stdout)
    assert below["extents"] == told["extents"]
    missing = refused(shared, "info", "--cluster", shared.directory, "/nothing", code=NOT_CLEAN)
    assert "no such file" in missing


def test_check_is_clean_while_busy(shared: DevCluster) -> None:
    """A cluster that is written to, renamed in and deleted from all the time is clean."""
    program = (
        "import os, sys, itertools\n"
        "os.chdir(sys.argv[1])\n"
        "for number in itertools.count():\n"
        "    name = str(number % 7)\n"
        "    with open('new', 'wb') as file: file.write(os.urandom(200_000))\n"
        "    os.rename('new', name)\n"
        "    if number % 3 == 0: os.unlink(name)\n"
        "    if number == 20: print('busy', flush=True)\n"
    )
    busy = shared.mount / "busy"
    busy.mkdir()
    with subprocess.Popen([sys.executable, "-c", program, busy], stdout=subprocess.PIPE) as writer:
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"busy\n"
            for _ in range(3):
                told = json.loads(shared.ringfs("check", "--json", "--deep", shared.mount).stdout)
                assert told["clean"], told
                assert told["objects"] > 0
                assert told["verified"] == told["parts"]
        finally:
            writer.kill()


# --- what is refused --------------------------------------------------------------------------------------------------


def test_wrong_names_and_places(shared: DevCluster, tmp_path: Path) -> None:
    """A name that is not in the cluster, a directory that is none, another class: one line that says what to do."""
    assert "has no process 'data9'" in refused(shared, "dev", "kill", shared.directory, "data9")
    assert "is no dev cluster" in refused(shared, "dev", "down", tmp_path)
    assert "does not exist" in refused(shared, "dev", "status", tmp_path / "nowhere")
    (tmp_path / "mine").touch()
    assert "is not empty and no dev cluster" in refused(shared, "dev", "up", tmp_path)
    assert "has class ec:2+1, not replica:3" in refused(shared, "dev", "up", shared.directory, "--class", "replica:3")
    assert "has 3 data nodes" in refused(shared, "dev", "up", shared.directory, "--data", "2")
    assert "mount1 is at" in refused(shared, "dev", "up", shared.directory, "--mount", tmp_path / "other")
    assert "no [[data]] named 'data9'" in refused(shared, "data", shared.directory / "cluster.toml", "data9")


def test_classes_that_cannot_be(shared: DevCluster, tmp_path: Path) -> None:
    """A class that is none, or needs more nodes than there are; nothing is left of the attempt."""
    assert "is not a class of service" in refused(shared, "dev", "up", tmp_path / "new", "--class", "raid:5")
    assert "needs 3 data nodes" in refused(shared, "dev", "up", tmp_path / "new", "--class", "replica:3", "--data", "2")
    assert not (tmp_path / "new").exists()


def test_mount_points_that_are_none(shared: DevCluster, tmp_path: Path) -> None:
    """Over a mount, and over what has content."""
    (tmp_path / "file").touch()
    config = shared.directory / "cluster.toml"
    assert "is not empty" in refused(shared, "mount", config, tmp_path)
    assert "a ringfs mount is at" in refused(shared, "mount", config, shared.mount)
    assert "is not empty" in refused(shared, "dev", "mount", shared.directory, tmp_path)
    assert "mount option 'wrong'" in refused(shared, "mount", config, tmp_path, "-o", "rw,wrong")
    assert "no ringfs is mounted" in refused(shared, "umount", tmp_path)
    assert list(shared.rows()) == ["meta1", "data1", "data2", "data3", "mount1"]


def test_second_server_on_the_same_state(shared: DevCluster) -> None:
    """Two servers never share a directory."""
    config = shared.directory / "cluster.toml"
    assert "in use by process" in refused(shared, "meta", config)
    assert "in use by process" in refused(shared, "data", config, "data1")


def test_disk_of_another_cluster(shared: DevCluster, tmp_path: Path) -> None:
    """A node refuses a disk that belongs to another cluster, and one that is not there."""
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)
    config = tmp_path / "cluster.toml"
    for disk, reason in (
        (shared.directory / "data1" / "disk", "belongs to another cluster"),
        (tmp_path / "nowhere", "create an empty directory there, or mount the disk"),
    ):
        config.write_text(OTHER_CLUSTER.format(disk=disk))
        assert reason in refused(shared, "data", config, "data1")
    assert not (tmp_path / "nowhere").exists()


def test_unknown_key(shared: DevCluster, tmp_path: Path) -> None:
    """By name and line."""
    text = (shared.directory / "cluster.toml").read_text()
    (tmp_path / "cluster.toml").write_text(text + "\n[mount]\ndirty_bytes = 5\n")
    line = (text + "\n[mount]\n").count("\n") + 1
    said = refused(shared, "status", "--cluster", tmp_path)
    assert "dirty_bytes" in said
    assert str(line) in said


# --- a cluster that things are done to --------------------------------------------------------------------------------


def test_down_and_up_keep_everything(own: DevCluster) -> None:
    """`down` leaves no process and no mount; after `up` all data is there, at the same addresses."""
    (own.mount / "d").mkdir()
    (own.mount / "d" / "file").write_bytes(CONTENT)
    config = (own.directory / "cluster.toml").read_text()
    said = own.dev("down").stdout
    assert "4 processes stopped, nothing left running" in said
    assert processes_of(own) == []
    assert own.mounted() == []
    assert {row["state"] for row in own.rows().values()} == {"stopped"}
    assert "0 processes stopped" in own.dev("down").stdout
    own.up()
    assert (own.mount / "d" / "file").read_bytes() == CONTENT
    assert (own.directory / "cluster.toml").read_text() == config
    own.ringfs("check", own.mount)


def test_up_after_kills(own: DevCluster) -> None:
    """What was killed is started again, a dead mount point is cleaned, the rest is left alone."""
    (own.mount / "file").write_bytes(CONTENT)
    subprocess.run(["sync", own.mount / "file"], check=True)
    left = pid_of(own, "data1")
    for name in ("mount1", "data2", "meta1"):
        own.dev("kill", name)
    states = {name: row["state"] for name, row in own.rows().items()}
    assert states == {"meta1": "killed", "data1": "running", "data2": "killed", "mount1": "killed"}
    assert mounts.is_dead(own.mount)
    assert own.dev("status", check=False).returncode == NOT_CLEAN
    own.dev("up")
    assert pid_of(own, "data1") == left
    assert (own.mount / "file").read_bytes() == CONTENT
    own.ringfs("check", own.mount)


def test_stop_and_start_one(own: DevCluster) -> None:
    """A stopped node is down for status and check; started again all is well."""
    (own.mount / "file").write_bytes(CONTENT)
    subprocess.run(["sync", own.mount / "file"], check=True)
    own.dev("stop", "data1")
    assert own.rows()["data1"]["state"] == "stopped"
    assert "does not run" in refused(own, "dev", "kill", own.directory, "data1")
    assert (own.mount / "file").read_bytes() == CONTENT
    told = own.ringfs("check", "--json", "--cluster", own.directory, check=False)
    assert told.returncode == NOT_CLEAN
    findings = json.loads(told.stdout)["findings"]
    assert "1 of 2 copies (replica:2), held by data2" in {finding["what"] for finding in findings}
    assert {tuple(finding["paths"]) for finding in findings} == {("/file",)}
    assert own.ringfs("info", own.mount / "file", check=False).returncode == NOT_CLEAN
    own.dev("start", "data1")
    own.ringfs("check", own.mount)
    own.dev("stop", "mount1")
    assert own.mounted() == []
    own.dev("start", "mount1")
    assert (own.mount / "file").read_bytes() == CONTENT


def test_second_mount(own: DevCluster) -> None:
    """It sees the same files, comes back with `up`, and can be unmounted by itself."""
    second = own.another_mount("second")
    (own.mount / "file").write_bytes(CONTENT)
    assert (second / "file").read_bytes() == CONTENT
    assert list(own.rows()) == ["meta1", "data1", "data2", "mount1", "mount2"]
    assert "everything is durable" in own.ringfs("umount", second).stdout
    assert own.rows()["mount2"]["state"] == "stopped"
    own.up()
    assert (second / "file").read_bytes() == CONTENT


def test_umount_makes_everything_durable(own: DevCluster) -> None:
    """What was written without fsync is there after all servers were killed; an unmount from outside does as well."""
    for name, unmount in (("ours", ["ringfs", "umount"]), ("theirs", ["fusermount3", "-u"])):
        (own.mount / name).write_bytes(CONTENT)
        if unmount[0] == "ringfs":
            own.ringfs("umount", own.mount)
        else:
            process = processes.hold(pid_of(own, "mount1"), lambda _: True)
            assert process is not None
            with process:
                subprocess.run([*unmount, own.mount], check=True)
                assert process.wait(PATIENCE_S)
        for server in ("data1", "data2", "meta1"):
            own.dev("kill", server)
        own.up()
        assert (own.mount / name).read_bytes() == CONTENT


def test_umount_of_what_is_in_use(own: DevCluster) -> None:
    """It is refused with who uses it, and goes on working; what a dead process left is freed."""
    with open(own.mount / "open", "w") as file:
        said = refused(own, "umount", own.mount)
        assert f"in use by {Path('/proc/self/comm').read_text().strip()} ({os.getpid()})" in said
        file.write("still here")
    assert (own.mount / "open").read_text() == "still here"
    own.dev("kill", "mount1")
    assert "had died" in refused(own, "umount", own.mount, code=NOT_CLEAN)
    assert own.mounted() == []


def test_mount_that_hangs(own: DevCluster) -> None:
    """Its process is stopped: verbs do not hang with it, --force frees the mount point and whoever waits there."""
    os.kill(pid_of(own, "mount1"), signal.SIGSTOP)
    with subprocess.Popen(["stat", own.mount / "nothing"], stderr=subprocess.DEVNULL) as waiting:
        assert own.rows()["mount1"]["note"] == "does not answer in 3 s"
        assert json.loads(own.ringfs("status", "--json", own.mount / "nothing").stdout)["healthy"] is True
        assert waiting.poll() is None
        assert "is free" in refused(own, "umount", "--force", own.mount, code=NOT_CLEAN)
        assert waiting.wait(PATIENCE_S) != 0
    assert own.mounted() == []
    own.dev("kill", "mount1")
    own.up()
    own.rows_without_notes()


def test_stale_pid_file_kills_nobody(own: DevCluster) -> None:
    """A pid file that names a stranger is not believed: not by kill, stop or down; the true process is found."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as stranger:
        pid_file = own.directory / "data1" / "pid"
        truth = int(pid_file.read_text())
        pid_file.write_text(f"{stranger.pid}\n")
        assert own.rows()["data1"]["pid"] == truth
        own.dev("kill", "data1")
        pid_file.write_text(f"{stranger.pid}\n")
        assert "does not run" in refused(own, "dev", "kill", own.directory, "data1")
        own.dev("stop", "data1")
        (own.directory / "meta1" / "pid").unlink()
        own.dev("down")
        assert stranger.poll() is None
        assert processes_of(own) == []
        stranger.kill()


def test_down_of_half_a_cluster(own: DevCluster) -> None:
    """Without its metadata server, with a process that does not end, and with a spoilt configuration: nothing is left running."""
    (own.mount / "file").write_bytes(CONTENT)
    os.kill(pid_of(own, "data1"), signal.SIGSTOP)
    own.dev("kill", "meta1")
    (own.directory / "cluster.toml").write_text("spoilt")
    said = refused(own, "dev", "down", own.directory, "--timeout", "3", code=NOT_CLEAN)
    assert "data1 had not ended after 3 s and was killed" in said
    assert processes_of(own) == []
    assert own.mounted() == []


def test_what_does_not_start_says_why(own: DevCluster) -> None:
    """The reason of the process itself is the command's line; the others run."""
    own.dev("down")
    (own.directory / "data1" / "disk" / "ringfs-disk").write_text("spoilt")
    said = refused(own, "dev", "up", own.directory)
    assert "data1 did not start: disk" in said
    assert "ringfs-disk is damaged" in said
    assert {name: row["state"] for name, row in own.rows().items()} == {
        "meta1": "running",
        "data1": "failed",
        "data2": "running",
        "mount1": "stopped",
    }


def test_more_nodes(own: DevCluster) -> None:
    """--data of a cluster that runs adds nodes, which join."""
    own.up("--data", "4")
    told = json.loads(own.ringfs("status", "--json", own.mount).stdout)
    assert {node["name"]: node["state"] for node in told["nodes"]} == {f"data{number}": "up" for number in range(1, 5)}


def test_up_after_an_interrupted_up(own: DevCluster) -> None:
    """Processes that another `up` has started and not waited for are waited for, not started twice."""
    own.dev("down")
    command = [sys.executable, "-m", "ringfs.cli.main", "dev", "up", str(own.directory)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as interrupted:
        while not processes_of(own):
            assert interrupted.poll() is None
        interrupted.kill()
    own.dev("up")
    own.rows_without_notes()
    assert len(processes_of(own)) == 4


def test_unreachable_cluster(own: DevCluster) -> None:
    """Exit code 3, and the line names the server."""
    own.dev("stop", "mount1")
    own.dev("stop", "meta1")
    for verb in ("status", "check"):
        assert "meta1" in refused(own, verb, "--cluster", own.directory, code=NOT_REACHABLE)
    assert "meta1" in refused(own, "dev", "start", own.directory, "mount1", code=NOT_REACHABLE)


def test_daemons_hold_nothing_of_the_caller(tmp_path: Path) -> None:
    """A pipe that the caller of `up` has left open for its children ends when the caller does."""
    with dev_cluster("--data", "1", "--class", "replica:1") as cluster:
        cluster.dev("down")
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        command = [sys.executable, "-m", "ringfs.cli.main", "dev", "up", str(cluster.directory)]
        subprocess.run(command, close_fds=False, stdout=subprocess.DEVNULL, check=True)
        os.close(writer)
        assert os.read(reader, 1) == b""
        os.close(reader)
