import shmperf


@shmperf.track
def fails(text):
    raise ValueError("no " + text)


@shmperf.track("grüße → ünïcode")
def greets(text):
    return text


@shmperf.track("a_tool_whose_name_is_longer_than_a_narrow_terminal_is_wide")
def outer(text):
    greets(text)
    try:
        fails(text)
    except ValueError:
        pass


for n in range(3):
    outer("x" * 100)
