"""The verdict as JUnit XML, which every CI server shows: a suite for the verdict, for each rung and for the gate."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from luthier import __version__

if TYPE_CHECKING:
    from luthier.api import ReportState

_REFUSED = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML 1.0 has not
_NOTHING = ("fix the data", "no rung meets the bar", "not enough evidence")  # kinds of verdict without a rung


def render_junit(state: ReportState) -> str:
    """JUnit XML. A rung or a check that does not meet is a failure, a rung that was not run is skipped.

    Elements and attributes are those of the schema that Jenkins publishes (junit-4.xsd).
    """
    decision = state.decision
    assert decision is not None  # asked for by the caller, who says what to do where there is none
    root = ET.Element("testsuites")
    root.set("name", _text(f"luthier {state.task.task}"))
    when = str(decision.created)[:19]
    _verdict(root, state, when)
    for judged, measured in zip(decision.verdict.rungs, decision.evidence.rungs, strict=True):
        records = decision.records.get(judged.rung, ())
        _rung(root, state, judged, measured, sum(record.seconds for record in records), when)
    if state.gate is not None:
        _gate(root, state, state.gate, when)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _verdict(root: ET.Element, state: ReportState, when: str) -> None:
    assert state.decision is not None
    verdict = state.decision.verdict
    properties: dict[str, Any] = {"kind": verdict.kind, "bar": verdict.bar, "alpha of a rung": verdict.alpha_each}
    properties |= {"decision": state.decision.key, "luthier": __version__, "warrant": verdict.warrant.granted}
    suite = _suite(root, "verdict", properties, 0.0, when)
    case = _case(suite, state, "verdict", "a rung can be recommended")
    if verdict.kind in _NOTHING:
        _fail(case, verdict.kind, verdict.sentence, "\n".join((*verdict.reasons, *verdict.advice)))
    _count(suite)


def _rung(root: ET.Element, state: ReportState, judged: Any, measured: Any, seconds: float, when: str) -> None:
    properties = {"method": judged.method, "base": measured.base, "system": measured.system}
    properties |= {"answered": judged.answered, "planned": judged.planned, "mean score": judged.mean}
    properties |= {"lower bound": judged.low, "upper bound": judged.high, "p": judged.p}
    if measured.cost is not None:
        properties |= {"USD per 1,000": measured.cost.per_1000, "seconds per answer": measured.cost.seconds}
    suite = _suite(root, f"rung {judged.rung}", properties, seconds, when)
    case = _case(suite, state, judged.rung, "meets the bar", seconds)
    if judged.mean is None:
        ET.SubElement(case, "skipped").text = _text(measured.skipped or "not run")
    elif judged.state != "meets":
        figure = f"{judged.mean:.3f}, between {judged.low:.3f} and {judged.high:.3f}, on {judged.answered} cases"
        _fail(case, str(judged.state), f"{judged.rung}: {judged.state}: {figure}", judged.note)
    _count(suite)


def _gate(root: ET.Element, state: ReportState, gate: Mapping[str, Any], when: str) -> None:
    suite = _suite(root, f"gate {gate['rung']}", {"system": gate["system"]}, 0.0, when)
    for check in gate["checks"]:
        case = _case(suite, state, f"gate {gate['rung']}", check["name"])
        if not check["passed"]:
            _fail(case, "gate", check["reason"], "")
    _count(suite)


def _suite(root: ET.Element, name: str, properties: Mapping[str, Any], seconds: float, when: str) -> ET.Element:
    suite = ET.SubElement(root, "testsuite")
    suite.set("name", _text(name))
    suite.set("timestamp", when)
    suite.set("time", f"{seconds:.3f}")
    inside = ET.SubElement(suite, "properties")
    for key, value in properties.items():
        if value is not None:
            ET.SubElement(inside, "property", {"name": key, "value": _text(value)})
    return suite


def _case(suite: ET.Element, state: ReportState, group: str, name: str, seconds: float = 0.0) -> ET.Element:
    case = ET.SubElement(suite, "testcase")
    case.set("classname", _text(f"luthier.{state.task.task}.{group}"))
    case.set("name", _text(name))
    case.set("time", f"{seconds:.3f}")
    return case


def _fail(case: ET.Element, kind: str, message: str, text: str) -> None:
    failure = ET.SubElement(case, "failure", {"type": _text(kind), "message": _text(message)})
    failure.text = _text(text)


def _count(suite: ET.Element) -> None:
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", "0")
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))


def _text(value: Any) -> str:
    return _REFUSED.sub("�", str(value))
