"""Writes docs/benchmarks.md, its plots, and the short table of the README, from var/benchmarks.

Run `python -m benchmarks.peers_report` after `python -m benchmarks.peers --loras 1` and `--loras
32`, and `--loras 0` for the service's overhead alone. Writes between the markers of
docs/benchmarks.md; the text around them is hand-written.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.likeness import in_words
from benchmarks.pages import README, ROOT, put
from benchmarks.peers_plan import BARE, CLIENTS, RATES, RESULTS, RETOUCH

PAGE = ROOT / "docs" / "benchmarks.md"

Record = dict[str, Any]


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    records = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("peers-*.json"))]
    if not records:
        raise SystemExit("nothing measured yet: python -m benchmarks.peers")
    put(PAGE, "peers", "\n\n".join(section(record) for record in records))
    put(README, "peers", short(next((r for r in records if r["loras"] == 1), records[0])))
    for record in records:
        plot(record, ROOT / "docs" / f"benchmarks-{record['loras']}.png")


def section(record: Record) -> str:
    lines = [
        f"### {mix(record)}",
        "",
        f"{record['machine']}; torch {record['torch']}, diffusers {record['diffusers']}, "
        f"{record['threads']} threads; {record['side']} px, 4 executed steps.",
        "",
        "| system | " + " | ".join(counted(n) for n in sorted(CLIENTS)) + " | of the bare loop |",
        "| --- |" + " --- |" * (len(CLIENTS) + 1),
        *(throughput(row, record) for row in record["rows"]),
        "",
        "Each cell shows pictures per second in bold, then p50 / p95 / p99 of a picture's time in "
        "seconds (with few pictures, the median and the slowest ones). The last column is the "
        "throughput at 16 clients relative to the bare loop.",
        *overhead(record),
        "",
        "| system | "
        + " | ".join(f"{share:.0%} load" for share in RATES)
        + " | first preview, s | memory, MiB | PSNR to the bare loop, dB |",
        "| --- |" + " --- |" * (len(RATES) + 3),
        *(arrivals(row) for row in record["rows"]),
        "",
        "p50 / p95 in seconds with Poisson arrivals at that share of the system's own throughput "
        "with 16 clients. A system without previews shows the finished picture first.",
        *(f"\n{name} is missing: {why}." for name, why in record["missing"].items()),
        "",
        f"![Throughput by number of clients](benchmarks-{record['loras']}.png)",
    ]
    return "\n".join(lines)


def overhead(record: Record) -> list[str]:
    ratio = record.get("overhead")
    if ratio is None:
        return []
    return ["", f"One client's picture takes {ratio:.2f} of the bare call's time through retouch."]


def counted(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def mix(record: Record) -> str:
    named = {0: "No LoRA", 1: "One LoRA"}
    return named.get(record["loras"], f"{record['loras']} LoRAs, Zipf")


def throughput(row: Record, record: Record) -> str:
    cells = [closed(row["loads"].get(f"{n} clients")) for n in sorted(CLIENTS)]
    return f"| {row['name']} | {' | '.join(cells)} | {share_of_bare(row, record)} |"


def closed(load: Record | None) -> str:
    if load is None:
        return "not measured"
    times = " / ".join(f"{load[q]:.2f}" for q in ("p50", "p95", "p99"))
    return f"**{load['per_second']:.2f}** {times}"


def share_of_bare(row: Record, record: Record, load: str = "16 clients") -> str:
    bare = next((r for r in record["rows"] if r["name"] == BARE), None)
    if bare is None or load not in row["loads"] or load not in bare["loads"]:
        return ""
    return f"{row['loads'][load]['per_second'] / bare['loads'][load]['per_second']:.2f}"


def arrivals(row: Record) -> str:
    cells = [opened(row["loads"].get(f"{share:.0%} load")) for share in RATES]
    psnr = in_words(row["psnr"])
    first, memory = row["first_preview_seconds"], row["memory_mib"]
    first_cell, memory_cell = some(f"{first:.2f}", first), some(f"{memory:.0f}", memory)
    return f"| {row['name']} | {' | '.join(cells)} | {first_cell} | {memory_cell} | {psnr} |"


def some(text: str, value: float) -> str:
    return text if value else "not measured"


def opened(load: Record | None) -> str:
    return f"{load['p50']:.2f} / {load['p95']:.2f}" if load else "not measured"


def short(record: Record) -> str:
    lines = [
        f"{mix(record)}, {record['side']} px, 4 executed steps, 16 clients, one run on "
        f"{record['machine']}:",
        "",
        "| system | pictures/s | of the bare loop | p50, s | p95, s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in (row for row in record["rows"] if "16 clients" in row["loads"]):
        load = row["loads"]["16 clients"]
        lines.append(
            f"| {row['name']} | {load['per_second']:.2f} | {share_of_bare(row, record)} | "
            f"{load['p50']:.2f} | {load['p95']:.2f} |"
        )
    return "\n".join(lines)


def plot(record: Record, path: Path) -> None:
    """Throughput over clients: retouch, the best of the others for each number, and all others."""
    figure, panel = plt.subplots(figsize=(7, 3.6), layout="constrained")
    rows = {row["name"]: row["loads"] for row in record["rows"]}
    counts = [n for n in sorted(CLIENTS) if all(f"{n} clients" in loads for loads in rows.values())]
    speeds = {
        name: [loads[f"{n} clients"]["per_second"] for n in counts] for name, loads in rows.items()
    }
    own = speeds.pop(RETOUCH, None)
    for each in speeds.values():
        panel.plot(counts, each, color="0.8", linewidth=1)
    best = [max(zip(column, speeds, strict=True)) for column in zip(*speeds.values(), strict=True)]
    panel.plot(
        counts[: len(best)], [speed for speed, _ in best],
        color="0.4", marker="o", label="the best of the others",
    )  # fmt: skip
    for n, (speed, name) in zip(counts, best, strict=False):
        called = name.removeprefix("bare loop, ").split(" ")[0]
        side = "left" if n == counts[0] else "right" if n == counts[-1] else "center"
        panel.annotate(called, (n, speed), (0, 7), textcoords="offset points", ha=side)
    if own is not None:
        panel.plot(counts, own, color="tab:red", marker="o", linewidth=3, label=RETOUCH)
    panel.set(xscale="log", xlabel="clients", ylabel="pictures per second", ylim=(0, None))
    panel.set_xticks(counts, [str(n) for n in counts])
    panel.minorticks_off()
    panel.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
