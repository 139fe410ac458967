"""etcd as the metadata service uses it: interface.py says what is asked, client.py asks a real one."""

import os

# Read by grpcio when it is imported. With its own care for forks, a child that was forked while a call was under way is aborted
# ("Epoll1Poller … Bad file descriptor"), also one that only calls exec: 17 of 400. Nobody here uses gRPC in a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
