"""What of the documents is generated: the reference; settings, metrics, pack variables.

python scripts/reference.py           write them between their markers
python scripts/reference.py --check   say which file is stale; exit code 1 if one is
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import hcl2

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from controller.observability.metrics import Metrics  # noqa: E402
from controller.reference import description  # noqa: E402
from controller.settings import Settings  # noqa: E402

PACK = REPOSITORY / "packs" / "nomad_build_service"


def settings() -> str:
    """Return the settings of the controller with defaults and further environment names."""
    rows = []
    for item in fields(Settings):
        if item.name == "sources":
            continue
        default = "one class, `default`" if item.name == "build_classes" else _code(item.default)
        also = ", ".join(f"`{name}`" for name in item.metadata["also"])
        rows.append((f"`{item.name}`", default, also, item.metadata["help"]))
    return _table(("setting", "default", "also read from", "what it is"), rows)


def metrics() -> str:
    """Return the metrics that are ours; those of the process have Prometheus' usual names."""
    rows = []
    for family in Metrics().registry.collect():
        if not family.name.startswith(("process_", "python_")):
            name = family.name + ("_total" if family.type == "counter" else "")
            rows.append((f"`{name}`", family.type, family.documentation))
    return _table(("metric", "type", "what it is"), sorted(rows))


def variables() -> str:
    """Return the pack's variables, as python-hcl2 reads them."""
    parsed = hcl2.loads((PACK / "variables.hcl").read_text())
    rows = []
    for block in parsed["variable"]:
        for quoted, variable in block.items():
            name = _bare(quoted)
            kind = _bare(variable["type"]).strip("${}")
            default = _code(variable["default"])
            if name == "build_classes":
                kind, default = "map(object)", "one class, `default`"
            rows.append((f"`{name}`", kind, default, _bare(variable["description"])))
    return _table(("variable", "type", "default", "what it is"), rows)


REFERENCE = REPOSITORY / "docs" / "reference.md"
FILES = {
    REPOSITORY / "docs" / "operating.md": {"settings": settings, "metrics": metrics},
    PACK / "README.md": {"variables": variables},
}


def render(text: str, tables: dict[str, Any]) -> str:
    """Return a file's text with fresh tables. Raises ValueError where a marker is missing."""
    for name, make in tables.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"the markers of {name} are missing")
        text = pattern.sub(lambda match, make=make: match[1] + make() + match[2], text)
    return text


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "---|" * lines[0].count(" | ") + "---|")
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _code(value: object) -> str:
    text = _bare(value) if isinstance(value, str) else "" if value == () else str(value)
    text = text.replace("'\"", '"').replace("\"'", '"')
    return f"`{text}`" if text else "empty"


def _bare(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def fresh() -> dict[Path, str]:
    """Return every file with the text that it should have."""
    files = {path: render(path.read_text(), tables) for path, tables in FILES.items()}
    return files | {REFERENCE: description.render("reference.md.j2")}


def main() -> int:
    """Write or check every file."""
    files = fresh()
    stale = [path for path in files if not path.exists() or path.read_text() != files[path]]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(REPOSITORY)} is stale: run python scripts/reference.py")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(exist_ok=True)
        path.write_text(files[path])
        print(f"wrote {path.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
