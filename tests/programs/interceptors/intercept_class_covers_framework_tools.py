import asyncio

from shmperf.interceptors import intercept_class


class Tool:
    name = None

    def execute(self, text):
        raise NotImplementedError


class Early(Tool):
    def execute(self, text):
        return text + "!"


intercept_class(Tool)


class Late(Early):
    name = "late"

    def execute(self, text):
        return super().execute(text) + "?"


class Async(Tool):
    async def execute(self, text):
        return text


assert Early().execute("a") == "a!"
assert Late().execute("a") == "a!?"
assert asyncio.run(Async().execute(text="a")) == "a"
try:
    Tool().execute("a")
except NotImplementedError:
    pass


@intercept_class(method="run")
class Other:
    def run(self):
        return 1


class Child(Other):
    def run(self):
        return 2


assert (Other().run(), Child().run()) == (1, 2)
