"""Liger's own kernel on a CPU, in Triton's interpreter (TRITON_INTERPRET=1): prints how it compares with our loss.

The interpreter does not take the kernel's cap, a plain number there, so the architecture has a scale and no cap.
"""

import random
from types import SimpleNamespace

import torch
import transformers

from luthier.train import _head
from luthier.train._rows import EncodedRow
from luthier.train._setting import Setting

VOCABULARY = 301
shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "logits_scaling": 3.0}
rng = random.Random(0)
rows = [EncodedRow(str(n), "", tuple(rng.randrange(3, VOCABULARY) for _ in range(12)), 4) for n in range(4)]
_head.DEVICES = {"cpu"}
for precision in ("float32", "bfloat16"):
    torch.manual_seed(0)
    body = transformers.AutoModelForCausalLM.from_config(transformers.GraniteConfig(**shape | heads)).eval()
    body.to(getattr(torch, precision))
    trainee = SimpleNamespace(sharded=False, device=body.device, body=body, module=body)
    found = _head.with_loss(Setting(precision, "", "padded", ""), trainee, rows)
    print(precision, found.loss, found.loss_reason)
