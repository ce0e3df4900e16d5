"""All checks that need no model, worst findings first."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from luthier.audit._coverage import check_traffic
from luthier.audit._finding import ORDER, Dataset, Finding
from luthier.audit._personal_findings import check_personal
from luthier.audit._preference import check_preference
from luthier.audit._provenance import check_provenance
from luthier.audit._size import check_size
from luthier.audit.knowledge import check_knowledge
from luthier.audit.labels import check_labels, check_variants
from luthier.audit.repeats import check_answers, check_battery, check_leakage, check_repeats, check_templates
from luthier.audit.text import (
    check_degenerate,
    check_form,
    check_formats,
    check_keys,
    check_language,
    check_quality,
    check_refusals,
    check_text,
)

Progress = Callable[[str, int, int, str], None]  # stage, done, total, remark

CHECKS: tuple[tuple[str, Callable[[Dataset], Iterable[Finding]]], ...] = (
    ("form", check_form),
    ("text", check_text),
    ("preference", check_preference),
    ("provenance", check_provenance),
    ("leakage", check_leakage),
    ("answers", check_answers),
    ("repeats", check_repeats),
    ("templates", check_templates),
    ("battery", check_battery),
    ("size", check_size),
    ("quality", check_quality),
    ("personal data", check_personal),
    ("knowledge", check_knowledge),
    ("traffic", check_traffic),
    ("labels", check_labels),
    ("spelling of labels", check_variants),
    ("formats", check_formats),
    ("keys", check_keys),
    ("refusals", check_refusals),
    ("stand-ins", check_degenerate),
    ("language", check_language),
)


def audit(data: Dataset, progress: Progress | None = None) -> list[Finding]:
    """Every finding about the data that needs no model, those that block first.

    Raises:
        SpecError: the JSON schema of the scorer cannot be used.
    """
    found: list[Finding] = []
    for number, (name, check) in enumerate(CHECKS):
        if progress is not None:
            progress("check", number, len(CHECKS), name)
        found += check(data)
    return worst_first(found)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings by severity; those of equal severity stay in their order."""
    return sorted(findings, key=lambda f: ORDER[f.severity])
