"""The sheets of docs/costs.md: their arithmetic is right, and the code says the same, to the cent."""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from luthier.decide import Cost, CostReport, Evidence, Rules, RungEvidence, decide
from luthier.decide._bill import bill, break_even
from luthier.decide._inputs import inputs_of
from luthier.decide._ownership import ledger_of, outlay_of
from luthier.models import shipped_sheet

PAGE = (Path(__file__).parents[2] / "docs" / "costs.md").read_text()
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def number(text: str) -> float:
    return float(text.replace(",", "").replace("$", ""))


def worked(expression: str) -> float:
    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant), ast.dump(node)
        return float(node.value)

    return value(ast.parse(expression.replace("×", "*").replace(",", ""), mode="eval").body)


def decimals(text: str) -> int:
    return len(text.partition(".")[2])


def result(cell: str) -> str:
    """The result of a cell, after its own arithmetic was checked to the last decimal it gives."""
    expression, equals, value = cell.rpartition(" = ")
    if equals:
        assert abs(worked(expression) - number(value)) <= 0.5 * 10 ** -decimals(value) + 1e-9, cell
    return value.strip()


def table(text: str, first: str) -> dict[str, list[str]]:
    """A table by the first word of its head: row name to cells; the head under an empty name."""
    [match] = re.findall(rf"^(\| {first}.*?\|\n\|[-:| ]+\n(?:\|.*\n)+)", text, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in match.splitlines()]
    return {"": rows[0]} | {row[0]: row[1:] for row in rows[2:]}


@dataclass
class Sheet:
    """A worked sheet with what the code makes of its price sheet and measurements."""

    text: str
    rules: Rules
    evidence: Evidence
    report: CostReport
    names: list[str]


SECTIONS = re.findall(r"^### .*?(?=^##)", PAGE + "\n## \n", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(params=range(3), ids=["hosted or tuned", "own server", "retrieval"])
def sheet(request: pytest.FixtureRequest, tmp_path: Path) -> Sheet:
    assert len(SECTIONS) == 3
    text = SECTIONS[request.param]
    [prices] = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "prices.yaml").write_text(prices)
    measured = table(text, "measured")
    names = measured[""][1:]
    [volume] = re.findall(r"^\| over \d+ months at ([\d,]+) a month", text, flags=re.MULTILINE)
    rules = Rules(0.5, 0.03, 0.05, int(number(volume)), inputs=inputs_of(tmp_path / "prices.yaml"))
    columns = [{row: cells[i] for row, cells in measured.items() if row} for i in range(2)]
    rungs = tuple(rung(name, column) for name, column in zip(names, columns, strict=True))
    cases = tuple(str(i) for i in range(len(rungs[0].scores)))
    evidence = Evidence(cases, cases, rungs, True, "exact")
    report = decide(rules, evidence).costs
    assert report is not None
    return Sheet(text, rules, evidence, report, names)


def rung(name: str, column: dict[str, str]) -> RungEvidence:
    right, n = int(column["right answers"]), int(column["test cases"])
    prompt = number(column["prompt tokens"])
    cost = Cost(
        per_1000=None,
        per_month=None,
        once=None,
        prompt_tokens=prompt,
        completion_tokens=number(column["answer tokens"]),
        shared=number(column["found in the cache"]) / prompt,
        seconds=number(column["seconds an answer"]),
        basis="worked by hand",
        mean_seconds=number(column["seconds an answer"]),
        written=number(column["written to the cache"]),
        build_seconds=3600 * number(column["training hours"]),
        examples=int(number(column["labelled examples"])),
    )
    return RungEvidence(name, name, column["base"], "s", (1.0,) * right + (0.0,) * (n - right), cost)  # type: ignore[arg-type]  # the page names methods


def test_every_line_of_the_sheet_is_what_the_code_says(sheet: Sheet) -> None:
    lines = table(sheet.text, "over")
    assert lines.pop("")[1:] == sheet.names
    unchecked = set(lines)
    for place, name in enumerate(sheet.names):
        cells = {row: result(found[place]) for row, found in lines.items()}
        found = sheet.report.of(name)
        assert found is not None and found.total is not None
        assert found.requests is not None and found.errors is not None
        months = sheet.report.months
        said = {
            "1,000 requests": found.per_1000,
            "errors in 1,000 requests": found.errors_per_1000,
            "labelling": found.labelling,
            "training": found.training,
            "upkeep": months * found.upkeep,
            "hosting": months * found.hosting,
            "answers": months * found.requests,
            "errors": months * found.errors,
            "total": found.total,
        }
        for row, value in said.items():
            if row in cells:
                last = min(0.005, 0.5 * 10 ** -decimals(cells[row]))  # to the cent, and to every decimal that is shown
                assert abs(value - number(cells[row])) <= last + 1e-9, (name, row, value)
                unchecked.discard(row)
            else:
                assert value == 0, (name, row)
    # what the code has no figure of its own for enters the lines above by the arithmetic
    assert unchecked <= {"done again, each time", "index refreshes"}


def test_break_even_and_payback_are_what_the_code_says(sheet: Sheet) -> None:
    a, b = sheet.names
    lines = {row: result(cells[0]) for row, cells in table(sheet.text, f"{b} against").items() if row}
    [crossing] = sheet.report.crossings
    assert crossing.volume is not None
    assert (crossing.below, crossing.above) == (a, b)
    assert f"{crossing.volume:,.0f}" == lines.pop("break-even, requests a month")
    if "payback, months" in lines:
        assert crossing.pays_back == b and f"{crossing.payback_months:.2f}" == lines.pop("payback, months")
    else:
        assert crossing.pays_back is None and crossing.payback_months is None
    if "break-even, nothing cached" in lines:
        cold = [bill(o, ledger_of(sheet.rules), {"cached share": 0.0}) for o in outlays(sheet)]
        assert f"{1000 * float(cold[0].request):.2f}" == lines.pop("1,000 requests, nothing cached")
        assert f"{break_even(*cold):,.0f}" == lines.pop("break-even, nothing cached")
    if "value per error at which both cost the same" in lines:
        [turn] = [t for t in sheet.report.turns if t.input == "value per error"]
        assert f"{turn.value:.4f}" == lines.pop("value per error at which both cost the same")
        free = replace(sheet.rules, inputs=replace(sheet.rules.inputs, error_usd=None))
        found = decide(free, sheet.evidence).costs
        assert found is not None
        assert found.crossings[0].volume is None and found.crossings[0].above == a  # as the text below the table says
    assert lines == {}


def outlays(sheet: Sheet) -> list:
    found = [outlay_of(r, sheet.rules.inputs, len(sheet.evidence.cases)) for r in sheet.evidence.rungs]
    assert None not in found
    return found


def test_the_check_of_cells_can_fail() -> None:
    assert result("2 × 140.236 = 280.47") == "280.47"
    with pytest.raises(AssertionError):
        result("2 × 140.236 = 280.48")


def test_the_table_of_what_is_assumed_is_the_sheet_that_ships() -> None:
    rows = table(PAGE, "key")
    named = {row.strip("`"): number(cells[0]) for row, cells in rows.items() if row}
    shipped = shipped_sheet()
    parts = {name: getattr(shipped, name) for name in ("people", "labelling", "upkeep", "horizon")}
    figures = {
        f"{name}.{key}": value
        for name, part in parts.items()
        for key, value in part.model_dump(exclude={"source", "date"}).items()
        if value is not None
    }
    assert named == figures
    assert all(shipped.where_from(part)[0] and shipped.where_from(part)[1] for part in parts.values())


def test_the_example_of_a_sheet_has_every_key(tmp_path: Path) -> None:
    [text] = re.findall(r"```yaml\n(version: 1.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "prices.yaml").write_text(text)
    assert not [figure for figure in vars(inputs_of(tmp_path / "prices.yaml")).values() if figure is None]
    assert set(yaml.safe_load(text)) == set(type(shipped_sheet()).model_fields)
