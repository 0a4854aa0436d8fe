from shmperf.interceptors import get_global_interceptor_chain

parts = get_global_interceptor_chain().interceptors
context = {}
for number in range(3):
    args = (number,)
    for part in parts:
        context = part.before_execution("tool", args, {}, context)
    if number < 2:
        for part in reversed(parts):
            assert part.after_execution("tool", 1, context) == 1
    else:
        for part in parts:
            assert part.on_exception("tool", ValueError("no"), context) is False
