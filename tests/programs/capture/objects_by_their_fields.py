"""Objects with secrets as parameters, in both modes, and a query that must not run."""

import dataclasses

import shmperf


@dataclasses.dataclass
class Account:
    user: str
    password: str


class QuerySet:
    def __repr__(self):
        raise SystemExit("the query ran")


BASE = type("QuerySet", (QuerySet,), {"__module__": "django.db.models.query"})
OWN = type("QuerySet", (BASE,), {"__module__": "shop"})


@shmperf.track
def login(account, rows, headers=(), fail=False):
    if fail:
        raise ValueError(f"refused for password={account.password}")


account = Account("ann", "hunter2")
headers = [("Authorization", "Bearer hunter2hunter2"), (b"x-api-key", b"hunter2")]
login(account, OWN(), headers)
shmperf.set_optimization_mode(True)
login(account, OWN(), headers)
try:
    login(account, OWN(), headers, fail=True)
except ValueError:
    pass
