"""The closed list of reasons for which a build fails.

Every failure names exactly one. `fix_owner` says who can mend it: the `author` of the repository
or the request, the `operator` of the cluster, or nobody (`transient`: try again). `retryable` says
whether the same request, unchanged, may succeed. docs/reference.md lists them all, and says what
is none: a build that was cancelled, that waits for a place, or whose cache did not work.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One word for why a build failed, who mends it, and what to do next."""

    name: str
    fix_owner: str
    retryable: bool
    hint: str


_AUTHOR, _OPERATOR, _TRANSIENT = "author", "operator", "transient"

_ALL = (
    Reason(
        "InvalidRequest",
        _AUTHOR,
        False,
        "Correct the fields that the message names and submit again.",
    ),
    Reason(
        "GitRefNotFound",
        _AUTHOR,
        False,
        "Check git_ref: the branch, tag or commit must exist in the repository and be pushed.",
    ),
    Reason(
        "GitAuthenticationFailed",
        _AUTHOR,
        False,
        "Check git_credentials_path: the secret needs username and password, or ssh_key, with "
        "read access to this repository.",
    ),
    Reason(
        "GitHostKeyUnknown",
        _OPERATOR,
        False,
        "Add the server's public host key: field known_hosts of the Git secret, or the pack "
        "variable git_known_hosts.",
    ),
    Reason(
        "GitRepositoryNotFound",
        _AUTHOR,
        False,
        "Check repo_url; servers also answer 'not found' where a private repository was asked "
        "for without credentials.",
    ),
    Reason(
        "GitUnreachable",
        _TRANSIENT,
        True,
        "The Git server could not be reached or did not answer in time; try again, then check "
        "the network from the build node.",
    ),
    Reason(
        "GitServerNotTrusted",
        _OPERATOR,
        False,
        "The build node does not trust the Git server's certificate: check its name and dates, and "
        "have its authority among those that the node's system (driver docker: the image) knows.",
    ),
    Reason(
        "GitHostNotAllowed",
        _AUTHOR,
        False,
        "Fetch the repository and its submodules from a Git server that the operator allows, or "
        "ask for an entry in the pack variable git_hosts.",
    ),
    Reason(
        "GitLfsObjectMissing",
        _AUTHOR,
        False,
        "The repository's server lacks content that Git LFS keeps, or has no LFS: push it with git "
        "lfs push --all, and make sure that lfs.url of .lfsconfig is the repository's own.",
    ),
    Reason("GitFetchFailed", _AUTHOR, False, "Read the log: Git's own message is in it."),
    Reason(
        "PatchRejected",
        _AUTHOR,
        False,
        "The patch does not fit the commit, or leads out of the checkout: make it anew with git "
        "diff --binary against exactly the commit of git_ref.",
    ),
    Reason(
        "DockerfileNotFound",
        _AUTHOR,
        False,
        "Check dockerfile_path (relative to the repository's root) and that it is committed.",
    ),
    Reason("DockerfileInvalid", _AUTHOR, False, "Correct the named line of the Dockerfile."),
    Reason(
        "DockerfileRefused",
        _AUTHOR,
        False,
        "FROM and --from may name stages and registry images only, and files must lie inside "
        "the build context.",
    ),
    Reason(
        "BaseImageNotFound",
        _AUTHOR,
        False,
        "Check the image name and tag in FROM or --from; an image without a registry host is "
        "looked up where the node's registries.conf says.",
    ),
    Reason(
        "BaseImageDenied",
        _AUTHOR,
        False,
        "The image does not exist, or needs a credential: registries say the same of both. Check "
        "its name in FROM or --from; of a private one, ask the operators for the pull credential "
        "(pack variable pull_credentials_path).",
    ),
    Reason(
        "BaseImageAuthenticationFailed",
        _OPERATOR,
        False,
        "The registry refuses to let this image be pulled: check the pull credential (pack "
        "variable pull_credentials_path), and the image's name: some registries say this of "
        "images that do not exist.",
    ),
    Reason(
        "BaseImageUnavailable",
        _TRANSIENT,
        True,
        "The base image's registry could not be reached or failed; try again.",
    ),
    Reason(
        "RunFailed",
        _AUTHOR,
        False,
        "The command in this RUN step exited with an error; the log tail shows its output.",
    ),
    Reason(
        "CopyFailed",
        _AUTHOR,
        False,
        "Check what this COPY or ADD names: a path of the build context (.dockerignore, "
        "context_path) or of the stage that --from names, a URL, an owner.",
    ),
    Reason(
        "DownloadFailed",
        _TRANSIENT,
        True,
        "The server of the URL in this ADD could not be reached or failed; try again, then check "
        "the URL. Steps have the public network only.",
    ),
    Reason(
        "PlatformUnavailable",
        _OPERATOR,
        False,
        "The node has no emulator for programs of this platform: choose a build class of that "
        "architecture, or prepare its nodes with scripts/node-setup --with-emulation.",
    ),
    Reason(
        "UserNamespaceUnavailable",
        _OPERATOR,
        False,
        "The node does not let the build user make user namespaces: scripts/node-setup --check "
        "names what is in the way (max_user_namespaces, subordinate ids, seccomp, AppArmor).",
    ),
    Reason(
        "StorageUnavailable",
        _OPERATOR,
        False,
        "The node's storage_dir cannot hold layers: it needs ext4 or xfs, not overlay, and native "
        "overlay mounts in user namespaces (or fuse-overlayfs and /dev/fuse).",
    ),
    Reason("BuildFailed", _AUTHOR, False, "Read the log around the named step."),
    Reason(
        "BuildTimeout",
        _AUTHOR,
        False,
        "Raise build_timeout, or make the step that ran out of time faster.",
    ),
    Reason(
        "TestTimeout",
        _AUTHOR,
        False,
        "Raise test_timeout, or find out why the test command does not end.",
    ),
    Reason(
        "TestFailed",
        _AUTHOR,
        False,
        "The test command exited with an error; the log tail shows its output.",
    ),
    Reason(
        "TestCommandNotFound",
        _AUTHOR,
        False,
        "The image has no such program, or lacks the interpreter that it names. A string is run "
        "with the image's /bin/sh; for an image without a shell, write the command as a list of "
        "words.",
    ),
    Reason(
        "OutOfMemory",
        _AUTHOR,
        False,
        "The build used more memory than its class reserves: choose a larger class with "
        "resource_limits.memory, or use less.",
    ),
    Reason(
        "OutOfDisk",
        _OPERATOR,
        True,
        "The node ran out of disk space: run image-prune, or give builds more disk. Of a build "
        "that fills it by itself, the hint says so.",
    ),
    Reason(
        "SecretNotFound",
        _AUTHOR,
        False,
        "There is no secret at this Vault path: check the path in the request. Of a RUN step: it "
        "requires a secret that build_secrets does not give.",
    ),
    Reason(
        "SecretRefused",
        _OPERATOR,
        False,
        "Vault does not let this phase read the path: check the path, or the policies of the "
        "phase's Vault role.",
    ),
    Reason(
        "SecretIncomplete",
        _AUTHOR,
        False,
        "The secret exists but lacks the fields that the message names.",
    ),
    Reason(
        "VaultUnavailable",
        _TRANSIENT,
        True,
        "Vault could not be reached, is sealed, or refused the workload's login: try again, "
        "then check Vault and the auth mount.",
    ),
    Reason(
        "RegistryAuthenticationFailed",
        _AUTHOR,
        False,
        "The registry refused the push: check registry_credentials_path and that the account "
        "may push to this repository.",
    ),
    Reason(
        "RegistryUnavailable",
        _TRANSIENT,
        True,
        "The registry could not be reached or failed; try again (publishing rebuilds nothing "
        "that is in the layer cache).",
    ),
    Reason(
        "RegistryNotTrusted",
        _OPERATOR,
        False,
        "The node does not trust the registry's certificate, or the registry has no TLS: give the "
        "node its certificate authority, or add the registry to the pack variable "
        "insecure_registries.",
    ),
    Reason(
        "ImageGone",
        _AUTHOR,
        False,
        "The image that was to be tested or published again was cleaned up: submitJob builds it "
        "anew.",
    ),
    Reason(
        "TagProtected",
        _AUTHOR,
        False,
        "The image holds a patch. Push the change, build its commit and promote that image, or use "
        "a tag that the owner's protected_tags do not name.",
    ),
    Reason(
        "CommitsDiffer",
        _AUTHOR,
        True,
        "Each architecture was built from another commit of the branch: name a full commit in "
        "git_ref.",
    ),
    Reason("PublishFailed", _OPERATOR, False, "Read the publish log for the registry's answer."),
    Reason(
        "DigestMismatch",
        _OPERATOR,
        True,
        "The registry serves another manifest than the one it was given: what stands before it "
        "(a cache, a mirror) may be stale. Of rerunPhase: the kept image's tag was moved.",
    ),
    Reason(
        "NetworkIsolationUnavailable",
        _OPERATOR,
        False,
        "This node cannot give a build the network isolation asked for: run scripts/node-setup "
        "on it (slirp4netns, /dev/net/tun).",
    ),
    Reason(
        "NodeNotPrepared",
        _OPERATOR,
        False,
        "This node lacks something that a build needs: run scripts/node-setup on it.",
    ),
    Reason(
        "TamperedResult",
        _AUTHOR,
        False,
        "A file that an earlier phase left is not what it should be; nothing was published.",
    ),
    Reason("Killed", _TRANSIENT, True, "The build was stopped before it ended."),
    Reason("NodeDrained", _TRANSIENT, True, "The node was drained; submit the build again."),
    Reason("NodeLost", _TRANSIENT, True, "The node was lost; Nomad places the build again."),
    Reason(
        "TaskStartFailed",
        _OPERATOR,
        False,
        "Nomad could not start the task: its event says why (user, driver, or the runner not "
        "installed on this node).",
    ),
    Reason(
        "InternalError",
        _OPERATOR,
        True,
        "The runner met a condition that it does not know: please report it with the log.",
    ),
)

REASONS: dict[str, Reason] = {reason.name: reason for reason in _ALL}
