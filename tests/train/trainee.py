"""A training run in a process of its own, for tests that kill it: executed with its arguments as globals.

`folder`, `rows`, `recipe`, `out`: what to train and where; `ready`: set once training starts; `reports`: after how many
reports the process kills itself (None: never); `conftest`: the file that defines the development score.
"""

import os
import runpy
import signal

import torch

from luthier.models import load_folder
from luthier.train import fine_tune

left = reports  # noqa: F821


def report(progress):
    global left
    left = left and left - 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


torch.set_num_threads(1)
score = runpy.run_path(conftest)["likelihood_of"](rows)  # noqa: F821
base = load_folder(folder, name="tiny")  # noqa: F821
ready.set()  # noqa: F821
fine_tune(base, rows, recipe, out, score=score, progress=report, checkpoint_seconds=0)  # noqa: F821
