"""QR codes and barcodes that the model added."""

import numpy as np
import zxingcpp

from worker.guards.finding import Finding
from worker.guards.mark_features import Pixels
from worker.guards.sameness import CODE, bounding_box, fitted, is_new, reduced

# ITF, Codabar, Code 39 and DataBar are left out: their few bars are found in any fence.
FORMATS = zxingcpp.barcode_formats_from_str(
    "QRCode,MicroQRCode,RMQRCode,DataMatrix,Aztec,PDF417,Code128,EAN13,EAN8,UPCA"
)


# Larger pictures are read smaller: 24 megapixels would take two seconds of a core, and a code that
# people are to scan is large enough in eight.
MOST_PIXELS = 8_000_000


class CodeGuard:
    """The guard for codes. It loads nothing; the class has the interface of the other guards."""

    def __init__(self) -> None:
        self.added(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8))

    def added(self, given: Pixels, output: Pixels) -> list[Finding]:
        """The contents of codes that are in the output and not in the input."""
        output = reduced(output, MOST_PIXELS)
        found = _read(output)
        if not found:
            return []
        before = fitted(given, output)
        known = {code.bytes for code in _read(before)}
        return [
            Finding(c.text) for c in found if c.bytes not in known and _is_new(c, before, output)
        ]


def _read(pixels: Pixels) -> list[zxingcpp.Barcode]:
    return list(zxingcpp.read_barcodes(np.ascontiguousarray(pixels[..., ::-1]), FORMATS))


def _is_new(code: zxingcpp.Barcode, given: Pixels, output: Pixels) -> bool:
    place = code.position
    corners = (place.top_left, place.top_right, place.bottom_right, place.bottom_left)
    points = np.array([(corner.x, corner.y) for corner in corners], np.float64)
    return is_new(given, output, bounding_box(points, *output.shape[:2]), CODE)
