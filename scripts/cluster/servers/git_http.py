"""Git over HTTP: lighttpd with `git http-backend`, /git/private/ behind a password."""

from __future__ import annotations

from collections.abc import Sequence

from ..http import status_of
from ..secrets_file import htpasswd_line, password
from .server import Server


class GitHttp(Server):
    """The Git server for HTTP."""

    name = "git-http"
    username = "builder"

    @property
    def address(self) -> str:
        """Return the server's URL, without the path."""
        return f"http://127.0.0.1:{self.ports.get('git-http')}"

    @property
    def password(self) -> str:
        """Return the password of `/git/private/`."""
        return password(self.state.secrets, "git")

    def url(self, name: str, *, private: bool) -> str:
        """Return a repository's URL, without credentials."""
        return f"{self.address}/git/{'private' if private else 'public'}/{name}.git"

    def prepare(self) -> Sequence[str]:
        """Write configuration and password file; return the command line."""
        users = self.state.config / "git.htpasswd"
        if not users.exists():
            users = self.write_config("git.htpasswd", htpasswd_line(self.username, self.password))
        uploads = self.data_directory()
        repositories = self.state.data("git")
        repositories.mkdir(parents=True, exist_ok=True)
        self.account.own(repositories)
        config = self.render(
            "git-http.conf",
            port=self.ports.get("git-http"),
            lfs_port=self.ports.get("git-lfs"),
            repositories=repositories,
            uploads=uploads,
            htpasswd=users,
        )
        return ["lighttpd", "-D", "-f", str(config)]

    def ready(self) -> bool:
        """The private tree asks for the password."""
        return status_of(f"{self.address}/git/private/") == 401
