"""A linear layer with a low-rank adapter whose forward and backward passes are one step each.

PEFT's own layer makes the adapter's output, scales it and adds it: three passes over a tensor as large as the layer's
output, and as many for gradients. Here both products go into one result. Parameters, names, files and switching the
adapter off stay PEFT's; the layer is given to it by the hook that it has for layers of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor


class FusedLinear(Linear):
    """`x W' + b + scale * x A' B'`, with a closed-form gradient."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Output [..., out] for x [..., in]."""
        [name] = self.active_adapters
        if self.disable_adapters or self.merged or name in self.lora_variant or args or kwargs:
            plain: Tensor = super().forward(x, *args, **kwargs)  # DoRA and its like compute something else
            return plain
        base = self.get_base_layer()
        weights = (base.weight, base.bias, self.lora_A[name].weight, self.lora_B[name].weight)
        fused: Tensor = LowRank.apply(x, *weights, self.scaling[name])  # type: ignore[no-untyped-call]  # torch's stubs
        return fused


def fuse(config: Any, four_bit: Mapping[type, type] | None = None) -> None:
    """Have PEFT put `FusedLinear` on plain linear layers, and the layers named in `four_bit` on theirs."""
    # The first class that fits is taken, and a 4-bit layer is a linear one.
    config._register_custom_module({**(four_bit or {}), torch.nn.Linear: FusedLinear})


def fused_layers(module: torch.nn.Module) -> tuple[int, int]:
    """How many adapted layers are fused, and how many there are."""
    adapted = [layer for layer in module.modules() if isinstance(layer, LoraLayer)]
    return sum(type(layer).__name__.startswith("Fused") for layer in adapted), len(adapted)


class LowRank(torch.autograd.Function):
    """W is [out, in] and frozen, A [rank, in], B [out, rank]; only the rank-wide product is kept for backward.

    `unpack` makes W of what is kept of it, in either pass; None where W is kept itself.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        unpack: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = flat @ a.t()
        out = torch.nn.functional.linear(flat, unpack(w) if unpack else w, bias).addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(flat, low, w, a, b)
        ctx.scale, ctx.unpack = scale, unpack
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None, None]:
        flat, low, w, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, b.shape[0])
        through = (gradient @ b).mul_(ctx.scale)
        to_b = (gradient.t() @ low).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            weight = ctx.unpack(w) if ctx.unpack else w
            to_x = (gradient @ weight).addmm_(through, a).view(*gradients[0].shape[:-1], -1)
        return to_x, None, None, through.t() @ flat, to_b, None, None
