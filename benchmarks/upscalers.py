"""Measures the enlargers on photos that were not used in training, beside Lanczos.

    python -m benchmarks.upscalers [--enlargers retouch realesrgan_x4plus] [--crop 256]

Each photo is shrunk by area, clean and with a mild JPEG, and enlarged again. Reports PSNR and GMSD
relative to the photo, seconds and memory; writes the table into docs/upscalers.md and the pictures,
side by side at 100 %, into var/upscalers.
"""

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.held_out import held_out_photos
from benchmarks.pages import ROOT, put
from shared.settings import Settings
from shared.upscalers.catalog import UpscalerCatalog
from shared.upscalers.entry import FILTER
from worker.engine.interface import Pixels
from worker.engine.upscale.enlarging import Enlarging
from worker.engine.upscale.loading import load_upscaler
from worker.training.damage.compression import jpeg
from worker.training.metrics import gmsd, psnr

FACTORS = (2, 4)
MILD_QUALITY = 80
LARGE = (4000, 3000)
MIB = 2**20
# Twelve megapixels would take an hour on a CPU.
COSTLY = frozenset({"realesrgan_x4plus"})

Enlarge = Callable[[Pixels, int], Pixels]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    ways = {FILTER: by_filter} | {name: network(name) for name in options.enlargers}
    heads = (f"{f}x clean | {f}x JPEG {MILD_QUALITY}" for f in FACTORS)
    lines = [
        "Mean of PSNR in dB / GMSD over "
        f"{len(held_out_photos())} photos that no training saw; shrunk by area.\n",
        f"| enlarger | {' | '.join(heads)} |",
        "| --- |" + " --- |" * 2 * len(FACTORS),
    ]
    for name, way in ways.items():
        cells = [
            score(way, factor, damaged, options.crop)
            for factor in FACTORS
            for damaged in (False, True)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if options.time:
        lines += ["", *times(ways)]
    text = "\n".join(lines) + "\n"
    print(text)
    sheets(ways, options.crop)
    if options.write:
        put(ROOT / "docs" / "upscalers.md", "upscalers", text)


def by_filter(small: Pixels, factor: int) -> Pixels:
    size = (small.shape[1] * factor, small.shape[0] * factor)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.LANCZOS))


def network(name: str) -> Enlarge:
    """A network of the catalogue as the service runs it."""
    catalog = UpscalerCatalog(Settings().upscalers_dir)
    catalog.scan()
    loaded = load_upscaler(catalog.resolve(name), torch.device("cpu"))

    def enlarge(small: Pixels, factor: int) -> Pixels:
        work = Enlarging(small, factor, loaded)
        with torch.inference_mode():
            while work.result is None:
                work.step()
        return work.result

    return enlarge


def score(way: Enlarge, factor: int, damaged: bool, crop: int) -> str:
    found = []
    for photo in held_out_photos().values():
        true = _cut(photo, crop)
        made = way(shrunk(true, factor, damaged), factor)
        found.append((psnr(made, true), gmsd(made, true)))
    mean = np.mean(found, axis=0)
    return f"{mean[0]:.2f} / {mean[1]:.4f}"


def shrunk(photo: Pixels, factor: int, damaged: bool) -> Pixels:
    size = (photo.shape[1] // factor, photo.shape[0] // factor)
    small = np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BOX))
    return jpeg(small, MILD_QUALITY) if damaged else small


def times(ways: dict[str, Enlarge]) -> list[str]:
    """Seconds for 512 px at 2 times, for 12 megapixels at 2 times, and this process's memory."""
    picture = np.asarray(Image.fromarray(_cut(_first(), 512)).resize((512, 512)))
    large = np.asarray(Image.fromarray(picture).resize(LARGE))
    lines = [
        "| enlarger | 512 px to 1,024, s | 12 MP to 48 MP, s | MiB at most |",
        "| --- | --- | --- | --- |",
    ]
    for name, way in ways.items():
        way(picture, 2)
        small = min(_seconds(way, picture) for _ in range(3))
        whole = "" if name in COSTLY else f"{_seconds(way, large):.1f}"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB
        lines.append(f"| {name} | {small:.2f} | {whole} | {peak:.0f} |")
    return lines


def _seconds(way: Enlarge, picture: Pixels) -> float:
    started = time.perf_counter()
    way(picture, 2)
    return time.perf_counter() - started


def sheets(ways: dict[str, Enlarge], crop: int) -> None:
    """For each photo: the small one by nearest neighbour, every method, and the photo itself."""
    folder = ROOT / "var" / "upscalers"
    folder.mkdir(parents=True, exist_ok=True)
    for name, photo in held_out_photos().items():
        true = _cut(photo, crop)
        for factor in FACTORS:
            small = shrunk(true, factor, True)
            nearest = small.repeat(factor, 0).repeat(factor, 1)
            columns = {"input": nearest} | {w: way(small, factor) for w, way in ways.items()}
            _sheet({**columns, "photo": true}).save(folder / f"{name}-x{factor}.png")


def _sheet(columns: dict[str, Pixels]) -> Image.Image:
    height, width = next(iter(columns.values())).shape[:2]
    sheet = Image.new("RGB", ((width + 4) * len(columns), height + 16), "white")
    for place, (name, pixels) in enumerate(columns.items()):
        sheet.paste(Image.fromarray(pixels), (place * (width + 4), 16))
        ImageDraw.Draw(sheet).text((place * (width + 4) + 2, 2), name, fill="black")
    return sheet


def _cut(photo: Pixels, side: int) -> Pixels:
    """The centre, with sides divisible by all factors."""
    height, width = (min(side, length) // 4 * 4 for length in photo.shape[:2])
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    return photo[top : top + height, left : left + width]


def _first() -> Pixels:
    return next(iter(held_out_photos().values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--enlargers", nargs="*", default=["retouch"])
    parser.add_argument("--crop", type=int, default=512, help="side of the photo's middle, pixels")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--time", action="store_true", help="measure seconds and memory, too")
    parser.add_argument("--write", action="store_true", help="write docs/upscalers.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
