import functools

import click
from click.testing import CliRunner

from shmperf import track


class Tool:
    def method(self):
        pass


@track
@click.command()
@click.option("--count", default=1)
def command(count):
    """Do it."""
    click.echo(str(count))


assert type(command) is click.Command
assert CliRunner().invoke(command, ["--count", "3"]).output == "3\n"
command(["--count", "4"], standalone_mode=False)


class Flow:
    def __call__(self):
        pass


Flow.__module__ = "prefect.flows"
wrong = (
    5,
    object(),
    int,
    Tool,
    property(Tool.method),
    functools.cached_property(Tool.method),
    functools.singledispatchmethod(Tool.method),
    Tool(),
    click.Group(),
    Flow(),
)
for found in wrong:
    try:
        track(found)
    except TypeError as error:
        print(error)
