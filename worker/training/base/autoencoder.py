"""Builds the autoencoder of the embedded base: an exact encoder, and a decoder to be trained.

Owns the analytic encoder weights. Knows nothing of the UNet.

The encoder folds every 2x2 block of pixels into channels (as FFDNet does, Zhang et al. 2018,
arXiv:1710.04026), so a latent holds the colours of four pixels without loss, and a distance between
latents is a distance between pictures. The decoder unfolds them. A nearest-neighbour upsampling
cannot do that exactly, so the decoder is trained.
"""

import torch
from diffusers import AutoencoderTiny

# Raw latents stay near zero, where the decoder's clamp, 3 tanh(z / 3), is linear.
RAW_SPAN = 0.25
FOLD = 2
CHANNELS = 3 * FOLD * FOLD


def build_autoencoder(
    width: int, decoder_blocks: tuple[int, int], latent_scale: float
) -> AutoencoderTiny:
    """A new autoencoder whose encoder is final and whose decoder is untrained.

    `latent_scale` is the size of the UNet's latents for pixels in [-1, 1].
    """
    vae = AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS, CHANNELS),
        decoder_block_out_channels=(width, width),
        num_encoder_blocks=(0, 0),
        num_decoder_blocks=decoder_blocks,
        latent_channels=CHANNELS,
        scaling_factor=latent_scale / RAW_SPAN,
    )
    _set_encoder(vae)
    return vae


@torch.no_grad()
def _set_encoder(vae: AutoencoderTiny) -> None:
    """Copies the colours, folds 2x2 blocks by a strided convolution, shifts [0, 1] to
    +-RAW_SPAN.
    """
    copy, fold, shift = vae.encoder.layers
    for layer in (copy, fold, shift):
        layer.weight.zero_()
    for colour in range(3):
        copy.weight[colour, colour, 1, 1] = 1
        for row in range(FOLD):
            for column in range(FOLD):
                channel = (colour * FOLD + row) * FOLD + column
                # The window of a stride-2, padding-1 convolution is centred on the even pixel.
                fold.weight[channel, colour, 1 + row, 1 + column] = 1
    copy.bias.zero_()
    for channel in range(CHANNELS):
        shift.weight[channel, channel, 1, 1] = 2 * RAW_SPAN
    shift.bias.fill_(-RAW_SPAN)
