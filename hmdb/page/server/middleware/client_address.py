"""The client's address, which limits and quotas count by."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

MAX_ADDRESS = 64  # characters of an address that cannot be parsed


class ClientAddressMiddleware:
    """Sets the client's address; a client that forges X-Forwarded-For does not evade limits by address.

    The header is read at the entry that the outermost trusted proxy has added. Without trusted proxies it is dropped:
    uvicorn trusts it from localhost, where Gradio's MCP server relays headers that its clients chose.

    Args:
        trusted_proxies: how many proxies stand before the page.
    """

    def __init__(self, app: ASGIApp, *, trusted_proxies: int) -> None:
        self.app = app
        self.trusted_proxies = trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = scope["headers"]
            if not self.trusted_proxies:
                headers = [(name, value) for name, value in headers if name != b"x-forwarded-for"]
            scope = {**scope, "client": self._client(scope), "headers": headers}
        await self.app(scope, receive, send)

    def _client(self, scope: Scope) -> tuple[str, int] | None:
        forwarded = ",".join(Headers(scope=scope).getlist("x-forwarded-for")).split(",")
        if 0 < self.trusted_proxies <= len(forwarded) and (address := forwarded[-self.trusted_proxies].strip()):
            return quota_key(address), 0
        client: tuple[str, int] | None = scope["client"]
        return client and (quota_key(client[0]), client[1])


def quota_key(address: str) -> str:
    """The host or network that limits count an address as: IPv4 unchanged, IPv6 as its /64, which one host has.

    Args:
        address: may have the port that some proxies append; text that is no address stays, cut to 64 characters.
    """
    if address.startswith("["):
        host = address[1:].partition("]")[0]
    else:
        host = address.partition(":")[0] if address.count(":") == 1 else address
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return address[:MAX_ADDRESS]
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
