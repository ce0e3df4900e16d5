"""A release for other tools: a PEFT folder, merged safetensors, or the whole system; checked before it is there."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from luthier.decide import Setup, System, read_setup
from luthier.errors import Problem, ReleaseError
from luthier.models import Model
from luthier.release._card import render_card
from luthier.release._registry import Release, verify_release
from luthier.store import new_folder, read_json, write_json, write_text_atomic

if TYPE_CHECKING:
    from luthier.models import LocalModel

ExportKind = Literal["peft", "merged", "system"]

ADAPTER_CONFIG = "adapter_config.json"
DOCUMENTS = ("evidence", "verdict", "gate", "capability")
PRIVATE = frozenset(
    {"cases.jsonl", "README.md"}
)  # test cases stay here, for who has seen them cannot be tested; new card


def export(
    release: Release, out: Path, kind: ExportKind, *, system: System | None = None, base: LocalModel | None = None
) -> Path:
    """Write a release for use elsewhere. `out` appears whole, and only when its answers are the release's own.

    Args:
        release: what to write.
        out: a folder that does not exist yet, or is empty.
        kind: `peft`: the adapter with its scale baked in, as PEFT loads it; `merged`: a transformers model with the
            adapter in its weights; `system`: everything that the release is, with the instructions as a text file.
        system: the loaded release; needed for `peft` and `merged`, to compare answers.
        base: the base without adapter; needed for `peft` and `merged`.

    Raises:
        ReleaseError: the release was changed, has no adapter, `out` is taken, or the written weights give other
            answers than the release on its stored test cases (their number is named).
    """
    problems = verify_release(release, None)
    if problems:
        raise ReleaseError(
            f"release {release.version} is not what it was; it is not exported",
            problems=problems,
            fix=f"restore {release.folder} from a copy",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReleaseError(f"{out} is not empty", fix="name a new folder: luthier release export NEW_FOLDER")
    setup = read_setup(release.folder)
    if kind != "system" and setup.adapter is None:
        raise ReleaseError(
            f"release {release.version} has no adapter to export",
            why=f"it is {setup.method} on the unchanged {release.lock['base']['name']}",
            fix="luthier release export FOLDER --as system",
        )
    with new_folder(out) as folder:
        if kind == "system":
            _write_system(release, setup, folder)
        else:
            _write_weights(release, setup, folder, kind, system, base)
        documents = {name: found for name in DOCUMENTS if (found := release.document(name)) is not None}
        write_text_atomic(folder / "README.md", render_card(release.lock, documents, kind=kind))
    return out


def _write_system(release: Release, setup: Setup, folder: Path) -> None:
    for path in sorted(release.folder.iterdir()):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        elif path.name not in PRIVATE:
            shutil.copyfile(path, folder / path.name)
    write_text_atomic(folder / "instructions.txt", setup.instructions)


def _write_weights(
    release: Release, setup: Setup, folder: Path, kind: ExportKind, system: System | None, base: LocalModel | None
) -> None:
    assert system is not None and base is not None  # asked for by the signature for these kinds
    adapter = folder if kind == "peft" else folder / "adapter"
    _bake(release.folder / "adapter", adapter, setup.scale)
    if kind == "peft":
        written: Model = base.with_adapter(adapter)
    else:
        written = _melt(base, adapter, folder)
    _demand_same_answers(release, system, written, kind)
    if kind == "peft":
        _change_config(adapter, base_model_name_or_path=release.lock["base"]["name"])
    shutil.copyfile(release.folder / "system.json", folder / "system.json")


def _melt(base: LocalModel, adapter: Path, folder: Path) -> Model:
    """The base with the adapter in its weights, written straight into `folder` in place of the adapter."""
    from luthier.models import load_model
    from luthier.train import merge

    merge(base, adapter, folder / "model")
    shutil.rmtree(adapter)
    for path in sorted((folder / "model").iterdir()):
        path.replace(folder / path.name)
    (folder / "model").rmdir()
    return load_model(str(folder))


def _bake(adapter: Path, out: Path, scale: float) -> None:
    """Copy an adapter with its scale in `lora_alpha`, and without the place on this machine where its base lies.

    So is the scale of rsLoRA: llama.cpp's converter divides by the rank whatever the configuration says.
    """
    shutil.copytree(adapter, out, dirs_exist_ok=True)
    config: dict[str, Any] = read_json(out / ADAPTER_CONFIG)
    patterns = config.get("alpha_pattern") or {}
    if config.get("use_rslora") and not config.get("rank_pattern"):
        scale *= math.sqrt(config["r"])
        _change_config(out, use_rslora=False)
    _change_config(
        out,
        lora_alpha=_whole(config["lora_alpha"] * scale),
        alpha_pattern={name: _whole(alpha * scale) for name, alpha in patterns.items()},
        base_model_name_or_path=None,
    )


def _change_config(adapter: Path, **changes: Any) -> None:
    write_json(adapter / ADAPTER_CONFIG, read_json(adapter / ADAPTER_CONFIG) | changes)


def _whole(alpha: float) -> float | int:
    return int(alpha) if float(alpha).is_integer() else alpha


def _demand_same_answers(release: Release, system: System, written: Model, kind: str) -> None:
    cases = release.cases()
    requests = [system.request(case.messages) for case in cases]
    wanted = {index: answer.text for index, answer in system.model.answer(requests)}
    got = {index: answer.text for index, answer in written.answer(requests)}
    different = [index for index in wanted if got[index] != wanted[index]]
    if different:
        raise ReleaseError(
            f"the {kind} export answers {len(different)} of {len(cases)} stored test cases otherwise than the release",
            why="its weights are rounded differently, so what was measured does not hold for it; nothing was written",
            fix="export the adapter instead (--as peft): it is loaded beside the base, without rounding",
            problems=[
                Problem(f"case {cases[i].id}: {got[i][:60]!r} instead of {wanted[i][:60]!r}") for i in different[:3]
            ],
        )
