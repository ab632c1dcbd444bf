"""What the exit codes of `nbs` say, for scripts."""

OK = 0
BUILD_FAILED = 1  # the build or promotion failed, a check failed, or there was nothing to stop
INVALID = 2  # wrong options, or a request that the service refuses
UNAVAILABLE = 3  # no controller found, it or something it needs is down, or it is full
UNKNOWN = 4  # there is no such build
REFUSED = 5  # NBS_TOKEN is missing, not valid, or lacks a scope
TIMED_OUT = 6  # `nbs wait --timeout` is over and the build is not
INTERRUPTED = 130
