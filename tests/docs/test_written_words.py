"""What README and docs say is true of the code: commands, tasks, Python, links, files, verbs."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from luthier.cli import VERBS, main
from luthier.spec import Task

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(language: str) -> list[tuple[str, str]]:
    """(page and line, text) of every fenced block of a language."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", match.group(1)))
    return found


def _commands(program: str) -> list[tuple[str, list[str]]]:
    found = []
    for place, block in _blocks("sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and Path(words[0]).name == program:
                found.append((place, words))
    return found


def _parse(words: list[str]) -> None:
    """Walk the words through click's own parsers; raises click.UsageError where the command line would."""
    command: click.Command = main
    context = click.Context(command, info_name="luthier")
    rest = words[1:]
    while True:
        values, rest, _ = command.make_parser(context).parse_args(rest)
        for parameter in command.params:
            if values.get(str(parameter.name)) is not None:
                parameter.type_cast_value(context, values[str(parameter.name)])
        if not (isinstance(command, click.Group) and rest):
            break
        name, sub, rest = command.resolve_command(context, rest)
        assert sub is not None
        command, context = sub, click.Context(sub, parent=context, info_name=name)
    if rest:
        raise click.UsageError(f"unexpected: {rest}")


@pytest.mark.parametrize(("place", "words"), _commands("luthier"), ids=lambda value: str(value))
def test_commands_are_understood(place: str, words: list[str]) -> None:
    _parse(words)


@pytest.mark.parametrize("line", ["luthier decode", "luthier check --fixx", "luthier release export x --as gguf"])
def test_the_check_of_commands_can_fail(line: str) -> None:
    with pytest.raises(click.UsageError):
        _parse(shlex.split(line))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {word for _, words in _commands("make") for word in words[1:]}
    assert {"demo", "test"} <= named <= targets


def test_readme_names_every_verb_once_in_its_table() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^\| `luthier ([a-z]+)` \|", readme, flags=re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize(("place", "text"), [b for b in _blocks("yaml") if b[1].startswith("task:")])
def test_tasks_in_the_docs_are_tasks(place: str, text: str) -> None:
    Task.model_validate(yaml.safe_load(text))


@pytest.mark.parametrize(("place", "text"), _blocks("python"))
def test_python_in_the_docs_imports_what_exists(place: str, text: str) -> None:
    lines = [line for line in text.splitlines() if line.strip()]
    if place.startswith("README"):
        assert len(lines) <= 8
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("luthier"):
            module = importlib.import_module(str(node.module))
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_docs_exist(page: Path) -> None:
    for name in re.findall(r"`((?:src|tests|docs|benchmarks)/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists(), name


def test_readme_tree_is_the_tree() -> None:
    tree = re.search(r"```text\nsrc/luthier/\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    assert tree is not None
    named = [line.split()[0].rstrip("/") for line in tree.group(1).splitlines()]
    folder = ROOT / "src/luthier"
    there = {p.name for p in folder.iterdir() if not p.name.startswith(("_", ".")) and p.name != "py.typed"}
    assert sorted(named) == sorted(there)


def test_layer_line_of_the_docs_is_the_enforced_one() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    enforced = " > ".join(layer for layer in contracts[0]["layers"] if layer != "__main__")
    assert f"`{enforced}`" in (ROOT / "docs/architecture.md").read_text()
