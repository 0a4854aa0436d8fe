import asyncio

from shmperf import track_class


class Before:
    pass


@track_class
class Tool:
    def execute(self, x):
        raise NotImplementedError


class Named(Tool):
    def __init__(self, name):
        self.name = name

    def execute(self, x):
        return x + 1


class Deeper(Named):
    def execute(self, x):
        return super().execute(x) * 2


class Waits(Tool):
    async def execute(self, x):
        return x


class Inherits(Named):
    pass


@track_class(method="run")
class Other:
    def run(self):
        return 5


assert Named("a").execute(1) == 2
assert Deeper("b").execute(1) == 4
assert asyncio.run(Waits().execute(3)) == 3
assert Inherits("c").execute(1) == 2
assert Other().run() == 5
