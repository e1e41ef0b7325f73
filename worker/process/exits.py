"""Exit codes between the engine process and its supervisor (sysexits.h where it has one)."""

HUNG = 70
DEVICE_LOST = 71
WEIGHTS_CHANGED = 72
CANNOT_START = 78

# What the end of a process is called in metrics; a signal is a crash.
CAUSES = {
    HUNG: "hung",
    DEVICE_LOST: "device_lost",
    WEIGHTS_CHANGED: "weights_changed",
    CANNOT_START: "cannot_start",
}
