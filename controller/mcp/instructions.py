"""What a client's model is told about the service before it calls anything."""

INSTRUCTIONS = """\
Builds a Git repository's Dockerfile into a container image, tests the image, and publishes it to \
a registry, on a Nomad cluster. Nothing is built on your side: push your changes first.

The loop: submitJob -> job_id. waitForJob(job_id), again with `after` = its `cursor` until `final` \
is true. SUCCEEDED: use `references` (best with the digest). FAILED: getFailure(job_id) tells why \
and what to do, in one short answer; mend, push, submitJob again. getLogs only for more detail \
(phase, search, tail).

Key facts:
- job_id names a build in every call. A build goes on by itself: closing the connection, or a \
restart of this service, stops nothing. killJob stops it.
- Give submitJob an idempotency_key: repeating the call after a lost answer returns the same build.
- A cursor is a position in the log: give it back as `after` to get only what is new.
- Status: PENDING, BUILDING, TESTING, PUBLISHING, then SUCCEEDED, FAILED or CANCELLED.
- Credentials are never sent: only their paths in Vault (git_credentials_path, \
registry_credentials_path).
- Not sure about ref, Dockerfile, credentials or size? checkJob first: it builds nothing.
- Tests (test.commands) run inside the built image, without network; nothing is published unless \
all succeed.
- An error answer is JSON with `error`, `problems` (by field), `retryable` and `next`: the call to \
make next.
"""
