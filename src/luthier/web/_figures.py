"""The figures of the report, drawn with matplotlib as inline SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from luthier.data import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from luthier.decide import CostReport, Evidence, RungVerdict, Verdict

COLOURS = {"meets": "#1a7f4b", "falls short": "#b3372f", "open": "#b27a00", "not run": "#8a8f98"}
HALVED, DOUBLED = "#9aa3af", "#2457a6"
SHOWN_EFFECTS = 10
INK, FAINT, LINE = "#22262b", "#6b7280", "#d5d9df"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "luthier",
    "axes.edgecolor": LINE,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def ladder(verdict: Verdict) -> Markup:
    """Every measured rung's mean score with its 95 % interval, against the bar."""
    rungs = [rung for rung in verdict.rungs if rung.mean is not None]
    if not rungs:
        return Markup("")
    figure, axes = _axes(7.6, 0.9 + 0.48 * len(rungs))
    for place, rung in enumerate(reversed(rungs)):
        _interval(axes, place, rung)
    axes.set_yticks(range(len(rungs)), [_label(rung.rung) for rung in reversed(rungs)])
    axes.set_ylim(-0.6, len(rungs) - 0.3)
    axes.set_xlim(0, 1.0)
    axes.set_xlabel("mean score on the test cases, with its 95 % interval")
    axes.tick_params(axis="y", length=0)
    if verdict.bar is not None:
        axes.axvline(verdict.bar, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(
            f"bar {verdict.bar:g}", (verdict.bar, len(rungs) - 0.42), ha="center", va="bottom", fontsize=9, color=INK
        )
    return _svg(figure, "Ladder: score of every rung with its interval, against the bar")


def _interval(axes: Axes, place: int, rung: RungVerdict) -> None:
    assert rung.mean is not None and rung.display_low is not None and rung.display_high is not None
    colour = COLOURS[rung.state]
    axes.plot(
        [rung.display_low, rung.display_high], [place, place], color=colour, linewidth=2.4, solid_capstyle="round"
    )
    axes.plot([float(rung.mean)], [place], "o", color=colour, markersize=7, clip_on=False)  # whole at 0 and 1
    near_right = rung.display_high > 0.86
    x = rung.display_low - 0.012 if near_right else rung.display_high + 0.012
    axes.annotate(
        f"{rung.mean:.2f}",
        (x, place),
        va="center",
        ha="right" if near_right else "left",
        fontsize=9,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},  # the line of the bar may run behind it
        zorder=3,
    )


def score_against_cost(verdict: Verdict, evidence: Evidence) -> Markup:
    """Mean score of every measured rung against its cost per 1,000 requests."""
    points = [
        (rung.cost.per_1000, judged)
        for rung, judged in zip(evidence.rungs, verdict.rungs, strict=True)
        if rung.cost is not None and rung.cost.per_1000 and judged.mean is not None
    ]
    if len(points) < 2:
        return Markup("")
    figure, axes = _axes(7.6, 3.3)
    for cost, judged in points:
        axes.plot([cost], [judged.mean or 0.0], "o", color=COLOURS[judged.state], markersize=8)
        axes.annotate(
            _label(judged.rung), (cost, judged.mean or 0), xytext=(7, 5), textcoords="offset points", fontsize=9
        )
    costs = [cost for cost, _ in points]
    if max(costs) > 8 * min(costs):
        axes.set_xscale("log")
    axes.set_xlim(min(costs) * 0.8, max(costs) * 1.5)
    axes.set_ylim(0, 1.03)
    if verdict.bar is not None:
        axes.axhline(verdict.bar, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    axes.set_xlabel("US dollars per 1,000 requests")
    axes.set_ylabel("mean score")
    return _svg(figure, "Score against cost of every rung")


def tornado(costs: CostReport) -> Markup:
    """By how much the recommended rung is ahead of the next in cost, with each input halved and doubled."""
    if not costs.effects or costs.difference is None:
        return Markup("")
    shown = costs.effects[:SHOWN_EFFECTS]
    figure, axes = _axes(7.6, 1.0 + 0.34 * len(shown))
    for place, effect in enumerate(reversed(shown)):
        for value, colour in ((effect.half, HALVED), (effect.double, DOUBLED)):
            axes.barh(place, value - costs.difference, left=costs.difference, height=0.55, color=colour)
    axes.axvline(costs.difference, color=FAINT, linewidth=1.0)
    axes.axvline(0.0, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(shown)), [_label(effect.input) for effect in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(
        _label(f"US dollars that {costs.next} costs more than {costs.recommended} over {costs.months:g} months")
    )
    return _svg(figure, "Difference in cost with each input halved and doubled")


def training_curve(training: Mapping[str, Any]) -> Markup:
    """Loss of every step, and the development score where it was measured."""
    curve = training["curve"]
    if len(curve) < 2:
        return Markup("")
    figure, axes = _axes(7.6, 3.0)
    axes.plot([p["step"] for p in curve], [p["loss"] for p in curve], color="#9aa3af", linewidth=1.0)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per label token)")
    axes.set_ylim(bottom=0)
    scored = [p for p in curve if p["dev_score"] is not None]
    if scored:
        right = axes.twinx()
        right.spines["right"].set_visible(True)
        right.plot([p["step"] for p in scored], [p["dev_score"] for p in scored], "o-", color="#2457a6", markersize=4)
        right.axvline(training["best_step"], color="#2457a6", linewidth=0.8, linestyle=(0, (2, 3)))
        right.set_ylabel("development score", color="#2457a6")
        right.set_ylim(0, 1)
    return _svg(figure, "Training: loss and development score")


def learning_curve(curve: Mapping[str, Any]) -> Markup:
    """Measured scores against the number of training rows, and the forecast with its 80 % band.

    `curve` is what the store keeps as a document of the kind `curve`.
    """
    figure, axes = _axes(7.6, 3.2)
    blue = "#2457a6"
    for point in curve["measured"]:
        axes.plot([point["size"]] * 2, [point["low"], point["high"]], color=blue, linewidth=1.2, alpha=0.5)
    sizes = [point["size"] for point in curve["measured"]]
    axes.plot(sizes, [point["score"] for point in curve["measured"]], "o-", color=blue, markersize=5, linewidth=1.2)
    ahead = [curve["now"], *curve["expected"]]
    at = [place["size"] for place in ahead]
    axes.fill_between(at, [p["low"] for p in ahead], [p["high"] for p in ahead], color=blue, alpha=0.15, linewidth=0)
    axes.plot(at, [place["score"] for place in ahead], color=blue, linewidth=1.2, linestyle=(0, (4, 3)))
    if curve["bar"] is not None:
        axes.axhline(curve["bar"], color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.annotate(f"bar {curve['bar']:g}", (sizes[0], curve["bar"]), va="bottom", fontsize=9, color=INK)
    axes.set_xscale("log")
    ticks = [*sizes, *(size for size in at if size in (2 * sizes[-1], 4 * sizes[-1]))]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_ylim(0, 1)
    axes.set_xlabel("training rows")
    axes.set_ylabel(f"mean score of {curve['cases']} development cases")
    return _svg(figure, "Learning curve: score against the number of training rows, with a forecast")


def capability(families: Sequence[Mapping[str, Any]]) -> Markup:
    """Accuracy of every family of general tasks before and after."""
    shown = [f for f in families if f["kind"] == "accuracy" and f["before"] is not None]
    if not shown:
        return Markup("")
    figure, axes = _axes(7.6, 0.9 + 0.36 * len(shown))
    for place, family in enumerate(reversed(shown)):
        colour = {"kept": COLOURS["meets"], "watch": COLOURS["open"], "lost": COLOURS["falls short"]}[family["state"]]
        axes.plot([family["before"], family["after"]], [place, place], color=colour, linewidth=1.6)
        axes.plot([family["before"]], [place], "o", color="white", markeredgecolor=FAINT, markersize=7, clip_on=False)
        axes.plot([family["after"]], [place], "o", color=colour, markersize=7, clip_on=False)
    axes.set_yticks(range(len(shown)), [f["name"] for f in reversed(shown)])
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy: open circle before, filled after")
    axes.tick_params(axis="y", length=0)
    return _svg(figure, "General capability before and after")


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot()
    axes.grid(axis="x", color="#eceff3", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _label(name: str) -> str:
    """A name as matplotlib writes it: no formula between dollars, nothing that XML has not."""
    return visible(name).replace("$", r"\$")


def _svg(figure: Figure, label: str) -> Markup:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    body = text[text.index("<svg") :]
    return Markup(body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))
