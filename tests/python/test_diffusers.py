"""octavo.diffusers on small random models: a DiT pipeline over its timesteps, Flux through the dispatcher, masks."""

import numpy as np
import pytest
from conftest import required
from oracle import relative_error

import octavo

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("one_torch_thread")]


@pytest.fixture(scope="module")
def diffusers():
    diffusers = required("diffusers")
    import octavo.diffusers

    return diffusers


@pytest.fixture(autouse=True)
def no_gradients(torch):
    torch.manual_seed(0)
    with torch.inference_mode():
        yield


@pytest.fixture
def pipeline(torch, diffusers):
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=4, attention_head_dim=16, in_channels=4, out_channels=8, num_layers=3, sample_size=16,
        patch_size=2, num_embeds_ada_norm=1000,
    )  # fmt: skip
    for name, parameter in transformer.named_parameters():
        if "to_q.weight" in name or "to_k.weight" in name:
            parameter.mul_(4)  # fresh weights give nearly uniform attention
    vae = diffusers.AutoencoderKL(block_out_channels=(32,), layers_per_block=1, latent_channels=4)
    return diffusers.DiTPipeline(transformer.eval(), vae.eval(), diffusers.DDIMScheduler())


def trajectory(torch, pipeline):
    """The latents after each step of the pipeline."""
    latents = []
    step = pipeline.scheduler.step

    def recorded(*arguments, **keywords):
        made = step(*arguments, **keywords)
        latents.append(made.prev_sample.numpy().copy())
        return made

    pipeline.scheduler.step = recorded
    try:
        pipeline.set_progress_bar_config(disable=True)
        image = pipeline(
            class_labels=[3], num_inference_steps=4, generator=torch.Generator().manual_seed(1), output_type="np"
        ).images
    finally:
        pipeline.scheduler.step = step
    return latents, image


def test_dit_over_its_timesteps(torch, diffusers, pipeline):
    expected, image = trajectory(torch, pipeline)
    with octavo.diffusers.enable("exact"):
        same, _ = trajectory(torch, pipeline)
    with octavo.diffusers.enable("int8"):
        quantized, quantized_image = trajectory(torch, pipeline)
    with octavo.diffusers.enable("int4"):
        coarse, _ = trajectory(torch, pipeline)
    again, _ = trajectory(torch, pipeline)
    assert len(expected) == 4
    for step in range(4):
        assert relative_error(same[step], expected[step]) < 1e-4
        assert 0 < relative_error(quantized[step], expected[step]) < 0.04
        assert relative_error(quantized[step], expected[step]) < relative_error(coarse[step], expected[step])
        assert np.array_equal(again[step], expected[step])  # disabled again
    assert np.isfinite(quantized_image).all() and np.abs(quantized_image - image).mean() < 0.02


def test_flux_uses_the_dispatcher(torch, diffusers):
    model = diffusers.FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8],
    ).eval()  # fmt: skip
    arguments = {
        "hidden_states": torch.randn(1, 16, 4), "encoder_hidden_states": torch.randn(1, 8, 32),
        "pooled_projections": torch.randn(1, 32), "timestep": torch.tensor([0.5]), "img_ids": torch.rand(16, 3),
        "txt_ids": torch.zeros(8, 3), "return_dict": False,
    }  # fmt: skip
    expected = model(**arguments)[0].numpy()
    with octavo.diffusers.enable("exact"):
        assert relative_error(model(**arguments)[0].numpy(), expected) < 1e-5
    with octavo.diffusers.enable():
        assert 0 < relative_error(model(**arguments)[0].numpy(), expected) < 0.02


@pytest.mark.parametrize("kind", ["padding", "bool", "float"])
def test_masks_are_never_dropped(torch, diffusers, kind):
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    q, k, v = (torch.randn(2, 12, 4, 16) for _ in range(3))
    mask = {
        "padding": torch.arange(12).expand(2, 12) < torch.tensor([[12], [5]]),
        "bool": torch.rand(2, 1, 12, 12) < 0.5,
        "float": torch.randn(2, 4, 12, 12),
    }[kind]
    expected = dispatch_attention_fn(q, k, v, attn_mask=mask)
    with octavo.diffusers.enable("exact"):
        o = dispatch_attention_fn(q, k, v, attn_mask=mask)
        without = dispatch_attention_fn(q, k, v)
    assert o.shape == expected.shape and torch.allclose(o, expected, atol=1e-5)
    assert relative_error(without.numpy(), expected.numpy()) > 0.1


def test_unsupported(torch, diffusers):
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    q = torch.randn(1, 6, 2, 16)
    with octavo.diffusers.enable():
        for keywords, words in (
            ({"dropout_p": 0.1}, "dropout_p: 0.1"),
            ({"attention_kwargs": {"return_lse": True}}, "return_lse"),
            ({"attention_kwargs": {"top_k": 3}}, "keywords top_k are not supported"),
            ({"parallel_config": object()}, "context parallelism"),
        ):
            with pytest.raises(NotImplementedError, match=f"{words}.*fallback"):
                dispatch_attention_fn(q, q, q, **keywords)
    expected = dispatch_attention_fn(q.double(), q.double(), q.double())
    with octavo.diffusers.enable(on_unsupported="fallback") as enabled:
        assert torch.equal(dispatch_attention_fn(q.double(), q.double(), q.double()), expected)
    assert list(enabled.fallbacks.values()) == [1]
    for keywords, words in (({"backend": "fast"}, "backend: 'fast'"), ({"on_unsupported": "warn"}, "'fallback'"),
                            ({"recipe": "int9"}, "int9")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            octavo.diffusers.enable(**keywords)


def test_disable_restores_everything(torch, diffusers):
    from diffusers.models import attention_dispatch, attention_processor

    registry = attention_dispatch._AttentionBackendRegistry

    def state():
        return (dict(registry._backends), dict(registry._constraints), dict(registry._supported_arg_names),
                set(registry._supports_context_parallel), attention_processor.F)  # fmt: skip

    before = state()
    outer = octavo.diffusers.enable()
    octavo.diffusers.enable("exact", backend="_native_math")
    with pytest.raises(RuntimeError, match="undone first"):
        octavo.diffusers.disable(outer)
    octavo.diffusers.disable()
    octavo.diffusers.disable()
    assert state() == before and attention_processor.F is torch.nn.functional
    with pytest.raises(RuntimeError, match="not enabled"):
        octavo.diffusers.disable()
