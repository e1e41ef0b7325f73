"""Runs all guards on a picture and decides what their findings mean.

Owns the policy and the threads: guards run side by side on the CPU, never on the engine's thread.
Knows nothing of jobs. A guard that is switched off is absent.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from shared.errors import RetouchError, UnsafeInput, UnsafeOutput, WatermarkInOutput
from shared.jobs import Safety
from worker.engine.interface import Pixels
from worker.guards.finding import Finding

Mark = Literal["code", "text", "mark"]
Doubtful = Literal["pass", "flag", "block"]
Told = Callable[[int, int], None]
UNSAFE, MAYBE_UNSAFE, MAYBE_WATERMARK = "unsafe", "maybe_unsafe", "maybe_watermark"
THREADS = 2


class Classifier(Protocol):
    """Estimates how unsafe a picture is."""

    def score(self, pixels: Pixels) -> float:
        """0 to 1."""


class Comparison(Protocol):
    """Finds what the output contains and the input does not."""

    def added(self, given: Pixels, output: Pixels) -> list[Finding]:
        """What was added."""


@dataclass(frozen=True)
class Policy:
    """Scores below `low` pass, from `high` on they are refused; in between `doubtful` decides."""

    low: float = 0.2
    high: float = 0.8
    doubtful: Doubtful = "flag"

    def judge(self, score: float) -> str | None:
        """The flag for a score, if any."""
        if score >= self.high:
            return UNSAFE
        if score < self.low or self.doubtful == "pass":
            return None
        return UNSAFE if self.doubtful == "block" else MAYBE_UNSAFE


@dataclass(frozen=True)
class Verdict:
    """The findings, also in words; `error` is None for a picture that may be shown. `against` are
    those that are certain enough to count against a LoRA.
    """

    safety: Safety = field(default_factory=Safety)
    error: type[RetouchError] | None = None
    details: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


class Guards:
    """Safe to share between threads; a call waits for its own picture only."""

    def __init__(
        self,
        unsafe: Classifier | None = None,
        marks: Mapping[Mark, Comparison] | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._unsafe = unsafe
        self._marks = dict(marks or {})
        self._policy = policy or Policy()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="guard")

    @property
    def look_at_results(self) -> bool:
        """Whether any guard examines finished pictures."""
        return self._unsafe is not None or bool(self._marks)

    def check_input(self, given: Pixels) -> None:
        """Raises UnsafeInput, and the errors of a guard that fails."""
        if self._judge(given)[1] == UNSAFE:
            raise UnsafeInput("the uploaded picture is unsafe")

    def is_preview_safe(self, output: Pixels) -> bool:
        """Whether a preview may be shown; it is too small for marks to be read."""
        return self._judge(output)[1] != UNSAFE

    def check_output(self, given: Pixels, output: Pixels, told: Told | None = None) -> Verdict:
        """Checks a result beside its input. `told` is called with how many guards are done, and of
        how many. Raises the errors of a guard that fails.
        """
        if not self.look_at_results:
            return Verdict()
        judging = self._pool.submit(self._judge, output)
        looking: dict[Mark, Future[list[Finding]]] = {
            mark: self._pool.submit(guard.added, given, output)
            for mark, guard in self._marks.items()
        }
        checks: list[Future[Any]] = [judging, *looking.values()]
        for done, _ in enumerate(as_completed(checks), 1):
            if told is not None:
                told(done, len(checks))
        score, judged = judging.result()
        found = {mark: lines for mark, look in looking.items() if (lines := look.result())}
        sure = [mark for mark, lines in found.items() if any(line.is_sure for line in lines)]
        flags = [*([judged] if judged else []), *sure]
        if found and not sure:
            flags.append(MAYBE_WATERMARK)
        unsafe = [UNSAFE] if score is not None and score >= self._policy.high else []
        return Verdict(
            Safety(nsfw=score, flags=flags),
            _error(judged, bool(sure)),
            tuple(f"{mark}: {line.text}" for mark, lines in found.items() for line in lines),
            (*unsafe, *sure),
        )

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _judge(self, pixels: Pixels) -> tuple[float | None, str | None]:
        if self._unsafe is None:
            return None, None
        score = self._unsafe.score(pixels)
        return round(score, 4), self._policy.judge(score)


def _error(judged: str | None, has_marks: bool) -> type[RetouchError] | None:
    if judged == UNSAFE:
        return UnsafeOutput
    return WatermarkInOutput if has_marks else None
