"""Runs inside a task: tries what an attacker who holds the task would, writes what came of it.

Standard library only; it reads local/plan.json and writes local/attempts.json, HTTP status codes
by attempt.
"""

import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

LOCAL, SECRETS = Path(os.environ["NOMAD_TASK_DIR"]), Path(os.environ["NOMAD_SECRETS_DIR"])


def call(url, headers=None, document=None):
    """The status and JSON answer of a request."""
    data = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data=data, headers=headers or {})
    trust = urllib.request.HTTPSHandler(
        context=ssl.create_default_context(cafile=os.environ["NBS_VAULT_CACERT"])
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, None


def task_api(path, token):
    """The status of a request to Nomad through the socket that every task has."""
    connection = http.client.HTTPConnection("task")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    connection.sock.connect(str(SECRETS / "api.sock"))
    connection.request("GET", path, headers={"X-Nomad-Token": token} if token else {})
    return connection.getresponse().status


def main():
    plan = json.loads((LOCAL / "plan.json").read_text())
    files = [SECRETS / name for name in ("nomad_vault.jwt", "nomad_token")]
    jwt = next((file.read_text() for file in files if file.exists()), "")
    found = {
        "tokens in the environment": sorted(
            name for name in os.environ if name.endswith(("_TOKEN", "_JWT", "_PASSWORD"))
        ),
        "identities": sorted(path.name for path in SECRETS.glob("*.jwt")),
        "nomad_token file": (SECRETS / "nomad_token").exists(),
        "task socket": {
            f"{path} {'with' if token else 'without'} identity": task_api(path, token)
            for path in plan["nomad"]
            for token in {"", jwt}
        },
        "agent": {path: call(plan["agent"] + path)[0] for path in plan["nomad"]},
        "roles": {},
        "secrets": {},
    }
    for role in plan["roles"] if jwt else ():
        status, answer = call(
            f"{plan['vault']}/v1/auth/jwt-nomad/login", document={"role": role, "jwt": jwt}
        )
        found["roles"][role] = status
        if answer:
            token = {"X-Vault-Token": answer["auth"]["client_token"]}
            for path in plan["secrets"]:
                status, _ = call(f"{plan['vault']}/v1/{path}", token)
                found["secrets"][f"{role} {path}"] = status
    (LOCAL / "attempts.json").write_text(json.dumps(found))


main()
