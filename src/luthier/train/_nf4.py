"""A base with its linear layers in 4 bits: NF4 with double quantisation (QLoRA, Dettmers et al. 2023).

Imported only for such a run: bitsandbytes, which keeps the weights, is an optional part.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit, Params4bit, fix_4bit_weight_quant_state_from_module
from peft.tuners.lora.bnb import Linear4bit as AdaptedLinear4bit
from torch import Tensor
from torch.nn import Linear, Parameter
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from luthier.train._lora import LowRank
from luthier.train._rest import give_back

TOGETHER = 8  # layers packed before memory is given back: it takes as long as packing one


def pack(body: PreTrainedModel, dtype: torch.dtype, device: torch.device) -> None:
    """Put the linear layers but the output head in NF4 and the rest in `dtype`, all of it on `device`.

    It is done layer by layer, and what their rounding took is given back on the way: between packed weights, which
    stay, the C library would keep it (SmolLM2-135M: 550 MB). The files that the model was mapped from are let go of.
    """
    own, head = body.dtype, body.get_output_embeddings()  # type: ignore[no-untyped-call]  # without types there
    linear = [name for name, layer in body.named_modules() if isinstance(layer, (Linear, Conv1D)) and layer is not head]
    for number, name in enumerate(linear):
        body.set_submodule(name, _packed(body.get_submodule(name), dtype, device))
        if number % TOGETHER == 0:
            give_back()
    for weight in body.parameters():
        if weight.is_floating_point():  # a weight in another precision than the model's own has a reason for it
            weight.data = weight.data.to(device, dtype if weight.dtype == own else weight.dtype, copy=True)
    body.to(device)  # type: ignore[arg-type]  # its stubs know strings only
    body.config.dtype = dtype


def _packed(layer: Any, dtype: torch.dtype, device: torch.device) -> Linear4bit:
    weight = layer.weight.data.to(dtype)
    if isinstance(layer, Conv1D):  # it is [in, out]
        weight = weight.t()
    make: Any = Linear4bit  # without types, like the method of the weight below
    found: Linear4bit = make(weight.shape[1], weight.shape[0], compute_dtype=dtype, device="meta")
    packed: Any = Params4bit(weight, compress_statistics=True, quant_type="nf4", module=found)
    found.weight = packed.to(device)
    found.bias = layer.bias
    # With AVX512-BF16 it would rewrite the weights at the first pass without gradients, and for good: that rounds the
    # scales again, and nothing that is computed from the new form has a gradient.
    found.support_avx512bf16_for_cpu = False
    return found


def make_divisible(body: torch.nn.Module, device: torch.device) -> None:
    """Have the packed weights be plain parameters, which can be shared out byte by byte.

    Their scales, a thirtieth of them, stay whole: they move to `device`, where each layer keeps them.
    """
    for layer in body.modules():
        if isinstance(layer, Linear4bit):
            packed: Any = layer.weight
            layer.quant_state = packed.quant_state
            layer.quant_state.to(device)
            layer.weight = Parameter(packed.data, requires_grad=False)


class FusedLinear4bit(AdaptedLinear4bit):
    """`FusedLinear` over weights that each pass unpacks and none keeps."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Output [..., out] for x [..., in]."""
        base: Any = self.get_base_layer()
        fix_4bit_weight_quant_state_from_module(base)  # gathered parts come without their scales
        [name] = self.active_adapters
        if self.disable_adapters or self.merged or name in self.lora_variant or args or kwargs:
            plain: Tensor = super().forward(x, *args, **kwargs)
            return plain
        unpack = partial(dequantize_4bit, quant_state=base.weight.quant_state)
        weights = (base.weight.data, base.bias, self.lora_A[name].weight, self.lora_B[name].weight)
        scale = self.scaling[name]
        fused: Tensor = LowRank.apply(x, *weights, scale, unpack)  # type: ignore[no-untyped-call]  # torch's stubs
        return fused


FUSED: dict[type, type] = {Linear4bit: FusedLinear4bit}
