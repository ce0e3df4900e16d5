"""The model card of a release: Markdown with the header that model hubs read, made from lock and documents alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

HEADER_LIBRARY = {"peft": "peft", "merged": "transformers", "system": "luthier"}


def render_card(lock: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]], *, kind: str = "system") -> str:
    """The card as Markdown.

    Args:
        lock: of the release.
        documents: `evidence`, `verdict`, `gate` and, where weights were changed, `capability`, as saved.
        kind: what the card stands beside: the whole `system`, a `peft` adapter folder, or a `merged` model.
    """
    evidence, verdict, gate = documents["evidence"], documents["verdict"], documents["gate"]
    text = (
        _environment()
        .get_template("card.md.jinja")
        .render(
            header=_header(lock, kind),
            lock=lock,
            lookups=_lookups(lock),
            evidence=evidence,
            verdict=verdict,
            gate=gate,
            capability=documents.get("capability"),
            sources=len(set(evidence["groups"])),
            rows=_rows(evidence, verdict, gate["rung"]),
            warrant=_warrant(lock),
            limits=_limits(lock, documents, kind),
            libraries=", ".join(f"{n} {v}" for n, v in lock["environment"]["libraries"].items() if v is not None),
        )
    )
    return text.rstrip() + "\n"


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Markdown for people and hubs, not HTML for a browser: hubs sanitise it, and escapes would show as text
    environment = Environment(
        loader=PackageLoader("luthier.release"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = lambda text: " ".join(str(text).split()).replace("|", "\\|")
    environment.filters["figure"] = lambda value: "–" if value is None else f"{value:.3f}"
    return environment


def _header(lock: Mapping[str, Any], kind: str) -> str:
    import yaml

    trained = lock["system"]["adapter"] is not None
    header: dict[str, Any] = {
        "base_model": lock["base"]["name"],
        "library_name": HEADER_LIBRARY[kind],
        "license": "unknown",
        "tags": ["luthier", lock["system"]["method"].replace(" + ", "-").replace(" ", "-")] + ["lora"] * trained,
    }
    if trained:
        header["base_model_relation"] = "merge" if kind == "merged" else "adapter"
    if kind != "system":
        header["pipeline_tag"] = "text-generation"
    return str(yaml.safe_dump(header, sort_keys=False, allow_unicode=True)).rstrip()


def _lookups(lock: Mapping[str, Any]) -> str:
    names = {"demonstrations": "the nearest examples", "documents": "passages of the documents"}
    return " and ".join(names[name] for name in lock["system"]["indexes"]) or "nothing"


def _warrant(lock: Mapping[str, Any]) -> str:
    warrant = lock["warrant"]
    if lock["system"]["adapter"] is None:
        return "not needed."
    if warrant["granted"]:
        return f"granted: {warrant['reason']}"
    reason = f" The reason given: {warrant['override']}" if warrant["override"] else ""
    return f"**not granted** ({warrant['reason']}); trained all the same.{reason}"


def _rows(evidence: Mapping[str, Any], verdict: Mapping[str, Any], released: str) -> list[dict[str, Any]]:
    costs = {rung["rung"]: rung["cost"] for rung in evidence["rungs"]}
    rows = []
    for rung in verdict["rungs"]:
        cost = costs.get(rung["rung"])
        rows.append(
            {
                "name": rung["rung"],
                "released": rung["rung"] == released,
                "score": _score(rung),
                "cases": f"{rung['answered']} of {rung['planned']}",
                "state": rung["state"],
                "cost": "–" if cost is None or cost["per_1000"] is None else f"{cost['per_1000']:.3g}",
                "seconds": "–" if cost is None else f"{cost['seconds']:.2f}",
            }
        )
    return rows


def _score(rung: Mapping[str, Any]) -> str:
    if rung["mean"] is None:
        return "–"
    if rung["display_low"] is None or rung["display_high"] is None:
        return f"{rung['mean']:.3f}"
    return f"{rung['mean']:.3f} [{rung['display_low']:.3f}, {rung['display_high']:.3f}]"


def _limits(lock: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]], kind: str) -> list[str]:
    """What a reader must not conclude; only what holds for this release."""
    trained = lock["system"]["adapter"] is not None
    limits = [
        "Inputs unlike the test cases: nothing is known about them. `luthier watch` says when they come.",
        "Harmful or misleading inputs were not tried on purpose, and answers were not checked for bias.",
        "Sampling (temperature above 0) was not measured; answers are greedy.",
        "Several turns of conversation were measured only as far as the test cases have them.",
    ]
    if trained and "capability" in documents:
        limits.append("Outside the families of general tasks above, what training cost the base is not known.")
    if trained and "capability" not in documents:
        limits.append("What training cost the base in general capability was not measured.")
    if lock["system"]["indexes"].get("documents"):
        limits.append("Its knowledge is that of the documents on the day of the index; later changes are not in it.")
    if kind != "system":
        limits.append(
            "This folder holds weights only. The figures are those of the whole system: without the same instructions"
            + (", demonstrations and passages" if lock["system"]["indexes"] or lock["system"]["demonstrations"] else "")
            + " (`system.json`) and the same chat template it is another system."
        )
    return limits
