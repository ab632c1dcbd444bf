"""The recording rules speak of metrics that exist, with labels that they have."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from controller.observability.metrics import Metrics

RULES = Path(__file__).parents[2] / "nomad" / "prometheus" / "recording_rules.yml"
OURS = re.compile(r"\b(?!job\b)[a-z]+(?:_[a-z]+)+\b(?!\s*\()")
FUNCTIONS = {"histogram_quantile"}
LABELS = {"job", "status", "le", "window", "resource_type", "error"}


def test_every_name_in_the_rules_is_a_metric() -> None:
    families = list(Metrics().registry.collect())
    known = {sample.name for family in families for sample in family.samples}
    known |= {
        family.name + suffix
        for family in families
        for suffix in {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(
            family.type, ("",)
        )
    }
    groups = yaml.safe_load(RULES.read_text())["groups"]
    used = {
        name
        for group in groups
        for rule in group["rules"]
        for name in OURS.findall(rule["expr"])
        if name not in FUNCTIONS | LABELS
    }
    assert len(used) > 10
    assert used <= known
