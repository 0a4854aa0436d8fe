from shmperf import call, track


@track
def leaf():
    pass


@track
def silent():
    leaf()


with call("root"):
    silent()
