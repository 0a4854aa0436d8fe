from shmperf import track


@track(params=False)
def nothing(a):
    return a


@track(params=["b"])
def chosen(a, b=2, c=3):
    return a


@track(name="own", params=lambda a: {"size": len(a)})
def sized(a):
    return a


@track(params=lambda a: 1 / 0)
def broken(a):
    return a


assert [nothing(1), chosen(1, b=5), chosen(1), sized("ab"), broken(7)] == [1, 1, 1, "ab", 7]
