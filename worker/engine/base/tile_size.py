"""How large a picture a base makes in one piece, and the smaller sizes when memory is short.

Owns the numbers by family. worker/engine/step/tiles.py owns how a picture is cut.
"""

from dataclasses import dataclass

from shared.bases import SD15, SD21, TINY

# Latents must consist of whole cells of the autoencoder and of the UNet's halvings.
SIDE_MULTIPLE = 16

# A window may have this many times the pixels of a square of the comfortable side, and a side this
# many times as long: a picture slightly larger than comfortable is not worth a seam.
AREA_SLACK = 1.27
SIDE_SLACK = 1.5
SMALLER = 0.75


@dataclass(frozen=True)
class TileSize:
    """Sides in pixels: the base's comfortable side, the overlap of two neighbours, the smallest
    useful side.

    A side of 0 means that pictures are never cut.
    """

    side: int = 0
    overlap: int = 0
    least: int = 0

    def most(self, height: int, width: int) -> int:
        """The longest side of a picture of this shape that is made in one piece."""
        slenderness = max(height, width) / min(height, width)
        return int(self.side * min(SIDE_SLACK, (AREA_SLACK * slenderness) ** 0.5))

    def smaller(self) -> "TileSize | None":
        """The next smaller size, if there is one."""
        return self.of_side(int(self.side * SMALLER) // SIDE_MULTIPLE * SIDE_MULTIPLE)

    def below(self, height: int, width: int) -> "TileSize | None":
        """A size that cuts a picture which was to be made in one piece, if there is one."""
        side = min(self.side, (height * width) ** 0.5) * SMALLER
        while (
            smaller := self.of_side(int(side) // SIDE_MULTIPLE * SIDE_MULTIPLE)
        ) and smaller.fits(height, width):
            side *= SMALLER
        return smaller

    def of_side(self, side: int) -> "TileSize | None":
        """The same with another side, if that is useful."""
        if not self.side or side < max(self.least, SIDE_MULTIPLE):
            return None
        return TileSize(
            side,
            min(self.overlap, side // 4 // SIDE_MULTIPLE * SIDE_MULTIPLE or SIDE_MULTIPLE),
            self.least,
        )

    def fits(self, height: int, width: int) -> bool:
        """Whether a picture of this size is made in one piece."""
        if not self.side:
            return True
        within = height * width <= AREA_SLACK * self.side**2
        return within and max(height, width) <= SIDE_SLACK * self.side


WHOLE = TileSize()


def choose_tile_size(base_id: str, has_room: bool) -> TileSize:
    """The size that suits a base; smaller if its device has little memory left."""
    if base_id == TINY.id:
        return TileSize(side=512, overlap=32, least=128)
    if base_id in (SD15.id, SD21.id):
        return TileSize(side=768 if has_room else 512, overlap=96, least=256)
    return TileSize(side=1024, overlap=128, least=512)
