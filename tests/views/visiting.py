"""A browser's hand of a test's own: a server in its process, and requests to it, byte by byte."""

from __future__ import annotations

import json
import socket
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.support import DEADLINE_S, Place

HOST = "127.0.0.1"


class Answer(NamedTuple):
    """What came back; header names in small letters."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The content, which is JSON."""
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.content)

    @property
    def error(self) -> str:
        """The one line of an error."""
        text: str = self.json["error"]
        assert "\n" not in text
        return text


class Visit:
    """A server of *place* and what somebody asks of it."""

    def __init__(self, place: Place, *arguments: str, **environ: str) -> None:
        listen = () if "--listen" in arguments else ("--listen", f"{HOST}:0")
        self.program = place.start_module("serve", "--json", *listen, *arguments, **environ)
        assert self.program.stdout is not None
        told = self.program.stdout.readline()
        assert told, self.program.communicate(timeout=DEADLINE_S)
        self.url: str = json.loads(told)["url"]
        parts = urlsplit(self.url)
        self.port = int(parts.port or 0)
        self.token = parts.query.removeprefix("token=")
        self.cookie = ""

    @property
    def origin(self) -> str:
        """The page's own."""
        return f"http://{HOST}:{self.port}"

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str | None
    ) -> Answer:
        """
        One request; ``Sec_Fetch_Site`` is that header, None leaves one out that is there without.

        As a program asks: with the token as bearer.
        """
        shown: dict[str, str | None] = {"Authorization": f"Bearer {self.token}"}
        shown |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            shown.setdefault("Content-Type", "application/json")
        connection = HTTPConnection(HOST, self.port, timeout=DEADLINE_S)
        try:
            connection.putrequest(method, path, skip_host="Host" in shown)
            for name, value in shown.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def enter(self) -> str:
        """Open the printed address as a browser does; the cookie that it is given."""
        answer = self.ask(f"/?token={self.token}", Authorization=None)
        assert answer.status == 303
        assert answer.headers["location"] == "/"
        return answer.headers["set-cookie"].partition(";")[0]

    def browse(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        """One request as the page makes it: with its cookie, and an origin where it changes."""
        self.cookie = self.cookie or self.enter()
        given = {"Cookie": self.cookie, "Sec_Fetch_Site": "same-origin"} | headers
        if method == "POST":
            given.setdefault("Origin", self.origin)
        return self.ask(path, method, body, Authorization=None, **given)

    def connect(self) -> socket.socket:
        """A connection of whoever comes."""
        return socket.create_connection((HOST, self.port), timeout=DEADLINE_S)

    def follow(self, last_id: str | None = None) -> Follower:
        """One who follows the looks."""
        return Follower(self, last_id)


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    data: Any


class Follower:
    """A stream of events, read one by one."""

    def __init__(self, visit: Visit, last_id: str | None = None) -> None:
        self._connection = HTTPConnection(HOST, visit.port, timeout=DEADLINE_S)
        headers = {"Authorization": f"Bearer {visit.token}"}
        if last_id is not None:
            headers["Last-Event-ID"] = last_id
        self._connection.request("GET", "/api/events", headers=headers)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.kind = self._answer.headers["content-type"]

    def next(self) -> Event:
        """The next event."""
        fields: dict[str, str] = {}
        while True:
            line = self._answer.readline()
            assert line, "the stream has ended"
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                fields[name] = value
            elif "data" in fields:
                assert fields["event"] == "look"
                return Event(fields["id"], json.loads(fields["data"]))

    def until(self, condition: Any) -> Event:
        """The first event from here on that has it."""
        while not condition((event := self.next()).data):
            pass
        return event

    def ends(self) -> bool:
        """True once the server has ended it."""
        while self._answer.readline():
            pass
        self.close()
        return True

    def close(self) -> None:
        """Leave."""
        self._answer.close()
        self._connection.close()
