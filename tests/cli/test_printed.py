"""What the command line prints holds no markup and no control characters of the data, and leaves its texts whole."""

import dataclasses
import io
import sys

import pytest

from luthier.audit import ShownRow
from luthier.cli._checked import _shown
from luthier.cli._progress import Bars
from luthier.cli._tables import escape, print_verdict
from luthier.cli._verb import _fail, print_json
from luthier.decide import Cluster, Evidence, Failures, FailureSample, Rules, RungEvidence, decide
from luthier.errors import DataError

UNHARMED = ("[red]x[/] [/red] [/]", r"\[ a^2 \]", ":smile:", "[bold", "[link=http://b]c[/link]", r"\[red]", r"a\\[b]")
UNSEEN = "\x1b[31m \x1b]0;title\x07 \x9b2J \x00 \x08 \u202e \ud800"
SPELLED = r"\x1b[31m \x1b]0;title\x07 \x9b2J \x00 \x08 \u202e \ud800"


def verdict_on(text: str):
    cases = tuple(f"case{i}" for i in range(40))
    name = f"prompt on {text}"
    rungs = (
        RungEvidence(name, "prompt", "x", "s", (1.0,) * 10 + (0.0,) * 30, None, {"chosen": text}),
        RungEvidence("few-shot", "few-shot", "x", "t", (), skipped=text),
    )
    one = FailureSample("case1", text, text, text, text)
    failures = Failures(name, 1.0, 40, 30, 30, (Cluster("format", text, text, 9, 0.9, 0.6, 0.98, (one,)),))
    evidence = Evidence(cases, cases, rungs, True, f"python:{text}", failures=failures)
    verdict = decide(Rules(0.8, 0.03, 0.05, 1000), evidence)
    return dataclasses.replace(verdict, reasons=(text,), advice=(text,), flips=(text,)), evidence


@pytest.mark.parametrize("text", UNHARMED)
def test_texts_are_printed_as_they_are(text, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_verdict(*verdict_on(text))
    printed = capsys.readouterr().out
    for wanted in (f"because: {text}\n", f"next: {text}\n", f"would change it: {text}\n", f"{text} → {text}"):
        assert wanted in printed, wanted
    assert f"the ladder: python:{text}," in printed and f" prompt on {text[:9]}" in printed


def test_no_text_reaches_the_terminal_as_a_command(capsys):
    print_verdict(*verdict_on(UNSEEN))
    print_verdict(*verdict_on("W" * 300))
    printed = capsys.readouterr().out
    assert f"because: {SPELLED}\n" in printed
    assert not set("\x1b\x07\x9b\x00\x08\u202e\ud800") & set(printed)
    assert "".join(c for c in printed if c == "W").count("W" * 300) >= 5  # broken over lines, not cut
    _fail(DataError(f"not {UNSEEN}\nfix it"), as_json=False)
    assert capsys.readouterr().err.endswith(f": not {SPELLED}\nfix it\n")


def test_escaping_leaves_brackets_and_backslashes():
    from rich.text import Text

    for text in UNHARMED:
        assert Text.from_markup(f"[dim]{escape(text)}[/dim].", emoji=False).plain == f"{text}."


def test_rows_are_shown_without_control_characters():
    row = ShownRow("rows.jsonl:1", (("a\x1b[2J\n", True), ("[/]", False)))
    assert _shown(row).plain.endswith("a\\x1b[2J⏎\n[/]")


def test_progress_takes_any_text(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = Bars(quiet=False)
    bars("training [/x]", 1, 2, "[/] [red]")
    bars("training [/x]", 2, 2, "[/] [red]")
    assert "[/] [red]" in sys.stderr.getvalue()


def test_half_a_character_has_its_escape_in_json(capsys):
    print_json({"text": "é\ud800"})
    assert capsys.readouterr().out == '{\n  "text": "é\\ud800"\n}\n'
