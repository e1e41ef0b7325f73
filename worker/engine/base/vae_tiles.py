"""The autoencoder's own tiles, which bound the memory of encoding and decoding.

Owns their size. The tiles of a whole job are another matter: worker/engine/step/tiles.py.
"""

from typing import Any

from diffusers import AutoencoderTiny

# Pixels. diffusers' default is the size of the training pictures, with which SDXL's autoencoder
# would handle a picture of 1,024 px in one piece.
SIDE = 512


def tile_vae(vae: Any, enabled: bool) -> bool:
    """Switches tiling on or off; False if the autoencoder does not support it."""
    if isinstance(vae, AutoencoderTiny):
        return False  # its tiles fit one configuration only, and it needs little memory
    switch = getattr(vae, "enable_tiling" if enabled else "disable_tiling", None)
    if switch is None:
        return False
    switch()
    side = getattr(vae, "tile_sample_min_size", None)
    if isinstance(side, int) and side > SIDE:
        vae.tile_latent_min_size = vae.tile_latent_min_size * SIDE // side
        vae.tile_sample_min_size = SIDE
    return True
