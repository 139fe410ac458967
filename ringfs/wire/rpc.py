"""Requests and answers over authenticated connections: the part of the wire that other floors use, in one place."""

from ringfs.wire.client import Answer, Dial, NoAnswer, OnAnswer, OnPush, RpcClient, client_on, dial_tcp, open_client
from ringfs.wire.server import Handler, Peer, Request, serve_stream, serve_tcp

__all__ = [
    "Answer",
    "Dial",
    "Handler",
    "NoAnswer",
    "OnAnswer",
    "OnPush",
    "Peer",
    "Request",
    "RpcClient",
    "client_on",
    "dial_tcp",
    "open_client",
    "serve_stream",
    "serve_tcp",
]
