"""The step that keeps what the autoencoder loses."""

import pytest
import torch

from worker.engine.fidelity import apply_fidelity, crop_to, gaussian_blur, pad_to_multiple


def picture(height: int = 24, width: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_none_gives_back_the_decoded_picture() -> None:
    decoded = picture(seed=1)
    assert apply_fidelity("none", picture(), decoded, picture(seed=2)) is decoded


def test_residual_gives_back_the_source_exactly_where_the_model_changed_nothing() -> None:
    source, reconstructed = picture(), picture(seed=1)
    kept = apply_fidelity("residual", source, reconstructed, reconstructed)
    torch.testing.assert_close(kept, source, atol=1e-6, rtol=0)


def test_residual_adds_exactly_the_models_correction() -> None:
    source, reconstructed = picture(), picture(seed=1)
    correction = picture(seed=2) * 0.1
    kept = apply_fidelity("residual", source, reconstructed + correction, reconstructed)
    torch.testing.assert_close(kept, source + correction, atol=1e-6, rtol=0)


def test_low_repairs_a_lost_colour_cast_and_leaves_fine_noise_out() -> None:
    # Given a reconstruction that is too dark and has lost a checkerboard of noise
    clean = torch.zeros(1, 3, 32, 32)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    noise = (((rows + columns) % 2) * 2 - 1).float() * 0.2
    source, reconstructed = clean + noise, clean - 0.3

    kept = apply_fidelity("low", source, reconstructed, reconstructed)

    inner = kept[..., 8:-8, 8:-8]
    assert inner.abs().max() < 0.01


@pytest.mark.parametrize(("height", "width"), [(24, 24), (25, 31), (1, 7), (16, 17)])
def test_any_size_comes_back_as_it_was(height: int, width: int) -> None:
    source = picture(height, width)
    padded = pad_to_multiple(source, 8)
    assert padded.shape[-2] % 8 == 0
    assert padded.shape[-1] % 8 == 0
    assert torch.equal(crop_to(padded, source), source)


def test_the_padding_repeats_the_edge() -> None:
    source = picture(9, 10)
    padded = pad_to_multiple(source, 8)
    assert torch.equal(padded[..., :9, 15], source[..., :, 9])
    assert torch.equal(padded[..., 15, :10], source[..., 8, :])


def test_a_flat_picture_stays_flat_up_to_its_edges_when_blurred() -> None:
    flat = torch.full((1, 3, 12, 9), 0.4)
    torch.testing.assert_close(gaussian_blur(flat, 2.0), flat)


def test_pictures_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        apply_fidelity("low", picture(), picture(8, 8), picture())


def test_an_unknown_mode_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="sharpest"):
        apply_fidelity("sharpest", picture(), picture(), picture())  # type: ignore[arg-type]
