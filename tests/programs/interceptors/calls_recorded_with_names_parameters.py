from shmperf.interceptors import intercept_tool_call


def fetch(url, *rest):
    return url


def search(query, top=3):
    return intercept_tool_call("fetch", fetch, (query, 1, 2))


class Tool:
    def execute(self, text):
        return text


intercept_tool_call("search", search, ("q",), {"top": 1})
intercept_tool_call("method", Tool().execute, ("t",))
intercept_tool_call("builtin", max, (1, 2))
