"""The package costs nothing until it is used."""

import subprocess
import sys

import pytest

import luthier.train

HEAVY = ["accelerate", "peft", "sklearn", "torch", "transformers"]


@pytest.mark.parametrize("name", ["train", "models", "decide", "release", "api", "audit", "upkeep", "cli"])
def test_importing_it_loads_neither_torch_nor_transformers(name):
    code = f"import sys, luthier.{name}; print(sorted(set({HEAVY}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_exported_name_is_there():
    assert all(getattr(luthier.train, name) is not None for name in luthier.train.__all__)
