"""Freed memory stays with the process, unless the user decides about it."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, luthier.models._memory as memory
calls = []
real = ctypes.CDLL(None).mallopt
class C:
    def mallopt(self, *setting): calls.append((setting, real(*setting)))
memory.ctypes.CDLL = lambda name: C()
memory.keep_freed_memory(); memory.keep_freed_memory()
print(calls)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(
    ("environment", "wanted"),
    [({}, "[((-1, 1073741824), 1), ((-3, 33554432), 1)]"), ({"MALLOC_ARENA_MAX": "2"}, "[]")],
)
def test_glibc_takes_the_settings_once(environment, wanted):
    found = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == wanted  # 1 is glibc's word for success
