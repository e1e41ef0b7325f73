"""Exit codes between the engine process and its supervisor (sysexits.h where it has one)."""

HUNG = 70
DEVICE_LOST = 71
CANNOT_START = 78
