"""A process that uses gRPC may start others by fork: they are not aborted before they are programs of their own."""

import subprocess
import sys

_PROGRAM = """
import subprocess, threading
import ringfs.meta.etcd.client
import grpc
from concurrent.futures import ThreadPoolExecutor

server = grpc.server(ThreadPoolExecutor(2))
channel = grpc.insecure_channel(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
server.start()
grpc.channel_ready_future(channel).result()
is_over = threading.Event()

def call():
    while not is_over.is_set():
        try:
            channel.unary_unary("/nobody/knows")(b"")
        except grpc.RpcError:
            pass

caller = threading.Thread(target=call)
caller.start()
# With a function to call in the child there is no way but fork().
ends = [subprocess.run(["true"], preexec_fn=lambda: None, capture_output=True) for _ in range(300)]
is_over.set()
caller.join()
print(sum(end.returncode != 0 or end.stderr != b"" for end in ends))
server.stop(None).wait()
"""


def test_forks_live() -> None:
    """Without ringfs/meta/etcd/__init__.py some ten of them are aborted."""
    run = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=300, check=True)
    assert run.stdout == "0\n", run.stderr
