"""A base with its linear layers in 4 bits: NF4 with double quantisation (QLoRA, Dettmers et al. 2023).

Imported only for such a run: bitsandbytes, which keeps the weights, is an optional part.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn.modules import Linear4bit, fix_4bit_weight_quant_state_from_module
from peft.tuners.lora.bnb import Linear4bit as AdaptedLinear4bit
from torch import Tensor
from torch.nn import Parameter
from transformers import BitsAndBytesConfig

from luthier.train._lora import LowRank


def four_bits(dtype: torch.dtype) -> Any:
    """How transformers loads a model in NF4 that multiplies in `dtype`."""
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]  # it has no types
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def settle(body: torch.nn.Module) -> None:
    """Have no layer rewrite its weights for inference, and let go of the files that the model was read from.

    On processors with AVX512-BF16 bitsandbytes rewrites weights at the first pass without gradients, and for good: it
    rounds the scales again, and nothing that is computed from the new form has a gradient. Of a file that was mapped
    into memory, one weight that still lies there (an embedding that is in the wanted precision) keeps the whole.
    """
    for layer in body.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
    for weight in body.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.clone()


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
