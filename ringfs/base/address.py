"""Addresses as text: "host:port", with an IPv6 host in brackets. No sockets here."""

from ringfs.base.errors import UserError


def split_address(address: str) -> tuple[str, int]:
    """Host and port (0 to 65,535) of "host:port" or "[host]:port". Raises UserError."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UserError(f"{address!r} is not an address: write host:port, or [host]:port for IPv6")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The text that split_address takes apart."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
