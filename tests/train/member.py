"""One of several processes that train together: executed with its arguments as globals.

`rank`, `size`, `port`: its place in the group; `folder`, `rows`, `recipe`, `replay`, `out`: what to train and where;
`conftest`: the file that defines the development score; `interrupted`: which of them interrupts itself as its step
`stop_after` (None: never) begins.
"""

import os
import runpy
import signal

import torch
import torch.distributed as dist

from luthier.models import load_folder
from luthier.train import fine_tune

torch.set_num_threads(1)
torch.cpu.get_capabilities = dict  # single precision, so that what differs is the order of sums alone
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)  # noqa: F821
steps = 0


def count(*_):
    global steps
    steps += 1
    if steps == stop_after and rank == interrupted:  # noqa: F821
        os.kill(os.getpid(), signal.SIGTERM)


import luthier.train._loop as loop  # noqa: E402

step = loop._Run._step


def counted(run):
    count()
    step(run)


loop._Run._step = counted
score = runpy.run_path(conftest)["likelihood_of"](rows)  # noqa: F821
base = load_folder(folder, name="tiny")  # noqa: F821
try:
    fine_tune(base, rows, recipe, out, score=score, replay=replay, checkpoint_seconds=1e9)  # noqa: F821
except KeyboardInterrupt:
    os._exit(9)
os._exit(0)
