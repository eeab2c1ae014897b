"""Client addresses, security headers and odd requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from hmdb.page.launch import PageServer
from hmdb.page.server.file_store import FILES
from hmdb.page.server.middleware.client_address import ClientAddressMiddleware, quota_key
from tests.support.visitor import Visitor, http


def test_odd_ranges_and_long_names_cause_no_errors(page: PageServer) -> None:
    name = Visitor(page.url).upload(b"0123456789")
    odd = http.get(f"{page.url}gradio_api/file={name}", headers={"range": "bytes=0-1,3-4"})
    assert (odd.status_code, odd.content) == (200, b"0123456789")
    assert http.get(f"{page.url}static/{'x' * 5000}").status_code == 404


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "Host"])
@pytest.mark.parametrize("path", ["", "config", "gradio_api/info", "gradio_api/mcp/schema", "gradio_api/queue/join"])
def test_invalid_hosts_get_a_one_line_error(page: PageServer, path: str, header: str) -> None:
    method = "POST" if path.endswith("join") else "GET"
    answer = http.request(method, f"{page.url}{path}", headers={header: "[v1.a]"})
    message = "The headers of this request contain an invalid host."
    assert (answer.status_code, answer.json()) == (400, {"detail": message})


def test_every_response_has_security_headers(page: PageServer) -> None:
    for path in ("", "config", "health", "gradio_api/info", "nowhere"):
        headers = http.get(f"{page.url}{path}", headers={"Origin": "http://evil.example"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'self' https://huggingface.co" in headers["content-security-policy"]
        assert "access-control-allow-credentials" not in headers


def test_trusted_proxies_name_the_client() -> None:
    def client(trusted_proxies: int, *lines: str) -> tuple[str, int] | None:
        """The client that the app sees of a request from 10.0.0.1 with these lines of X-Forwarded-For."""
        seen: list[Scope] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(scope)

        headers = [(b"x-forwarded-for", line.encode()) for line in lines]
        scope = {"type": "http", "headers": headers, "client": ("10.0.0.1", 1)}
        middleware = ClientAddressMiddleware(app, trusted_proxies=trusted_proxies)
        asyncio.run(middleware(scope, lambda: pytest.fail("nothing is received"), lambda _: pytest.fail("or sent")))
        assert (seen[0]["headers"] == headers) == bool(trusted_proxies or not lines)
        result: tuple[str, int] | None = seen[0]["client"]
        return result

    assert client(0, "203.0.113.9") == ("10.0.0.1", 1)
    for lines in (["198.51.100.1, 203.0.113.9"], ["198.51.100.1", "203.0.113.9"]):  # equivalent
        assert client(1, *lines) == ("203.0.113.9", 0)
        assert client(2, *lines) == ("198.51.100.1", 0)
    assert client(1) == ("10.0.0.1", 1)
    assert client(1, "203.0.113.9:4711") == ("203.0.113.9", 0)
    assert client(1, "2001:db8:0:1:2:3:4:5") == client(1, "[2001:db8:0:1::9]:443") == ("2001:db8:0:1::/64", 0)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:567", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:567", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::7]:567", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("2001:db8:1:3::7", "2001:db8:1:3::/64"),
        ("unknown", "unknown"),
        ("x" * 100, "x" * 64),
        ("[", "["),
    ],
)
def test_quotas_count_an_ipv6_network_as_one_client(address: str, counted: str) -> None:
    assert quota_key(address) == counted


def test_forwarded_addresses_are_ignored_without_a_trusted_proxy(url: str, video: Path) -> None:
    before = set(FILES._folders)
    asked = {"X-Forwarded-For": "203.0.113.9"}
    http.post(f"{url}gradio_api/upload", files={"files": video.read_bytes()}, headers=asked).raise_for_status()
    (upload,) = (FILES._folders[name] for name in set(FILES._folders) - before)
    assert upload.owner == "127.0.0.1"
