"""How much memory there is, read from kernels that are made up."""

import gc
import os

import pytest
import torch

from luthier.train._rest import give_back
from luthier.train._room import Highest, free_disk, memory_limit, resident

CPU = torch.device("cpu")
MB = 2**20


@pytest.fixture
def kernel(tmp_path):
    """A machine with 8 GB free, on which this process holds 100 MB."""
    write(tmp_path / "proc/meminfo", f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n")
    pages = 100 * MB // os.sysconf("SC_PAGE_SIZE")
    write(tmp_path / "proc/self/statm", f"999999 {pages} 1 1 0 1 0\n")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_it_is_what_the_machine_has_free(kernel):
    assert memory_limit(CPU, kernel) == 8 * 2**30 + 100 * MB


def test_a_control_group_limits_it_and_file_pages_do_not_count(kernel):
    write(kernel / "proc/self/cgroup", "0::/a/b\n")
    for folder, limit in (("a/b", "max"), ("a", str(2048 * MB)), ("", "max")):
        group = kernel / "sys/fs/cgroup" / folder
        write(group / "memory.max", f"{limit}\n")
        write(group / "memory.current", f"{1024 * MB}\n")
        write(group / "memory.stat", f"anon 1\ninactive_file {256 * MB}\n")
    assert memory_limit(CPU, kernel) == (2048 - 1024 + 256 + 100) * MB


def test_a_container_sees_its_own_group_as_the_root(kernel):
    write(kernel / "proc/self/cgroup", "0::/docker/0123\n")  # the path on the host
    group = kernel / "sys/fs/cgroup"
    write(group / "memory.max", f"{512 * MB}\n")
    write(group / "memory.current", f"{200 * MB}\n")
    write(group / "memory.stat", "inactive_file 0\n")
    assert memory_limit(CPU, kernel) == (512 - 200 + 100) * MB


def test_control_groups_of_version_1(kernel):
    write(kernel / "proc/self/cgroup", "5:memory:/job\n3:cpu,cpuacct:/job\n")
    group = kernel / "sys/fs/cgroup/memory/job"
    write(group / "memory.limit_in_bytes", f"{1024 * MB}\n")
    write(group / "memory.usage_in_bytes", f"{300 * MB}\n")
    write(group / "memory.stat", f"cache 5\ntotal_inactive_file {100 * MB}\n")
    assert memory_limit(CPU, kernel) == (1024 - 300 + 100 + 100) * MB


def test_the_highest_sees_memory_that_came_and_went():
    gc.collect()  # what earlier tests have left must not go away in between
    give_back()
    highest = Highest()
    highest.reset()
    before = resident()
    held = torch.ones(256 * MB // 4)
    del held
    give_back()  # a block that was cut from a larger free one goes back to it, and stays
    most = highest.bytes()
    if most is None:
        pytest.skip("this system does not say")
    assert most - before >= 200 * MB
    assert resident() < most


def test_free_disk_is_that_of_the_nearest_folder_there_is(tmp_path):
    assert free_disk(tmp_path / "not" / "yet") == pytest.approx(free_disk(tmp_path), rel=0.2)
