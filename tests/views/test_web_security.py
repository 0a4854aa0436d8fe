"""Who gets no answer from the page's server: strangers, other sites, and who takes too much."""

from __future__ import annotations

import re
import socket

import pytest

from tests.support import DEADLINE_S, Place, outputs

from .served import Served
from .visiting import HOST, Visit

ADDRESSES = ("/", "/api/stats", "/api/none", "/api/events", "/static/core.js", "/metrics", "/x")
EVIL = "http://evil.example"


@pytest.fixture
def visit(served: Served) -> Visit:
    """The server of the module."""
    return served.visit


@pytest.mark.parametrize("path", [*ADDRESSES, "/openapi.json"])
def test_nothing_is_had_without_the_token(visit: Visit, path: str) -> None:
    """Neither what is there nor whether it is there."""
    answer = visit.ask(path, Authorization=None)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert visit.ask(path, "POST", {}, Authorization=None, Origin=visit.origin).status == 401


def test_health_is_open_and_says_nothing(visit: Visit) -> None:
    """Whoever looks after processes needs no token, and learns that there is one."""
    answer = visit.ask("/healthz", Authorization=None, Host="anything.example")
    assert (answer.status, answer.content) == (200, b"ok\n")


@pytest.mark.parametrize("wrong", ["", "x", "é", "{token}x", "{half}", "{token}, {token}"])
def test_a_wrong_token_opens_nothing(visit: Visit, wrong: str) -> None:
    """In the page's address, as bearer and as cookie; a part of it is not it."""
    shown = wrong.format(token=visit.token, half=visit.token[:-1])
    quoted = shown.encode().decode("latin-1").replace("Ã©", "%C3%A9").replace(" ", "%20")
    assert visit.ask(f"/?token={quoted}", Authorization=None).status == 401
    assert visit.ask("/api/stats", Authorization=f"Bearer {shown}".encode()).status == 401
    assert visit.ask("/api/stats", Authorization=f"Basic {visit.token}").status == 401
    name, _, value = visit.enter().partition("=")
    for crumb in (f"{name}={shown}", f"{name}={value[:-1]}", f"other={value}", f"{name}={value}x"):
        cookie = crumb.encode()
        assert visit.ask("/api/stats", Authorization=None, Cookie=cookie).status == 401


def test_the_token_opens_the_page_alone_by_its_address(visit: Visit) -> None:
    """What is asked of an interface stands in logs and histories: no token is taken there."""
    assert visit.ask(f"/api/stats?token={visit.token}", Authorization=None).status == 401
    assert visit.ask(f"/?token={visit.token}", "POST", {}, Authorization=None).status == 401


def test_the_cookie_is_for_the_page_alone(visit: Visit) -> None:
    """No script reads it, no other site sends it, and it is not the token that the file holds."""
    answer = visit.ask(f"/?token={visit.token}", Authorization=None)
    crumb, *flags = answer.headers["set-cookie"].split("; ")
    assert set(flags) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    assert crumb.startswith(f"shmperf-{visit.port}=")
    assert visit.token not in crumb
    assert visit.ask("/api/stats", Authorization=None, Cookie=f"a=b; {crumb};c").status == 200


def test_a_link_elsewhere_leads_in_all_the_same(visit: Visit) -> None:
    """A browser sends no strict cookie along what another site began: it begins anew."""
    answer = visit.ask(
        f"/?token={visit.token}",
        Authorization=None,
        Sec_Fetch_Site="cross-site",
        Sec_Fetch_Mode="navigate",
        Sec_Fetch_Dest="document",
    )
    assert answer.status == 200
    assert answer.headers["refresh"] == "0; url=/"
    assert "set-cookie" in answer.headers
    assert visit.token.encode() not in answer.content


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil.example",
        "evil.example:{port}@localhost",
        "localhost@evil.example",
        "192.0.2.1:{port}",
        "[2001:db8::1]",
        "0x7f000001",
        "",
        "localhost/",
        "127.0.0.1, evil.example",
    ],
)
def test_another_name_that_leads_here_is_another_page(visit: Visit, host: str) -> None:
    """A site whose name was pointed at this machine has neither the page nor an answer."""
    named = host.format(port=visit.port)
    for path in ("/", f"/?token={visit.token}", "/api/stats", "/api/events"):
        answer = visit.ask(path, Authorization=None, Cookie=visit.enter(), Host=named)
        assert answer.status == 403, path
        assert answer.error.startswith("Host: ")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.2:80", "[::1]:{port}"])
def test_names_of_this_machine_are_the_page(visit: Visit, host: str) -> None:
    """By a tunnel it may be another port."""
    named = host.format(port=visit.port)
    assert visit.browse("/api/stats", Host=named).status == 200


def test_two_hosts_are_none(visit: Visit) -> None:
    """Who says two names may mean either."""
    head = f"GET /api/stats HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\nCookie: {visit.enter()}"
    assert raw(visit, head)[0] in {400, 403}


def test_a_program_with_the_token_may_use_any_name(visit: Visit) -> None:
    """A scraper of another machine knows this one by its own name for it."""
    assert visit.ask("/metrics", Host="build-7.example").status == 200


@pytest.mark.parametrize("origin", [EVIL, "null", "http://127.0.0.1:1", "http://localhost", ""])
def test_another_sites_requests_are_refused(visit: Visit, origin: str) -> None:
    """Whatever a browser sends along, it says for whom."""
    for path, method in (("/api/stats", "GET"), ("/api/events", "GET"), ("/api/cleanup", "POST")):
        body = {} if method == "POST" else None
        answer = visit.browse(path, method, body, Origin=origin)
        assert answer.status == 403, path
        assert answer.error.startswith("Origin: ")


@pytest.mark.parametrize("site", ["cross-site", "same-site", "else"])
@pytest.mark.parametrize("path", ["/", "/api/stats", "/api/events", "/static/core.js"])
def test_what_another_site_loads_is_refused(visit: Visit, site: str, path: str) -> None:
    """As script, image, frame or without being asked: also for one on another port of this host."""
    given = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "script"}
    assert visit.browse(path, **given).status == 403
    given = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    assert visit.browse(path, **given).status == 403
    visited = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
    assert visit.browse(path, **visited).status == (200 if path == "/" else 403)


@pytest.mark.parametrize("name", ["mode", "optimize", "cleanup"])
def test_changing_needs_the_pages_word(served: Served, visit: Visit, name: str) -> None:
    """A cookie alone changes nothing, nor what a form can send; a program's token does."""
    cookie = visit.enter()
    path, before = f"/api/{name}", visit.browse("/api/stats").json
    body = {"mode": "normal"} if name == "mode" else {}
    assert visit.ask(path, "POST", body, Authorization=None, Cookie=cookie).status == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert visit.browse(path, "POST", b"{}", Content_Type=kind).status == 415
    for wrong in (b"", b"[", b'{"x": 1}', b"[]", b"\xff", b'{"mode": "off"}', b"[" * 5000):
        code = 200 if wrong == b"" and name == "cleanup" else 400
        if code == 400 and not (wrong == b"" and name == "optimize"):
            assert visit.browse(path, "POST", wrong, Content_Type="application/json").status == 400
    assert visit.browse("/api/stats").json == before


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "X"])
def test_other_methods_do_nothing(visit: Visit, method: str) -> None:
    """No preflight is answered, so that no other site may ask for more."""
    for path in ("/", "/api/stats", "/api/mode", "/metrics"):
        answer = visit.browse(path, method, Origin=visit.origin)
        assert answer.status in {400, 405}, path
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_head_is_a_get_without_its_content(visit: Visit) -> None:
    """Also of what goes on."""
    for path in ("/", "/api/stats", "/api/events", "/metrics", "/static/core.js", "/healthz"):
        answer = visit.browse(path, "HEAD")
        assert (answer.status, answer.content) == (200, b""), path


@pytest.mark.parametrize("path", [*ADDRESSES[:3], "/static/core.js", "/metrics", "/healthz"])
@pytest.mark.parametrize("is_known", [True, False])
def test_every_answer_forbids_what_the_page_does_not_need(
    visit: Visit, path: str, is_known: bool
) -> None:
    """Nothing is kept, framed, guessed at, or loaded from elsewhere; no server tells its kind."""
    headers = (visit.browse(path) if is_known else visit.ask(path, Authorization=None)).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy.pop("img-src") == "'self' data:"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert {"default-src", "base-uri", "form-action", "frame-ancestors"} <= {
        name for name, value in policy.items() if value == "'none'"
    }
    assert "server" not in headers


@pytest.mark.parametrize(
    "target",
    [
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2fetc%2fpasswd",
        "/static/core.js%00",
        "/static/",
        "/static//core.js",
        "//etc/passwd",
        "/../../etc/passwd",
        "/api/reports/../../serve-token",
        "http://evil.example/static/core.js",
        "*",
        "/static/core.js\x01",
        "/" + "a" * 200_000,
    ],
)
def test_no_path_leads_to_a_file(visit: Visit, target: str) -> None:
    """What is not in the table is not there, however it is spelled."""
    status, content = raw(
        visit, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nCookie: {visit.enter()}"
    )
    assert status in {400, 404, 405}
    assert b"root:" not in content
    assert visit.token.encode() not in content
    assert b"use strict" not in content


def raw(visit: Visit, head: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status of what those bytes are answered with, and all that came."""
    with visit.connect() as connection:
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
        return status_of(read(connection))


def read(connection: socket.socket) -> bytes:
    """Everything until the other side ends it."""
    content = b""
    try:
        while piece := connection.recv(65536):
            content += piece
    except ConnectionResetError:
        pass  # it was cut off with bytes of ours on the way
    return content


def status_of(content: bytes) -> tuple[int, bytes]:
    found = re.match(rb"HTTP/1.1 (\d{3}) ", content)
    return int(found[1]) if found else 400, content


def test_what_is_sent_is_bounded(visit: Visit) -> None:
    """By what it says of its length, and by what comes without one."""
    large = b'{"force": ' + b" " * 100_000 + b"false}"
    assert (
        visit.browse("/api/cleanup", "POST", large, Content_Type="application/json").status == 413
    )
    head = (
        f"POST /api/cleanup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {visit.token}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked"
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    assert raw(visit, head, chunk * 3)[0] == 413
    many = "\r\n".join(f"X-{number}: {'x' * 1000}" for number in range(300))
    assert raw(visit, f"GET / HTTP/1.1\r\nHost: localhost\r\n{many}")[0] in {400, 431}
    assert visit.browse("/api/stats").status == 200


def limited(place: Place, *limits: object) -> tuple[str, int]:
    program = place.start_program("views/limited", *map(str, limits))
    assert program.stdout is not None
    return HOST, int(program.stdout.readline())


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=DEADLINE_S)


def test_a_head_that_does_not_come_ends_its_connection(place: Place) -> None:
    """Byte by byte is no way to hold one for ever; nor is nothing at all, or half a second one."""
    address = limited(place, 100, 0.3, 10)
    with connected(address) as silent, connected(address) as slow, connected(address) as second:
        second.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
        assert read(silent) == b""
        ended = False
        while not ended:
            try:
                slow.sendall(b"G")
                slow.settimeout(0.05)
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert read(second).startswith(b"HTTP/1.1 200 ")


def test_who_comes_is_served_however_many_idle(place: Place) -> None:
    """Of too many the one that has been silent for longest goes."""
    address = limited(place, 4, 60, 10)
    idle = [connected(address) for _ in range(12)]
    with connected(address) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read(asking).endswith(b"ok\r\n0\r\n\r\n")
    assert [read(one) for one in idle[:8]] == [b""] * 8
    for one in idle:
        one.close()


def test_an_answer_that_nobody_takes_is_cut_off(place: Place) -> None:
    """It holds a connection and a piece for a while, and then neither."""
    address = limited(place, 2, 60, 0.3)
    for _ in range(4):
        stalled = connected(address)
        stalled.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with stalled:
            assert stalled.recv(5) == b"HTTP/"
            # Nothing is taken until the other side has cut it off.
            stalled.settimeout(DEADLINE_S)
            wait_for_cut(stalled)
    with connected(address) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read(asking).endswith(b"ok\r\n0\r\n\r\n")


def wait_for_cut(connection: socket.socket) -> None:
    """Until the system knows that the other side is gone; nothing is read."""
    import select

    poll = select.poll()
    poll.register(connection, select.POLLHUP | select.POLLERR)
    assert poll.poll(DEADLINE_S * 1000)


def test_elsewhere_than_here_is_said(place: Place) -> None:
    """Whoever listens for other machines is told what that means; the token is asked for."""
    place.run_program("export/record")
    place.wait_for_end()
    visit = Visit(place, "--listen", "0.0.0.0:0")
    assert visit.url.startswith(f"http://{HOST}:")
    assert visit.ask("/api/stats", Authorization=None).status == 401
    assert visit.browse("/api/stats", Host="192.0.2.1").status == 200
    assert visit.browse("/api/stats", Host="evil.example").status == 403
    visit.program.terminate()
    _, err = outputs(visit.program)
    assert "0.0.0.0 is reached from other machines" in err
    assert visit.token not in err
