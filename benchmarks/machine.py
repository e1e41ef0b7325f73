"""A description of the machine on which the figures were measured."""

import os
import platform
from pathlib import Path

import psutil


def describe_machine() -> str:
    cores = os.cpu_count()
    memory = round(psutil.virtual_memory().total / 2**30)
    busy = os.getloadavg()[1]
    return f"{_processor()}, {cores} cores, {memory} GiB, {platform.system()}, load {busy:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
