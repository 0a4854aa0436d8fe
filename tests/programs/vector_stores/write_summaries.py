import importlib
import sys

adapter, url, number, names = sys.argv[1:5]
store = importlib.import_module(adapter).open_store(url)
names = names.split(",")
# The two writers take the names in opposite order.
if number == "1":
    names.reverse()
for count in range(30):
    missing = store.update_perf({name: {"writer": number, "call_count": count} for name in names})
    assert missing == 0, missing
store.close()
