"""What the exit codes of `nbs` say, for scripts."""

OK = 0
BUILD_FAILED = 1  # the build ended FAILED or CANCELLED, or could not be killed any more
INVALID = 2  # wrong options, or a request that the service refuses
UNAVAILABLE = 3  # no controller found, or it or something it needs is down
UNKNOWN = 4  # there is no such build
INTERRUPTED = 130
