"""Dockerfiles of the forms that public repositories hold, with the files they need.

`@BASE@` stands for the busybox base image, `@REGISTRY@` for the registry's host, `@ONBUILD-BASE@`
and `@USER-BASE@` for the images that `BASES` make. Each case has a folder of its own in one
repository; its files' paths begin there, a path that begins with `/` at the repository's root. A
name ending in `!` is made executable.
"""

from __future__ import annotations

import io
import random
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Link:
    """A symbolic link in the repository."""

    target: str


Content = str | bytes | Link


@dataclass(frozen=True)
class Case:
    """One Dockerfile, its files, and what the request says besides.

    `fails` is a part of what Buildah says where it must refuse; `image` is checked in the image: a
    path and the file's content. `layers`: the plain build makes them too. `more` are
    paths that plain Buildah lacks. `plain` is what to write for plain Buildah, where it does not
    build what `docker build` does.
    """

    name: str
    dockerfile: str | bytes
    files: Mapping[str, Content] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    image: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    fails: str = ""
    layers: bool = False
    more: tuple[str, ...] = ()
    plain: str = ""

    @property
    def docker_format(self) -> bool:
        """Whether the image's configuration has what OCI's has no room for."""
        return bool(self.config)

    @property
    def fields(self) -> dict[str, Any]:
        """The request's fields for this case."""
        paths = {"context_path": self.name, "dockerfile_path": f"{self.name}/Dockerfile"}
        return paths | dict(self.request)

    @property
    def plain_path(self) -> str:
        """The Dockerfile for plain Buildah, in the repository."""
        path: str = self.fields["dockerfile_path"]
        return f"{path}.plain" if self.plain else path

    def write(self, root: Path, words: Mapping[str, str]) -> None:
        """Write the case's files below the repository's root."""
        files: dict[str, Content] = {self.plain_path: self.plain} if self.plain else {}
        files[self.fields["dockerfile_path"]] = self.dockerfile
        for name, content in self.files.items():
            files[name[1:] if name.startswith("/") else f"{self.name}/{name}"] = content
        for name, content in files.items():
            path = root / name.removesuffix("!")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                path.symlink_to(content.target)
                continue
            data = content.encode() if isinstance(content, str) else content
            for word, value in words.items():
                data = data.replace(word.encode(), value.encode())
            path.write_bytes(data)
            path.chmod(0o755 if name.endswith("!") else 0o644)


def archive(compression: str = "") -> bytes:
    """A tar archive with a file, an executable, a link and owners of its own."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=f"w:{compression}") as tar:
        for name, mode, uid, text in (
            ("app/", 0o755, 0, ""),
            ("app/read.me", 0o640, 1000, "read me\n"),
            ("app/run", 0o755, 0, "#!/bin/sh\necho run\n"),
        ):
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode, entry.uid, entry.gid, entry.mtime = mode, uid, uid, 1_600_000_000
            entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        link = tarfile.TarInfo("app/link")
        link.type, link.linkname = tarfile.SYMTYPE, "run"
        tar.addfile(link)
    return target.getvalue()


BASES = (
    Case(
        "onbuild-base",
        """\
FROM @BASE@
WORKDIR /app
ONBUILD COPY . /app/
ONBUILD RUN echo triggered > /triggered && ls /app > /listing
ONBUILD ENV TRIGGERED=yes
CMD ["cat", "/triggered"]
""",
        config={
            "OnBuild": [
                "COPY . /app/",
                "RUN echo triggered > /triggered && ls /app > /listing",
                "ENV TRIGGERED=yes",
            ]
        },
        more=("app",),
    ),
    Case("user-base", "FROM @BASE@\nRUN mkdir -m 777 /shared\nUSER 5:6\n"),
)
"""Built first, because others begin with them."""

CASES = (
    # Stages
    Case(
        "multi-stage",
        """\
FROM @BASE@ AS build
WORKDIR /src
COPY main.txt .
RUN mkdir /out && tr a-z A-Z < main.txt > /out/main && chmod 750 /out/main

FROM @BASE@ as Assets
RUN mkdir -p /assets/css && echo body > /assets/css/main.css && ln -s css/main.css /assets/main

FROM @BASE@
COPY --from=build /out/main /usr/local/bin/main
COPY --from=Assets /assets /srv/assets
COPY --from=0 /src/main.txt /copy/
COPY --from=1 /assets/main /copy/
ENTRYPOINT ["/usr/local/bin/main"]
""",
        {"main.txt": "hello\n"},
        image={"usr/local/bin/main": "HELLO\n"},
    ),
    Case(
        "target",
        """\
FROM @BASE@ AS base
RUN echo base > /base
FROM base AS test
RUN echo test > /test
CMD ["cat", "/test"]
FROM base AS release
RUN exit 9
""",
        request={"target": "test"},
        image={"test": "test\n"},
    ),
    Case(
        "target-number",
        "FROM @BASE@\nRUN echo zero > /zero\nFROM @BASE@\nRUN echo one > /one\n"
        "FROM @BASE@\nRUN exit 9\n",
        request={"target": "1"},
        image={"one": "one\n"},
    ),
    Case(
        "unused-stages",
        """\
FROM @REGISTRY@/base/does-not-exist:1 AS documentation
RUN exit 1
FROM @BASE@ AS broken
RUN exit 2
FROM ${NONE} AS nameless
FROM --platform=vax @BASE@ AS foreign
COPY --from=99 /no /stage
FROM @BASE@ AS used
RUN echo used > /used
FROM @BASE@
COPY --from=used /used /used
""",
        image={"used": "used\n"},
    ),
    Case(
        "deep-stages",
        "FROM @BASE@ AS s0\nRUN echo 0 > /n\n"
        + "".join(
            f"FROM {'s' + str(n - 1) if n % 2 else '@BASE@'} AS s{n}\n"
            f"COPY --from=s{n - 1} /n /n\nRUN echo {n} >> /n\n"
            for n in range(1, 10)
        ),
        image={"n": "".join(f"{n}\n" for n in range(10))},
    ),
    Case(
        "stage-inherits",
        """\
FROM @BASE@ AS parent
ARG VERSION=1
ENV VERSION=$VERSION PATH=/opt/bin:$PATH
USER 1000
WORKDIR /home/app
LABEL stage=parent
EXPOSE 80
FROM parent
EXPOSE 81/udp
ENV MORE=${VERSION}.1
WORKDIR sub
""",
        more=("home", "home/app", "home/app/sub"),
    ),
    Case(
        "scratch",
        """\
FROM @BASE@ AS build
RUN echo 'app:x:65532:' > /group
FROM scratch
COPY --from=build /bin/busybox /app
COPY --from=build /group /etc/group
COPY --chown=65532:65532 data /data
USER 65532:65532
ENTRYPOINT ["/app", "true"]
""",
        {"data/x": "x"},
    ),
    Case(
        "copy-from-image",
        "FROM @BASE@\nCOPY --from=@BASE@ /bin/busybox /copied\n"
        "RUN --mount=type=bind,from=@BASE@,source=/etc,target=/mnt cp /mnt/passwd /passwd\n",
    ),
    Case(
        "stage-names-of-any-case",
        """\
FROM @BASE@ AS Builder
RUN echo built > /built
FROM builder AS TEST
RUN --mount=type=bind,from=BUILDER,target=/mnt \\
    cp /mnt/built /tested
FROM @BASE@ AS release
COPY --from="test" \\
  /tested /tested
FROM @BASE@
RUN exit 9
""",
        request={"target": "Release"},
        image={"tested": "built\n"},
        plain="""\
FROM @BASE@ AS builder
RUN echo built > /built
FROM builder AS test
RUN --mount=type=bind,from=builder,target=/mnt cp /mnt/built /tested
FROM @BASE@ AS Release
COPY --from=test /tested /tested
""",
    ),
    Case(
        "names-that-are-none",
        """\
FROM @BASE@
# see COPY --from=oci:/x
COPY <<EOF /app.toml
from = "oci:xyz"
FROM dir:/x
EOF
RUN echo one \\
    # --from=containers-storage:x
    from=dir:/y > /said
RUN ["touch", "/json"] <<EOF
LABEL from="oci:/x"
""",
        image={"said": "one from=dir:/y\n", "app.toml": 'from = "oci:xyz"\nFROM dir:/x\n'},
    ),
    # Arguments and environment
    Case(
        "names-from-variables",
        f"""\
FROM @BASE@ AS parent
ARG IMAGE=@BASE@
ENV OF=from=@BASE@
FROM parent
ARG LONG={"x" * 300}.gz
ARG STEM=${{LONG%.*}} SHORT=${{LONG%.gz}}
COPY --from=${{IMAGE}} /bin/busybox /copied
RUN --mount=from=$IMAGE,target=/a --mount='type=bind,"from=@BASE@",target=/b' \\
    --mount=type=bind,$OF,target=/c ls /a/bin/sh /b/bin/sh /c/bin/sh > /seen
RUN echo "${{#STEM}} ${{#SHORT}}" > /lengths
""",
        image={"seen": "/a/bin/sh\n/b/bin/sh\n/c/bin/sh\n", "lengths": "300 300\n"},
    ),
    Case(
        "copy-from-environment",
        "FROM @BASE@\nENV TAG=debian\nCOPY --from=@REGISTRY@/base/busybox:$TAG /bin/sh /x\n",
        fails="busybox:$TAG /bin/sh",
    ),
    Case(
        "platform-names",
        """\
FROM --platform=amd64 @BASE@ AS one
RUN echo one > /one
FROM --platform=linux/x86_64 @BASE@ AS two
COPY --from=one /one /two
FROM --platform=x86-64 @BASE@ AS three
COPY --from=two /two /three
FROM --platform=local @BASE@
COPY --from=three /three /four
""",
        image={"four": "one\n"},
    ),
    Case(
        "arg-before-from",
        """\
ARG REGISTRY=@REGISTRY@
ARG IMAGE="base/busybox" TAG=wrong
ARG VARIANT
FROM ${REGISTRY}/${IMAGE}:${TAG}${VARIANT:+-$VARIANT}
ARG TAG
ARG REGISTRY
RUN echo "$TAG:$IMAGE" > /args
""",
        request={"build_args": {"TAG": "debian"}},
        image={"args": "debian:\n"},
    ),
    Case(
        "arg-substitution-in-from",
        """\
ARG FULL=@BASE@.tar.gz
ARG NONE
ARG CHOSEN=${NONE:-${FULL%.tar.*}}
FROM ${CHOSEN} AS first
FROM ${NONE:-first}
RUN echo ok > /ok
""",
        image={"ok": "ok\n"},
    ),
    Case(
        "arg-platform",
        """\
FROM --platform=$BUILDPLATFORM @BASE@ AS base-amd64
RUN echo amd64 > /arch
FROM --platform=linux/amd64 @BASE@ AS base-arm64
RUN echo arm64 > /arch
FROM base-${TARGETARCH}
ARG TARGETOS TARGETARCH TARGETPLATFORM
RUN echo "$TARGETOS/$TARGETARCH $TARGETPLATFORM" > /platform
""",
    ),
    Case(
        "arg-scopes",
        """\
ARG GLOBAL=global
FROM @BASE@
ARG ONE=1
ARG TWO="two words" THREE='three $ONE'
ARG FOUR=${ONE}4 FIVE
ARG GLOBAL
ENV ONE=env
RUN echo "$ONE|$TWO|$THREE|$FOUR|$FIVE|$GLOBAL|$LATE" > /args
ARG LATE=late
RUN echo "$LATE" >> /args
FROM @BASE@
ARG TWO
COPY --from=0 /args /args
RUN echo "$TWO|$GLOBAL" >> /args
""",
        request={"build_args": {"FIVE": "five $x", "TWO": "given", "LATE": "given late"}},
    ),
    Case(
        "env-forms",
        r"""FROM @BASE@
ENV OLD form with   blanks
ENV A=1 B="x y" C=z\ w D='single $A' E="double $A" F=\$A
ENV G=${A}${B} H=$A$C PATH="/opt/bin:${PATH}"
ENV I="a \"quoted\" word" J=
ENV LONG=one \
    LONGER="two \
three"
RUN env | grep -v -e ^HOSTNAME -e ^HOME -e ^PWD -e ^SHLVL | sort > /env
""",
    ),
    Case(
        "env-substitution",
        r"""FROM @BASE@
ENV X=value EMPTY= FILE=archive.tar.gz P=a/b/a/c
ENV S1=${X:-d} S2=${EMPTY:-d} S3=${NONE:-d} S4=${X:+d} S5=${EMPTY:+d} S6=${NONE:-${X}}
ENV T1=${FILE%.*} T2=${FILE%%.*} T3=${FILE#*.} T4=${FILE##*.}
ENV U1=${P/a/x} U2=${P//a/x} U3=${X:?must}
WORKDIR /w/${X}/${NONE:-none}
COPY ${FILE%.tar.gz}.txt ${S1}-\$X.txt
LABEL label=${T1} "quoted key"="${X} y"
EXPOSE ${PORT:-8080}
USER ${UID:-12}:${GID:-34}
VOLUME /v/${X}
STOPSIGNAL ${SIG:-SIGINT}
""",
        {"archive.txt": "archive\n"},
    ),
    # Here-documents
    Case(
        "heredoc-run",
        """\
# syntax=docker/dockerfile:1
FROM @BASE@
ENV NAME=world
RUN <<EOF
set -e
echo "hello $NAME" > /one
FROM=not-an-instruction
EOF
RUN <<-END
	if true; then
		echo "tabs $NAME" > /two
	fi
	END
RUN cat <<'RAW' > /three && cat <<COOKED > /four
raw $NAME
RAW
cooked $NAME
COOKED
RUN <<A cat > /six
text of A
A
CMD ["cat", "/one"]
""",
        image={"one": "hello world\n", "two": "tabs world\n", "three": "raw $NAME\n"},
    ),
    Case(
        # A limit of Buildah's chroot isolation: it mounts nothing below /dev.
        "heredoc-interpreter",
        "FROM @BASE@\nRUN <<EOF\n#!/bin/busybox sh\necho one > /one\nEOF\n",
        fails="/dev/pipes/",
    ),
    Case(
        "heredoc-copy",
        """\
FROM @BASE@
ARG NAME=world
COPY <<one.txt <<"two.txt" plain.txt /files/
one $NAME
one.txt
two $NAME
two.txt
COPY --chmod=755 <<-'EOF' /bin/script
	#!/bin/sh
	echo "script $1"
	EOF
COPY --chown=7:8 --chmod=0600 <<EOF /etc/owned.conf
[section]
# not a comment of the Dockerfile
key = ${NAME:-none}
COPY nothing /at/all
EOF
ADD <<EOF /added
added
EOF
RUN /bin/script > /said
""",
        {"plain.txt": "plain\n"},
        image={"files/one.txt": "one world\n", "files/two.txt": "two $NAME\n"},
    ),
    Case(
        "heredoc-look-alikes",
        """\
FROM @BASE@
RUN echo $((1<<3)) > /shift; N=2; echo $((1<<N)) > /shift-n
RUN << SPACED cat > /spaced
text
SPACED
RUN echo "text <<EOF" > /quoted
RUN echo 'a<<EOF' >> /quoted
RUN ["/bin/sh", "-c", "cat <<EOF > /json\\ntext\\nEOF"]
LABEL after=yes
""",
        image={"shift": "8\n", "spaced": "text\n", "quoted": "text <<EOF\na<<EOF\n"},
    ),
    # Forms of instructions
    Case(
        "exec-and-shell-forms",
        """\
FROM @BASE@
RUN ["/bin/sh", "-c", "echo exec > /exec"]
RUN echo shell > /shell && [ -f /exec ]
RUN [ -f /shell ] && echo bracket > /bracket
RUN --mount=type=tmpfs,target=/t ["touch", "/touched"]
ENTRYPOINT exec top -b
CMD [ "a", "b c", "d\\"e" ]
""",
    ),
    Case("cmd-reset", 'FROM @BASE@\nCMD ["a"]\nENTRYPOINT ["/bin/echo"]\nCMD b "c d" $HOME\n'),
    Case("entrypoint-drops-cmd", 'FROM @BASE@\nENTRYPOINT ["/bin/echo"]\n'),
    Case(
        "shell",
        """\
FROM @BASE@
SHELL ["/bin/busybox", "sh", "-eu", "-c"]
RUN false || echo "$0" > /shell
CMD echo started
""",
        config={"Shell": ["/bin/busybox", "sh", "-eu", "-c"]},
    ),
    Case(
        "onbuild",
        "FROM @ONBUILD-BASE@\nRUN echo own > /own\n",
        {"app.txt": "app\n"},
        image={"triggered": "triggered\n", "listing": "Dockerfile\napp.txt\n"},
    ),
    Case(
        "onbuild-of-a-stage",
        """\
FROM @BASE@ AS parent
ONBUILD COPY --from=@USER-BASE@ /etc/passwd /triggered
FROM parent
RUN test -f /triggered && echo own > /own
""",
        config={"OnBuild": []},
    ),
    Case(
        "continuations",
        """\
# a comment
  # an indented one

FROM @BASE@

RUN echo one \\
    # inside a continued instruction
# and at the margin

    && echo two > /two \\\x20\x20
    && echo three \\
       > /three
ENV A=1 \\
    # comment
    B=2
RUN echo "# no comment" > /hash; echo a \\
# FROM nothing
  b > /ab
CMD ["sh", \\
     "-c", \\
     "true"]
""",
        image={"three": "three\n", "ab": "a b\n", "hash": "# no comment\n"},
    ),
    Case(
        "escape-directive",
        """\
# escape=`
FROM @BASE@
RUN echo one `
    > /one && echo 'back\\slash' > /two\\
COPY file.txt `
     c:\\\\folder\\\\
RUN echo after > /after
""",
        {"file.txt": "x"},
    ),
    Case(
        "syntax-then-escape",
        "# syntax=docker/dockerfile:1.7\n# escape=`\n# check=skip=all\n\nFROM @BASE@\n"
        "RUN echo one > /one\n",
    ),
    Case(
        "lower-case",
        "from @BASE@ as first\nrun echo one > /one\nFrom @BASE@\nCopy --from=first /one /one\n"
        'env A=1\nWorkDir /w\nlabel l=1\nuser 1\nexpose 1\ncmd ["x"]\n',
    ),
    Case(
        "crlf",
        "# syntax=docker/dockerfile:1\r\nFROM @BASE@\r\nENV A=1 \\\r\n    B=2\r\n\r\n"
        "RUN echo one > /one && \\\r\n    echo two > /two\r\nCOPY file.txt /\r\n"
        'COPY <<EOF /heredoc\r\nfirst\r\nsecond\r\nEOF\r\nCMD ["x"]\r\n',
        {"file.txt": "line\r\n"},
        image={"file.txt": "line\r\n", "one": "one\n"},
    ),
    Case("bom", b"\xef\xbb\xbfFROM @BASE@\nRUN echo one > /one\n", image={"one": "one\n"}),
    Case(
        "bom-escape-crlf",
        b"\xef\xbb\xbf# escape=`\r\nFROM @BASE@ as One\r\nRUN echo one > /one && `\r\n"
        b"    echo 'back\\' > /two\r\nFROM one\r\nCOPY --from=One `\r\n  /two /three\r\n",
        image={"one": "one\n", "three": "back\\\n"},
        plain="FROM @BASE@ AS one\nRUN echo one > /one && echo 'back\\' > /two\n"
        "FROM one\nCOPY --from=one /two /three\n",
    ),
    Case("no-final-newline", "FROM @BASE@\nRUN echo one > /one", image={"one": "one\n"}),
    Case(
        "odd-characters",
        b"FROM @BASE@\nMAINTAINER Jos\xe9 <jose@example.com>\n# vertical \x0b and form \x0c feed\n"
        b"RUN printf 'a\x0cb' > /feed; echo 'caf\xe9' > /latin\n"
        b"RUN echo 'next\xc2\x85line \xe2\x80\xa8caf\xc3\xa9' > /u\n",
    ),
    Case(
        "tabs-and-blanks",
        "\tFROM\t@BASE@\n   RUN\techo one   >   /one\nENV\tA=1\tB=2\nCOPY\ta.txt\tb.txt\t/d/\n"
        "WORKDIR   /w\t\n",
        {"a.txt": "a", "b.txt": "b"},
    ),
    # The context
    Case(
        "dockerignore",
        "FROM @BASE@\nCOPY . /ctx\nCOPY docs/keep.md /one/\n",
        {
            ".dockerignore": "# comment\n\n*.log\n!keep.log\n**/*.tmp\ndocs/\n!docs/keep.md\n"
            "/rooted\nnode_modules\n  spaced  \n?.bin\n[xy].dat\n!x.dat\ndeep/**/cache\n",
            "a.log": "a",
            "keep.log": "k",
            "sub/b.log": "b",
            "sub/c.tmp": "c",
            "d.tmp": "d",
            "docs/keep.md": "keep",
            "docs/drop.md": "drop",
            "rooted": "r",
            "sub/rooted": "r",
            "node_modules/x/y": "n",
            "sub/node_modules/z": "z",
            "spaced": "s",
            "1.bin": "1",
            "12.bin": "12",
            "x.dat": "x",
            "y.dat": "y",
            "deep/a/b/cache/f": "f",
            "deep/a/keep": "k",
        },
    ),
    Case(
        "dockerignore-everything-but",
        "FROM @BASE@\nCOPY . /ctx\n",
        {
            ".dockerignore": "*\n!src\n!go.mod\nsrc/**/*_test.go\n",
            "src/a.go": "a",
            "src/p/b.go": "b",
            "src/p/b_test.go": "t",
            "go.mod": "m",
            "other": "o",
        },
    ),
    Case(
        "dockerignore-of-its-own",
        "FROM @BASE@\nCOPY . /ctx\n",
        {
            ".dockerignore": "kept\n",
            "Dockerfile.dockerignore": "dropped\n",
            "kept": "k",
            "dropped": "d",
        },
        image={"ctx/kept": "k"},
    ),
    Case(
        "containerignore",
        "FROM @BASE@\nCOPY . /ctx\n",
        {".dockerignore": "a\n", ".containerignore": "b\n", "a": "a", "b": "b"},
    ),
    Case(
        "copy-options",
        """\
FROM @BASE@
RUN echo app:x:500:500::/:/bin/sh >> /etc/passwd && echo app:x:500: >> /etc/group
COPY --chmod=0750 --chown=app:app a.txt /o/a.txt
COPY --chown=app dir /o/dir
COPY --chown=12:34 --chmod=4711 a.txt /o/special
COPY --link a.txt /linked/a.txt
COPY --parents dir/./sub/*.txt dir/x.md /parents/
COPY --exclude=*.md --exclude=**/skip.txt dir /excluded/
COPY --chown=500 dir/sub /new/deep/folder/
""",
        {
            "a.txt": "a",
            "dir/x.md": "x",
            "dir/y.txt": "y",
            "dir/sub/z.txt": "z",
            "dir/sub/skip.txt": "s",
            "dir/run!": "#!/bin/sh\n",
        },
    ),
    Case(
        "copy-globs",
        """\
FROM @BASE@
COPY *.txt /g/
COPY dir*/f?[ab].md /g/md/
COPY ["with blank.txt", "second blank.txt", "/b l a n k/"]
COPY "quoted.txt" /q/
COPY package.json yarn.lock* /app/
COPY dir1 dir2 /merged/
COPY ./dir1/ relative/
COPY /dir1/../dir2/./fxa.md /up
COPY . .
""",
        {
            "a.txt": "a",
            "b.txt": "b",
            "with blank.txt": "w",
            "second blank.txt": "s",
            "quoted.txt": "q",
            "package.json": "{}",
            "dir1/fxa.md": "1",
            "dir1/fxc.md": "2",
            "dir2/fxa.md": "3",
        },
    ),
    Case(
        "add",
        """\
FROM @BASE@
ADD app.tar /plain/
ADD app.tar.gz app.tar.xz /compressed/
ADD --chown=9:9 app.tar.gz /owned/
ADD text.txt not.tar /files/
COPY app.tar.gz /copied/
WORKDIR /rel
ADD app.tar .
""",
        {
            "app.tar": archive(),
            "app.tar.gz": archive("gz"),
            "app.tar.xz": archive("xz"),
            "text.txt": "t",
            "not.tar": "no archive",
        },
    ),
    Case(
        "links",
        """\
FROM @BASE@
COPY . /all/
COPY to-file /one
COPY to-folder /two/
COPY to-folder/f /three
RUN ln -s /all /alias
COPY real/f /alias/through
""",
        {
            "real/f": "f",
            "to-file": Link("real/f"),
            "to-folder": Link("real"),
            "dangling": Link("missing"),
            "outside": Link("/etc/hostname"),
            "above": Link("../../../../../../etc/hostname"),
            "loop": Link("loop"),
        },
    ),
    Case(
        "link-outside",
        "FROM @BASE@\nCOPY outside /outside\n",
        {"outside": Link("/etc/hostname")},
        fails="no such file or directory",
    ),
    Case(
        "link-above",
        "FROM @BASE@\nCOPY above /above\n",
        {"above": Link("../../../../../../../etc/hostname")},
        fails="no such file or directory",
    ),
    Case(
        "unicode-names",
        'FROM @BASE@\nCOPY . /ctx\nCOPY größe.txt /ü/\nCOPY ["日本 語.txt", "/語"]\n'
        'LABEL grüße="日本" \nENV EMOJI=🚀\nRUN echo "$EMOJI" > "/🚀"\n',
        {"größe.txt": "ö", "日本 語.txt": "語", "🚀/é": "e", "é": "composed", "e\u0301": "two"},
        image={"🚀": "🚀\n"},
    ),
    Case(
        "odd-names",
        'FROM @BASE@\nCOPY . /ctx\nCOPY ["-dash", "dollar\\\\$x", "/odd/"]\n',
        {"-dash": "d", "dollar$x": "x", "star*": "s", "tab\there": "t", "q'uo\"te": "q"},
    ),
    Case(
        "empty-and-large",
        "FROM @BASE@\nCOPY empty large.bin /d/\nRUN md5sum < /d/large.bin > /sum && : > /made\n",
        {"empty": "", "large.bin": random.Random(6).randbytes(20 << 20)},
        image={"d/empty": ""},
    ),
    Case(
        "modes",
        "FROM @BASE@\nCOPY . /ctx\nRUN /ctx/bin/run > /ran\n",
        {"bin/run!": "#!/bin/sh\necho ran\n", "bin/plain": "p", "bin/link": Link("run")},
        image={"ran": "ran\n"},
    ),
    Case(
        "git-attributes",
        "FROM @BASE@\nCOPY script.sh /script.sh\n",
        {".gitattributes": "*.sh text eol=crlf\n", "script.sh": "echo a\n"},
        image={"script.sh": "echo a\r\n"},
    ),
    Case(
        "dockerfile-outside-context",
        "FROM @BASE@\nCOPY f /f\n",
        {"/build/outside/Dockerfile.prod.dockerignore": "g\n", "f": "f", "g": "g"},
        {"dockerfile_path": "build/outside/Dockerfile.prod"},
        image={"f": "f"},
    ),
    Case(
        "context-above",
        "FROM @BASE@\nCOPY context-above/src /src\nCOPY context-above/docker/entry.sh /\n",
        {"src/a": "a", "docker/entry.sh!": "#!/bin/sh\n"},
        {"context_path": ".", "dockerfile_path": "context-above/docker/app.Dockerfile"},
    ),
    # Mounts
    Case(
        "mounts",
        """\
FROM @BASE@ AS tools
RUN mkdir /tools && echo tool > /tools/tool
FROM @BASE@
WORKDIR /work
RUN --mount=type=cache,target=/cache echo cached > /cache/f && cp /cache/f /from-cache
RUN --mount=type=cache,id=other,target=/c,uid=5,gid=6,mode=0700,sharing=locked \\
    stat -c '%u:%g %a' /c > /cache-owner
RUN --mount=type=bind,target=/ctx cp /ctx/in.txt /from-context
RUN --mount=type=bind,source=sub,target=/ctx,rw echo x > /ctx/written && ls /ctx > /listing
RUN --mount=type=bind,from=tools,source=/tools,dst=/t --mount=type=tmpfs,target=/tmp/x \\
    cp /t/tool /from-stage && touch /tmp/x/gone
RUN --mount="type=bind,source=with blank,target=/ctx" cp /ctx/f /from-blank
RUN --mount=target=. cat in.txt > /from-default
RUN --network=none echo none > /network
""",
        {"in.txt": "in\n", "sub/f": "f", "with blank/f": "blank\n"},
        image={"from-cache": "cached\n", "from-stage": "tool\n", "from-context": "in\n"},
    ),
    # Configuration
    Case(
        "user-and-workdir",
        """\
FROM @BASE@
RUN echo app:x:500:600::/home/app:/bin/sh >> /etc/passwd; echo staff:x:700: >> /etc/group
WORKDIR /srv
WORKDIR app
WORKDIR ../other/./dir
RUN pwd > /pwd; chmod 777 .
USER app
RUN id -u > u; id -g >> u; echo "$HOME" > h
WORKDIR made-by-app
COPY f f
USER app:staff
RUN id -g > /srv/other/dir/g
USER 12:34
RUN id -u > /srv/other/dir/n
USER 500
""",
        {"f": "f"},
        image={"pwd": "/srv/other/dir\n"},
    ),
    Case(
        "workdirs",
        """\
FROM @BASE@ AS unused-but-copied
WORKDIR /only
FROM @BASE@ AS base
RUN echo app:x:500:600::/home/app:/bin/sh >> /etc/passwd
WORKDIR /by-root
COPY f f
WORKDIR /chown
COPY --chown=500 f f
USER app
WORKDIR /by-app
COPY f .
WORKDIR /for-app
RUN touch made-by-app
WORKDIR /before-user
USER 12
RUN [ "$(stat -c %u .)" = 500 ]
WORKDIR /last
FROM base
WORKDIR inherited
COPY . .
COPY --from=unused-but-copied /only /copied
WORKDIR deeper/still
WORKDIR ../beside
LABEL end=yes
""",
        {"f": "f", ".dockerignore": "Dockerfile\n"},
    ),
    Case(
        "workdir-and-nothing-of-the-context",
        "FROM @BASE@\nUSER 7\nWORKDIR /w\nCOPY . .\nWORKDIR /end\n",
        {".dockerignore": "*\n"},
    ),
    Case(
        "workdir-of-a-user",
        "FROM @USER-BASE@\nWORKDIR /shared/a\nCOPY f .\nRUN touch made\n"
        "FROM @USER-BASE@ AS last\nUSER root\nWORKDIR /b\nCOPY f .\nCOPY --from=0 /shared /c\n",
        {"f": "f"},
    ),
    Case(
        "workdirs-without-the-cache",
        "FROM @BASE@\nUSER 5\nWORKDIR /one\n",
        request={"clear_cache": True},
        more=("one",),
    ),
    Case(
        "workdir-of-scratch",
        "FROM scratch\nWORKDIR /one\nCOPY --chown=5 f .\nWORKDIR /two\n",
        {"f": "f"},
    ),
    Case(
        "volume",
        """\
FROM @BASE@
RUN mkdir /data && echo before > /data/before
VOLUME /data /with/new
VOLUME ["/json one", "/two"]
RUN echo after > /data/after; echo x > /kept
COPY f /data/copied
""",
        {"f": "f"},
    ),
    Case(
        "metadata",
        """\
FROM @BASE@
MAINTAINER Jane Doe <jane@example.com>
LABEL one=1 two="two words" \\
      three.dotted-key='3 $HOME' "quoted key"=4
LABEL multi="line one \\
line two"
LABEL empty=
LABEL old style label
EXPOSE 80 443/tcp 53/udp 8000-8002
STOPSIGNAL SIGQUIT
""",
        request={"labels": {"team": "core", "one": "request wins"}},
    ),
    Case(
        "healthcheck",
        """\
FROM @BASE@
HEALTHCHECK --interval=5m --timeout=3s --start-period=1m --start-interval=2s --retries=4 \\
  CMD wget -q -O - http://localhost/ || exit 1
""",
        config={
            "Healthcheck": {
                "Test": ["CMD-SHELL", "wget -q -O - http://localhost/ || exit 1"],
                "Interval": 300_000_000_000,
                "Timeout": 3_000_000_000,
                "StartPeriod": 60_000_000_000,
                "StartInterval": 2_000_000_000,
                "Retries": 4,
            }
        },
    ),
    Case(
        "healthcheck-none",
        "FROM @BASE@\nHEALTHCHECK NONE\n",
        config={"Healthcheck": {"Test": ["NONE"]}},
    ),
    # What whole applications look like
    Case(
        "deletes-and-replaces",
        """\
FROM @BASE@
RUN mkdir -p /a/b && touch /a/b/c /a/d && ln /a/d /a/hard && ln /a/d /second && chmod 4755 /a/d
RUN mkfifo /fifo
RUN rm -r /a/b /bin/vi && mkdir /a/b && ln -s /etc /a/e
RUN rm -rf /root && ln -s /tmp /root && chmod 1777 /a && chown -R 5:6 /a/b
COPY tree /a
""",
        {"tree/b/new": "n", "tree/d": "replaced\n"},
        image={"a/d": "replaced\n"},
    ),
    Case(
        "hard-links-over-layers",
        "FROM @BASE@\nRUN echo one > /a && ln /a /b\nRUN echo two >> /a && chmod 700 /a\n",
        image={"a": "one\ntwo\n", "b": "one\n"},
        layers=True,
    ),
    Case(
        "node-application",
        """\
# syntax=docker/dockerfile:1

ARG NODE_IMAGE=@BASE@
FROM ${NODE_IMAGE} AS deps
WORKDIR /app
COPY package.json package-lock.json* ./
RUN --mount=type=cache,target=/root/.npm mkdir -p node_modules/left-pad

FROM deps AS builder
COPY . .
ENV NODE_ENV=production
RUN mkdir dist && cat src/*.js > dist/index.js

FROM ${NODE_IMAGE} AS runner
ENV NODE_ENV production
WORKDIR /app
RUN echo node:x:1000: >> /etc/group && echo node:x:1000:1000::/home:/bin/sh >> /etc/passwd
COPY --from=builder --chown=node:node /app/dist ./dist
COPY --from=deps /app/node_modules ./node_modules
USER node
EXPOSE 3000
ENV PORT=3000
CMD ["node", "dist/index.js"]
""",
        {
            "package.json": "{}",
            "src/a.js": "a\n",
            "src/b.js": "b\n",
            ".dockerignore": "node_modules\n.git\nDockerfile\n",
        },
        image={"app/dist/index.js": "a\nb\n"},
    ),
    Case(
        "python-application",
        """\
FROM @BASE@ AS compile-image
ARG EXTRA="" \\
    DEBUG=0
ENV PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /usr/src/app
COPY requirements*.txt ./
RUN set -eux; \\
    for f in requirements*.txt; do \\
        echo "$f" >> installed; \\
    done; \\
    rm -rf /var/cache/*
COPY . .
COPY docker-entrypoint.sh /usr/local/bin/
RUN ["chmod", "+x", "/usr/local/bin/docker-entrypoint.sh"]
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "app:app"]
""",
        {
            "requirements.txt": "a\n",
            "requirements-dev.txt": "b\n",
            "app.py": "app\n",
            "docker-entrypoint.sh": '#!/bin/sh\nexec "$@"\n',
        },
        request={"build_args": {"EXTRA": "dev", "DEBUG": "1"}},
    ),
)
