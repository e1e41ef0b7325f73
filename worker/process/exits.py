"""Exit codes between the engine process and its supervisor (sysexits.h where it has one)."""

from shared import periodic

HUNG = 70
DEVICE_LOST = 71
WEIGHTS_CHANGED = 72
LOOP_ENDED = periodic.EXIT_CODE
NOT_STARTED = 75
CANNOT_START = 78

# The name of a process's end in metrics; an end by a signal is a crash.
CAUSES = {
    HUNG: "hung",
    DEVICE_LOST: "device_lost",
    WEIGHTS_CHANGED: "weights_changed",
    LOOP_ENDED: "loop_ended",
    NOT_STARTED: "not_started",
    CANNOT_START: "cannot_start",
}
