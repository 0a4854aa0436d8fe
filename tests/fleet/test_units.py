"""The files that run a fleet: they say what the commands understand, and hold no secret."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shmperf.commands.main import _parse
from tests.support import missing

CONFIG = Path(__file__).parents[2] / "config"
UNITS = sorted((CONFIG / "fleet").glob("*.service"))


def _commands() -> list[list[str]]:
    """What units and the compose file execute of shmperf."""
    found = []
    for unit in UNITS:
        line = re.search(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        assert line is not None
        found.append(shlex.split(line[1])[1:])
    services = _services()
    found += [one["command"][1:] for one in services.values() if one["command"][0] == "shmperf"]
    return found


def _services() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((CONFIG / "fleet/compose.yaml").read_text())
    services: dict[str, Any] = document["services"]
    return services


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_commands_are_understood(command: list[str]) -> None:
    """Every flag is one that there is."""
    assert _parse(command)


def test_three_servers_find_each_other() -> None:
    """
    By their names, with the configuration beside, as `cluster` starts it; passwords are asked for,
    none stands there, and none becomes an argument, which anybody may read.
    """
    services = _services()
    servers = {name for name, one in services.items() if one.get("image", "").startswith("nats:")}
    assert len(servers) == 3
    for name in servers:
        one = services[name]
        assert one["environment"]["NATS_NAME"] == name
        routes = one["environment"]["NATS_ROUTES"]
        assert (routes[0], routes[-1]) == ("[", "]")
        assert [route.rpartition("@")[2] for route in routes[1:-1].split(", ")] == [
            f"{other}:6222" for other in sorted(servers)
        ]
        assert one["command"] == ["-c", "/etc/nats/server.conf"]
        assert "../nats:/etc/nats:ro" in one["volumes"]
    variables = set(re.findall(r"\$(NATS_\w+)", (CONFIG / "nats/server.conf").read_text()))
    assert variables <= set(services["a"]["environment"])
    assert not [one for one in services.values() if "PASSWORD" in str(one.get("command"))]
    text = (CONFIG / "fleet/compose.yaml").read_text()
    assert set(re.findall(r":([^:@/\s\"]+)@", text)) <= {
        "${NATS_CLUSTER_PASSWORD}",
        "?}",
        "${NATS_COLLECT_PASSWORD}",
        "…",
    }


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_are_units(unit: Path, tmp_path: Path) -> None:
    """As systemd reads them."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd is not installed: apt-get install systemd")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/shmperf/bin/shmperf", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr
