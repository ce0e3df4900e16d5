"""The package costs nothing until it is used."""

import subprocess
import sys

import luthier.train


def test_importing_it_loads_neither_torch_nor_transformers():
    code = "import sys, luthier.train; print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_exported_name_is_there():
    assert all(getattr(luthier.train, name) is not None for name in luthier.train.__all__)
