"""A server for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import needs

from .broker import Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A server that is up, without a stream."""
    found = Broker(tmp_path / "broker")
    try:
        yield found.start()
    finally:
        found.close()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real S3 server of moto's with a bucket, and keys in the environment; its address."""
    needs("pyarrow")
    needs("moto")
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import S3FileSystem

    patch = pytest.MonkeyPatch()
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    made = S3FileSystem(
        endpoint_override=f"{host}:{port}",
        scheme="http",
        region="eu-west-1",
        allow_bucket_creation=True,
    )
    made.create_dir("bucket")
    try:
        yield f"{host}:{port}"
    finally:
        server.stop()
        patch.undo()
