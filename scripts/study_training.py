"""A small character model trained with quantized attention: forward by a recipe, backward as if it had been exact.

Two layers of width 96 (3 heads of 32), context 192, RoPE; the text is Debian's GPL-3. `train` returns the losses. The
straight-through estimate: output = exact + (quantized - exact).detach(), so that gradients are those of exact attention
at the same Q, K and V.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F

TEXT = pathlib.Path("/usr/share/common-licenses/GPL-3")
WIDTH, HEADS, LAYERS, CONTEXT, BATCH = 96, 3, 2, 192, 8


def rope(x):
    """x [B, H, N, D], D even: pairs (d, d + D / 2) turned by n / 10000^(2 d / D)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


def attend(q, k, v, recipe):
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    if recipe is None:
        return exact
    import octavo

    with torch.no_grad():
        quantized = octavo.attention(*(x.detach().contiguous() for x in (q, k, v)), recipe=recipe, causal=True,
                                     layout="HND")
    return exact + (quantized - exact).detach()


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(WIDTH) for _ in range(2))
        self.qkv, self.out = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.up, self.down = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, recipe):
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(rope(q), rope(k), v, recipe)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class Model(torch.nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embed = torch.nn.Embedding(vocabulary, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm, self.head = torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, vocabulary)

    def forward(self, tokens, recipe):
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, recipe)
        return self.head(self.norm(x))


def train(recipe, steps, seed):
    """Loss of every step (the same batches for all recipes), and of the held-out end of the text in exact attention."""
    torch.manual_seed(seed)
    raw = TEXT.read_text()
    characters = sorted(set(raw))
    tokens = torch.tensor([characters.index(c) for c in raw])
    held_out = tokens[-4 * (CONTEXT + 1):].view(4, CONTEXT + 1)
    tokens = tokens[: -4 * (CONTEXT + 1)]
    model = Model(len(characters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rng, losses = np.random.default_rng(seed), []
    for step in range(steps):
        begins = rng.integers(0, len(tokens) - CONTEXT - 1, BATCH)
        batch = torch.stack([tokens[b : b + CONTEXT + 1] for b in begins])
        loss = F.cross_entropy(model(batch[:, :-1], recipe).flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        tested = F.cross_entropy(model(held_out[:, :-1], None).flatten(0, 1), held_out[:, 1:].flatten()).item()
    return losses, tested
