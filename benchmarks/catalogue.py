"""The catalogue's cost: 1,000 LoRAs scanned, held in memory, found by name, offered when dropped.

    python -m benchmarks.catalogue [--files 1000] [--folders 1] [--rank 4] [--drops 20]

Files have the names and shapes of an SD 1.5 attention LoRA in kohya's dialect (792 tensors), with
random weights. "Cold" scans run in new processes and read every byte; each row says whether from
disk or from the page cache. Prints one table; processor time beside time tells how busy the machine
was with other work.
"""

import argparse
import json
import logging
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import psutil
import structlog

from benchmarks.machine import describe_machine
from shared.loras.catalog import Catalog

_LEVELS = (("down_blocks", 3, 2), ("up_blocks", 4, 3))
_WIDTHS = {"down_blocks": (320, 640, 1280), "up_blocks": (None, 1280, 640, 320)}


def blocks() -> Iterator[tuple[str, int]]:
    """The attention blocks of SD 1.5's UNet with their channels."""
    for name, levels, layers in _LEVELS:
        for level in range(levels):
            width = _WIDTHS[name][level]
            if width is not None:
                yield from ((f"{name}_{level}_attentions_{i}", width) for i in range(layers))
    yield "mid_block_attentions_0", 1280


def modules() -> Iterator[tuple[str, int, int]]:
    """Every adapted module of the UNet and the text encoder: name, in- and out-features."""
    for block, width in blocks():
        stem = f"lora_unet_{block}_transformer_blocks_0_"
        for attention, context in (("attn1", width), ("attn2", 768)):
            for part in ("to_q", "to_k", "to_v", "to_out_0"):
                reads = context if part in ("to_k", "to_v") else width
                yield f"{stem}{attention}_{part}", reads, width
        yield f"{stem}ff_net_0_proj", width, 8 * width
        yield f"{stem}ff_net_2", 4 * width, width
    for layer in range(12):
        for part in ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "mlp_fc1"):
            out = 3072 if part == "mlp_fc1" else 768
            yield f"lora_te_text_model_encoder_layers_{layer}_{part}", 768, out


def lora_header(rank: int) -> tuple[bytes, int]:
    """The bytes before the weights, and the number of weight bytes."""
    header: dict[str, object] = {"__metadata__": {"ss_base_model_version": "sd_v1"}}
    offset = 0
    for name, reads, writes in modules():
        shapes = {"lora_down.weight": [rank, reads], "lora_up.weight": [writes, rank], "alpha": []}
        for part, shape in shapes.items():
            size = 2 * (shape[0] * shape[1] if shape else 1)
            header[f"{name}.{part}"] = {
                "dtype": "F16",
                "shape": shape,
                "data_offsets": [offset, offset + size],
            }
            offset += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw)) + raw, offset


def weights(size: int, seed: int) -> bytes:
    """Random bytes without the exponents of NaN and infinity in half precision."""
    block = os.urandom(1 << 16).translate(bytes(value & 0xBF for value in range(256)))
    return (struct.pack("<Q", seed) + block * (size // len(block) + 1))[:size]


def write_files(folder: Path, count: int, rank: int, folders: int) -> int:
    """Writes the LoRAs, spread over subfolders if there are several; returns the size of each in
    bytes.
    """
    header, size = lora_header(rank)
    for index in range(count):
        place = folder / f"{index % folders:02}" if folders > 1 else folder
        place.mkdir(exist_ok=True)
        (place / f"lora_{index:04}_v1.5.safetensors").write_bytes(header + weights(size, index))
    return len(header) + size


def drop_caches(folder: Path) -> None:
    """Asks the kernel to drop the files' pages from its cache."""
    os.sync()
    for path in folder.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def scan_once(folder: Path, digests: Path | None) -> dict[str, float]:
    """In this process: the time of a first scan and the catalogue's memory."""
    process = psutil.Process()
    before = process.memory_info().rss
    catalog = Catalog(folder, "sd15", digests=digests)
    begin, used = time.perf_counter(), time.process_time()
    catalog.scan()
    seconds, busy = time.perf_counter() - begin, time.process_time() - used
    added = process.memory_info().rss - before
    return {
        "seconds": seconds,
        "busy": busy,
        "mib": added / 2**20,
        "entries": len(catalog.entries()),
    }


def scan_in_new_process(folder: Path, digests: Path | None) -> dict[str, float]:
    arguments = [str(folder), *([str(digests)] if digests else [])]
    command = [sys.executable, "-m", "benchmarks.catalogue", "--child", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def time_of(action: Callable[[], object], repeats: int) -> dict[str, float]:
    """The median time of one call, in seconds, and the median of its processor time."""
    spans, uses = [], []
    for _ in range(repeats):
        begin, used = time.perf_counter(), time.process_time()
        action()
        spans.append(time.perf_counter() - begin)
        uses.append(time.process_time() - used)
    return {"seconds": median(spans), "busy": median(uses)}


def time_drops(folder: Path, catalog: Catalog, rank: int, drops: int) -> list[float]:
    """Seconds from renaming a file into the folder until it is offered."""
    header, size = lora_header(rank)
    spans = []
    for index in range(drops):
        upload = folder / "upload.part"
        upload.write_bytes(header + weights(size, 10_000 + index))
        name = f"drop_{rank}_{index}"
        begin = time.perf_counter()
        upload.rename(folder / f"{name}.safetensors")
        while not any(entry.name == name for entry in catalog.entries()):
            time.sleep(0.005)
        spans.append(time.perf_counter() - begin)
    return spans


def measure_scans(folder: Path, scratch: Path) -> None:
    digests = scratch / "digests.json"
    drop_caches(folder)
    show("first scan, pages dropped", **scan_in_new_process(folder, None))
    show("first scan, files in the page cache", **scan_in_new_process(folder, None))
    scan_in_new_process(folder, digests)
    show("first scan, digests kept from before", **scan_in_new_process(folder, digests))


def measure_running(folder: Path, rank: int, drops: int) -> None:
    catalog = Catalog(folder, "sd15")
    catalog.scan()
    show("scan with nothing changed", **time_of(catalog.scan, 20))
    path = next(folder.rglob("lora_0000_v1.5.safetensors"))

    def change_one() -> None:
        os.utime(path)
        catalog.scan()

    show("scan with one file changed", **time_of(change_one, 20))
    show("resolve by short name", **time_of(lambda: catalog.resolve("lora_0000"), 2000))
    catalog.watch()
    for weight_rank, count in ((rank, drops), (64, max(1, drops // 4))):
        spans = time_drops(folder, catalog, weight_rank, count)
        size = sum(lora_header(weight_rank)[1:]) / 2**20
        show(f"dropped to offered, {size:.0f} MiB, median", seconds=median(spans))
        show(f"dropped to offered, {size:.0f} MiB, worst of {count}", seconds=max(spans))
    process = psutil.Process()
    used = process.cpu_times()
    time.sleep(10)
    now = process.cpu_times()
    busy = now.user + now.system - used.user - used.system
    show("CPU of an idle watcher, per second", seconds=busy / 10)
    catalog.close()


def show(
    what: str,
    *,
    seconds: float,
    busy: float | None = None,
    mib: float | None = None,
    entries: float = 0,
) -> None:
    number = f"{seconds:10.3f} s " if seconds >= 0.1 else f"{1000 * seconds:10.3f} ms"
    number += "" if busy is None else f"   processor {1000 * busy:.3f} ms"
    memory = f"   +{mib:.1f} MiB for {entries:.0f} entries" if mib is not None else ""
    print(f"{what:<44}{number}{memory}", flush=True)


def main() -> None:
    """Parses the command line and measures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--drops", type=int, default=20)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--folders", type=int, default=1)
    options = parser.parse_args()
    if options.child:
        folder, *rest = map(Path, options.child)
        print(json.dumps(scan_once(folder, rest[0] if rest else None)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "loras"
        folder.mkdir()
        size = write_files(folder, options.files, options.rank, options.folders)
        tensors = 3 * sum(1 for _ in modules())
        print(describe_machine())
        spread = f"{options.files} files in {options.folders} folders"
        print(f"{spread}, of {size / 2**20:.1f} MiB, {tensors} tensors each")
        measure_scans(folder, Path(name))
        measure_running(folder, options.rank, options.drops)


if __name__ == "__main__":
    main()
