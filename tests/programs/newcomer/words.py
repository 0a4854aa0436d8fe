"""A toy format."""

__all__ = ["export"]


def export(calls):
    for call in calls:
        yield f"{call.tool} took {call.duration_s:g} s with {call.params}\n".encode()
