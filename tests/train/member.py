"""One of several processes that train together: executed with its arguments as globals.

`rank`, `size`, `port`: its place in the group; `folder`, `rows`, `recipe`, `replay`, `out`: what to train and where;
`shard`: share the weights out; `half`: the base answers in bf16; `recompute`: layers run again for their gradients;
`conftest`: the file that defines the development score; `interrupted`: which of them sends itself the signal `number`
as its step `stop_after` (None: never) begins.
"""

import os
import runpy
from dataclasses import replace

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

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
        os.kill(os.getpid(), number)  # noqa: F821


import luthier.train._loop as loop  # noqa: E402

step = loop._Run._step


def counted(run):
    count()
    weights = [weight for name, weight in run.trainee.body.named_parameters() if "lora" not in name]
    kinds = {weight.dtype for weight in weights}
    assert (torch.uint8 in kinds) is (recipe.method == "qlora")  # noqa: F821
    for kind in kinds:  # packed weights are shared out like the others
        of_it = [weight for weight in weights if weight.dtype == kind]
        here = sum((weight.to_local() if isinstance(weight, DTensor) else weight).numel() for weight in of_it)
        whole = sum(weight.numel() for weight in of_it)
        assert here < 1.2 / size * whole if shard else here == whole  # noqa: F821
    step(run)


def setting(*given):
    return replace(found(*given), recompute=recompute)  # noqa: F821


found = loop.setting_for
loop.setting_for = setting
loop._Run._step = counted
score = runpy.run_path(conftest)["likelihood_of"](rows)  # noqa: F821
base = load_folder(folder, name="tiny")  # noqa: F821
if half:  # noqa: F821
    base.module.bfloat16()
try:
    fine_tune(base, rows, recipe, out, score=score, replay=replay, checkpoint_seconds=1e9, shard=shard)  # noqa: F821
except KeyboardInterrupt:
    os._exit(9)
os._exit(0)
