"""The words of a verdict: the sentence, the reasons, what to do next, what would change it.

What is shown (at the level of the decision) and what is only the best guess are never mixed: each reason says which.
"""

from __future__ import annotations

import math
import statistics

from luthier.decide._costs import CostReport
from luthier.decide._evidence import RungEvidence, RungVerdict, State, VerdictKind, Warrant
from luthier.decide._ownership import owned
from luthier.decide._sentences import figures, listed, more, number
from luthier.decide._standing import Standing
from luthier.decide._warrant import missing_knowledge
from luthier.decide.failures import cause_lines, remedy_lines, share_words

SAID = 4  # causes of failure that reasons and advice name


def sentence(field: Standing, kind: VerdictKind, rung: RungEvidence | None, warrant: Warrant) -> str:
    """The verdict in one line."""
    if kind == "fix the data":
        return f"Fix the data first: {listed(sorted(set(field.evidence.findings)))} would make any verdict worthless."
    if rung is not None:
        return _recommended(field, rung, warrant)
    if kind == "no rung meets the bar":
        return f"No rung meets {_bar(field)}{_too_slow(field)}: the best, {_best(field)}."
    return f"Not enough evidence: {_lacking(field, warrant)}."


def _recommended(field: Standing, rung: RungEvidence, warrant: Warrant) -> str:
    meets = f"meets {_bar(field)}" if field.rules.bar is not None else _no_worse(field, rung)
    end = f"fine-tuning is warranted: {warrant.reason}" if rung.trained else "fine-tuning is not warranted"
    beside = [other.rung for other in field.cheaper(rung) if _still_open(field, other)]
    still = f"; {listed(beside)}, cheaper, {'is' if len(beside) == 1 else 'are'} still open" if beside else ""
    slow = [other.rung for other in field.cheaper(rung) if field.state(other) is State.MEETS and field.too_slow(other)]
    fast = f"; {listed(slow)}, cheaper, {'is' if len(slow) == 1 else 'are'} too slow" if slow else ""
    return f"{rung.rung} {meets}: {figures(field.verdict(rung))}; {end}{still}{fast}."


def _too_slow(field: Standing) -> str:
    """Said where a rung fails on nothing but its latency."""
    slow = [rung for rung in field.measured if field.state(rung) is State.MEETS and field.too_slow(rung)]
    if not slow:
        return ""
    return f" and keeps the limits of latency ({', '.join(f'{r.rung}: {field.too_slow(r)}' for r in slow)})"


def _no_worse(field: Standing, rung: RungEvidence) -> str:
    if field.best is None or rung is field.best:
        return "is the best"
    return f"is not worse than {field.best.rung} by more than {field.rules.margin:g}"


def _lacking(field: Standing, warrant: Warrant) -> str:
    if field.blocked is not None:
        return field.blocked[0]
    if len(field.evidence.served) > 1:
        return f"the endpoint changed its model on the way, from {_versions(field)}"
    meeting = [field.verdict(r) for r in field.evidence.rungs if field.adequate(r)]
    open_ = [field.verdict(r) for r in field.evidence.rungs if _still_open(field, r)]
    waiting = [v for v in field.verdicts if v.state is State.NOT_RUN]
    if meeting and field.rules.bar is not None:
        first = meeting[0]
        return f"{first.rung} meets {_bar(field)} ({figures(first)}), but {warrant.reason}"
    if meeting:
        first = meeting[0]
        return f"{first.rung} is as good as the best ({figures(first)}), but {_unshown(field, warrant)}"
    if open_:
        first = open_[0]
        return f"{first.rung} is open at {figures(first)}; {more(first)}"
    slow = [r for r in field.measured if field.state(r) in (State.MEETS, State.OPEN) and field.too_slow(r)]
    if slow and not waiting:
        state = f"meets {_bar(field)}" if field.state(slow[0]) is State.MEETS else "is open"
        return f"{slow[0].rung} {state}, but {field.too_slow(slow[0])}"
    if warrant.granted:
        return f"{warrant.reason}, so fine-tuning is warranted, but it is not measured yet"
    if not waiting:
        return f"no measured rung meets {_bar(field)}"
    names = listed([v.rung for v in waiting])
    return f"no measured rung meets {_bar(field)}, and {names} {'was' if len(waiting) == 1 else 'were'} not run"


def _versions(field: Standing) -> str:
    return " to ".join(f"{name} ({count:,} answers)" for name, count in field.evidence.served.items())


def _still_open(field: Standing, rung: RungEvidence) -> bool:
    return field.state(rung) is State.OPEN and not field.too_slow(rung)


def _unshown(field: Standing, warrant: Warrant) -> str:
    best = field.best
    if best is not None and best.trained:
        return warrant.reason
    return "nothing costlier than the plain prompt is shown to beat it, and it is not shown to be as good"


def reasons(field: Standing, kind: VerdictKind, rung: RungEvidence | None, warrant: Warrant) -> tuple[str, ...]:
    """Why: a line for every rung, then what the choice rests on."""
    lines = [_reason(field, verdict) for verdict in field.verdicts]
    lines += [*_bars(field), *_silent(field)]
    lines += [f"latency: {r.rung} cannot be recommended: {w}" for r in field.measured if (w := field.too_slow(r))]
    if kind != "fix the data":
        lines.append(f"fine-tuning is {'' if warrant.granted else 'not '}warranted: {warrant.reason}")
    if rung is None and field.best is not None:
        other = field.best_cheaper(field.best)
        if other is not None:
            lines.append(_paired(field, field.best, other))
    if rung is not None:
        lines += [_paired(field, rung, other) for other in field.cheaper(rung) if other.scores]
        lines += _dearer(field, rung)
    return (*lines, *_repeats(field), *field.remarks, *_knowledge(field), *_failures(field))


def _reason(field: Standing, verdict: RungVerdict) -> str:
    if verdict.state is State.NOT_RUN:
        return f"not run: {verdict.rung}" + (f" ({verdict.note})" if verdict.note else "")
    after = f", settled after {verdict.answered} of {verdict.planned} cases" if verdict.settled_early else ""
    if verdict.judged is not None and (verdict.low, verdict.high) == (0.0, 1.0):
        return f"nothing shown: {verdict.rung}: the judge alone says {verdict.judged:.2f}; {verdict.note}"
    if verdict.state is State.OPEN:
        return f"best guess, not shown: {verdict.rung} scores {figures(verdict)}; {more(verdict)}"
    if field.rules.bar is None:
        return f"shown: {verdict.rung} is {verdict.note} ({figures(verdict)})"
    bound = f"at least {verdict.low:.3f}" if verdict.state is State.MEETS else f"at most {verdict.high:.3f}"
    return f"shown: {verdict.rung} {_state_words(verdict.state)} {_bar(field)}: {bound} ({figures(verdict)}{after})"


def _bars(field: Standing) -> list[str]:
    """Whether the bar was set, or set anew, after the cases had been looked at."""
    before = [_bar_words(bar) for bar in field.evidence.bars if bar != field.rules.bar]
    if not before:
        return []
    now = _bar_words(field.rules.bar)
    return [f"the bar was changed after looking: these cases were answered for {listed(before)} before, and now {now}"]


def _bar_words(bar: float | None) -> str:
    return "no bar" if bar is None else f"a bar of {number(bar)}"


def _silent(field: Standing) -> list[str]:
    """Answers without a text, which count as they score: it is not the model's work that they show."""
    lines = []
    for rung in field.measured:
        total = sum(rung.silent.values())
        if total:
            causes = ", ".join(f"{count} {cause}" for cause, count in rung.silent.items())
            lines.append(f"{rung.rung}: {total} of {len(rung.scores)} answers hold no text: {causes}")
    return lines


def _state_words(state: State) -> str:
    return "meets" if state is State.MEETS else "falls short of"


def _paired(field: Standing, a: RungEvidence, b: RungEvidence) -> str:
    found = field.comparison(a, b)
    if found.test.startswith("none"):
        return f"not compared: {a.rung} with {b.rung} ({found.test.removeprefix('none: ')})"
    word = "shown" if found.low > 0 or found.high < 0 else "best guess, not shown"
    return (
        f"{word}: {a.rung} differs from {b.rung} by {found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}] "
        f"on the same {found.n} cases"
    )


def _dearer(field: Standing, rung: RungEvidence) -> list[str]:
    """Rungs of other bases before the recommended one that are good enough as well, and why they are not chosen."""
    cases = len(field.evidence.cases)
    own = owned(rung, field.rules, cases)
    lines = []
    for other in field.cheaper(rung):
        theirs = owned(other, field.rules, cases)
        if other.base != rung.base and field.adequate(other) and own is not None and theirs is not None:
            lines.append(
                f"cost: {other.rung} meets {_bar(field)} as well, at ${theirs:,.0f} a month to own; "
                f"{rung.rung} costs ${own:,.0f}"
            )
    return lines


def _repeats(field: Standing) -> list[str]:
    """How much training again with other seeds changes; the standard deviation is of a training, not of the mean."""
    lines = []
    for rung in field.measured:
        if rung.repeats_stopped:
            lines.append(f"not run: further trainings of {rung.rung} ({rung.repeats_stopped})")
        if not rung.repeats:
            continue
        n = rung.repeats[0].answered
        means = [math.fsum(rung.scores[:n]) / n, *(repeat.mean for repeat in rung.repeats)]
        scores = ", ".join(f"{mean:.3f}" for mean in means)
        line = f"{rung.rung} trained {len(means)} times scores {scores} on the same {n} cases"
        line += f" (standard deviation {statistics.stdev(means):.3f})"
        judged = field.evidence.judge is not None
        line += ", by the judge alone" * judged
        bar = None if judged else field.rules.bar
        below = sum(mean < bar for mean in means) if bar is not None else 0
        lines.append(f"{line}; {below} of them below the bar: training again may miss it" if below else line)
    return lines


def _knowledge(field: Standing) -> list[str]:
    lines = []
    missing = missing_knowledge(field)
    if missing is not None:
        found = field.comparison(missing.retrieval, missing.closed)
        lines.append(
            f"shown: what is missing is knowledge, for {missing.retrieval.rung} beats {missing.closed.rung} by "
            f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]; documents can be kept "
            "current, weights cannot"
        )
    known = field.evidence.knowledge or {}
    if missing is None and known.get("kind") == "knowledge":
        share = f" in {known['novel_rows']:.0%} of the training rows" if "novel_rows" in known else ""
        lines.append(
            f"best guess, not shown: knowledge is missing, for answers hold words that no prompt gives{share}; "
            "where these are facts, documents are their place"
        )
    return lines + [f"{rung}: {counts['words']}" for rung, counts in known.get("passages", {}).items()]


def _failures(field: Standing) -> list[str]:
    """Why cases fail, in one line with the most frequent causes; nothing where none was found."""
    failures = field.evidence.failures
    if failures is None or failures.count("open") == failures.examined:
        return []
    causes = cause_lines(failures)[:SAID]
    return [f"why cases fail: {share_words(failures)}: {'; '.join(causes)}"]


def advice(field: Standing, kind: VerdictKind, rung: RungEvidence | None, warrant: Warrant) -> tuple[str, ...]:
    """What to do next, with what to type."""
    if kind == "fix the data":
        return ("see what is wrong: luthier check", "write a corrected copy: luthier check --fix")
    if rung is not None:
        lines = ["check it and put it in service: luthier validate, then luthier release promote"]
        beside = [field.verdict(o) for o in field.cheaper(rung) if _still_open(field, o)]
        return (*lines, *(f"to find out whether {v.rung} is enough: {_collect(v)}" for v in beside))
    return (*_next_steps(field, kind, warrant), *_remedies(field))


def _remedies(field: Standing) -> list[str]:
    """What would make fewer cases fail; said where no rung is good enough as it is."""
    failures = field.evidence.failures
    if failures is None or not failures.examined:
        return []
    return list(remedy_lines(failures, {rung.method for rung in field.measured})[:SAID])


def _next_steps(field: Standing, kind: VerdictKind, warrant: Warrant) -> list[str]:
    lines = []
    if field.blocked is not None:
        return [field.blocked[1]]
    if len(field.evidence.served) > 1:
        name = list(field.evidence.served)[-1]
        return [
            f"name the version, so that all is asked again and of one model: base: <address>#{name} in luthier.yaml"
        ]
    if warrant.granted and any(not rung.scores for rung in field.trained):
        lines.append("fine-tune and measure it on the same cases: luthier tune, then luthier decide")
    lines += [f"{r.rung}: {_collect(field.verdict(r))}" for r in field.evidence.rungs if _still_open(field, r)]
    lines += [f"{v.rung} was not run: {v.note or 'luthier decide'}" for v in _idle(field)]
    known = field.evidence.knowledge or {}
    if known.get("kind") in ("knowledge", "mixed") and all(r.method != "retrieval" for r in field.evidence.rungs):
        lines.append("if facts are missing, give the documents that hold them: documents: in luthier.yaml")
    if missing_knowledge(field) is not None and field.trained:
        lines.append("leave the facts in the documents, and tune for how they are used: fine-tune + retrieval")
    if kind == "no rung meets the bar":
        slow = ", or more time for an answer (latency:)" if _too_slow(field) else ""
        lines.append(f"try a stronger base (base: in luthier.yaml), more or better examples, or a lower bar{slow}")
    if field.rules.bar is None:
        lines.append("say how good is good enough: bar: in luthier.yaml")
    return lines


def _idle(field: Standing) -> list[RungVerdict]:
    return [v for v in field.verdicts if v.state is State.NOT_RUN and not v.method.startswith("fine-tune")]


def _collect(verdict: RungVerdict) -> str:
    if verdict.answered < verdict.planned:
        return f"{more(verdict)}: luthier decide"
    if verdict.more_cases is None:
        return verdict.note
    return f"add about {verdict.more_cases:,} more test cases, then luthier decide"


def flips(field: Standing, kind: VerdictKind, rung: RungEvidence | None, costs: CostReport | None) -> tuple[str, ...]:
    """What would change the verdict: another bar, another volume, more cases."""
    if kind == "fix the data":
        return ()
    return (*_bar_flips(field, rung), *_cost_flips(field, rung, costs), *_case_flips(field, rung))


def _bar_flips(field: Standing, rung: RungEvidence | None) -> list[str]:
    if field.rules.bar is None:
        return []
    lines = []
    if rung is not None and (low := field.verdict(rung).low) is not None:
        lines.append(f"bar: {rung.rung} would meet any bar up to {_floor(low)}, not more")
    others = field.measured if rung is None else field.cheaper(rung)
    below = [(v.low, v.rung) for v in map(field.verdict, others) if v.state is not State.MEETS and v.low is not None]
    if below and max(below)[0] >= 0.01:
        low, name = max(below)
        lines.append(f"bar: {name} would meet a bar of {_floor(low)}")
    return lines


def _cost_flips(field: Standing, rung: RungEvidence | None, costs: CostReport | None) -> list[str]:
    """From which volume on another adequate rung would cost less; the costs themselves stand in the report."""
    lines: list[str] = []
    if rung is None or costs is None:
        return lines
    for other in field.evidence.rungs:
        if other is rung or not field.adequate(other):
            continue
        names = {rung.rung, other.rung}
        crossing = next((c for c in costs.crossings if {c.a, c.b} == names), None)
        if crossing is not None and crossing.volume is not None:
            word = "above" if crossing.above == other.rung else "below"
            over = f"over {costs.months:g} months"
            lines.append(f"volume: {word} {crossing.volume:,.0f} requests a month {other.rung} would cost less {over}")
    return lines


def _case_flips(field: Standing, rung: RungEvidence | None) -> list[str]:
    others = field.evidence.rungs if rung is None else field.cheaper(rung)
    verdicts = [field.verdict(other) for other in others if _still_open(field, other)]
    return [f"cases: {v.rung} is open; {more(v)}" for v in verdicts if v.more_cases is not None]


def _bar(field: Standing) -> str:
    return "the bar" if field.rules.bar is None else number(field.rules.bar)


def _best(field: Standing) -> str:
    if field.best is None:
        return "none, was measured"
    return f"{field.best.rung}, reaches {figures(field.verdict(field.best))}"


def _floor(value: float) -> str:
    """Two decimals, rounded down: a bar that is still met."""
    return f"{int(value * 100) / 100:.2f}"
