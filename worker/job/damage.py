"""Diagnoses the damage of a photo and chooses the LoRA that treats it.

Owns the interpretation of the measures and its wording. worker/job/damage_measures.py owns how they
are taken; benchmarks/calibrate_damage.py computed the numbers in damage_calibration.json from
photos with known damage.

Among LoRAs whose gains are known (worker/job/treatments.py), a photo with one sort of damage gets
what usually gains most for it, and any other photo what promises the largest gain.
Other LoRAs are chosen by the kind of damage that their TOML says they treat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np

from shared.loras.entry import Damage, LoraEntry, LoraState
from shared.params import Elsewhere
from worker.engine.interface import Pixels
from worker.job.damage_measures import kept_when_shrunk, measure
from worker.job.small_network import Floats, SmallNetwork, read_network
from worker.job.treatments import (
    Treatment,
    best_treatment,
    sort_of_damage,
    treatment_measures,
    usual_treatment,
)

CALIBRATION = Path(__file__).with_name("damage_calibration.json")
NONE = "none"

# An undamaged photo still passes through the base; one step of ten changes it least.
STRENGTH_UNDAMAGED = 0.1

# Treating the wrong damage costs more than leaving it: below this certainty nothing is done. On 384
# pictures made from training photos, 2 of 314 treatments were wrong and 33 known damages were left
# untreated; at 0.6, 6 of 343 and 8.
MIN_CERTAINTY = 0.85

# Decibels that a treatment must promise. The estimate errs by half a decibel, so a photo in which
# no damage is found is left alone unless much is promised. Of 680 examples left out of the fit,
# 552 of them damaged, the mean gain is 2.18; undamaged ones lose 0.13.
MIN_GAIN, MIN_GAIN_UNDAMAGED = 0.2, 1.0


@dataclass(frozen=True)
class Choice:
    """LoRAs with scales, a suitable strength, and the reason, in English and Chinese.

    `levels`: at how many sizes the photo is treated. `elsewhere` is a LoRA of another base that
    treats what none of this one does.
    """

    loras: tuple[tuple[LoraEntry, float], ...]
    strength: float | None
    reason: dict[str, str]
    levels: int = 1
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True)
class Diagnosis:
    """The most likely damage, or `none`, with its probability (0..1) and its level.

    The level's unit depends on the kind: grey levels of noise, pixels of blur, JPEG quality, factor
    of shrinking, strength of the phone chain; 0 for `none`.
    """

    kind: str
    certainty: float
    level: float


@cache
def _calibration() -> SmallNetwork:
    return read_network(CALIBRATION)


def diagnose(pixels: Pixels) -> Diagnosis:
    """Diagnoses a photo (uint8 height x width x 3, 16 pixels or more a side)."""
    return diagnosed(measure(pixels))


def diagnosed(measured: Floats) -> Diagnosis:
    """Diagnoses a photo by what `measure` returns for it."""
    known = _calibration()
    scores = known.outputs(measured)
    likely = np.exp(scores - scores.max())
    likely /= likely.sum()
    best = int(likely.argmax())
    kind = known.rest["kinds"][best]
    return Diagnosis(kind, float(likely[best]), _level(kind, known.standardised(measured)))


def _level(kind: str, measures: Floats) -> float:
    if kind == NONE:
        return 0.0
    first, *slopes = _calibration().rest["levels"][kind]
    return float(np.exp(first + measures @ np.array(slopes)))


def choose(
    pixels: Pixels, entries: Sequence[LoraEntry], others: Sequence[Elsewhere] = ()
) -> Choice:
    """The treatment for this photo (uint8 height x width x 3) among the available LoRAs, or else
    among those of other bases.
    """
    measures = measure(pixels)
    found = diagnosed(measures)
    best = _best(found, pixels, treatment_measures(pixels, measures), entries)
    own = _by_kind(found, entries) if best is None else _by_gain(found, best)
    if own.loras or not _is_known(found):
        return own
    return _by_another_base(found, others) or own


def _by_another_base(found: Diagnosis, others: Sequence[Elsewhere]) -> Choice | None:
    fitting = [one for one in others if found.kind in one.treats]
    best = min(fitting, key=lambda one: (len(one.treats), one.lora.name), default=None)
    if best is None:
        return None
    reason = _treated(found, f"{best.lora.name} ({best.base})")
    return Choice((), best.strength, reason, elsewhere=best)


def _best(
    found: Diagnosis, pixels: Pixels, measures: Floats, entries: Sequence[LoraEntry]
) -> Treatment | None:
    # On photos left out of the fit, what is usual gains more than what promises most for the very
    # photo: white noise 14.6 dB (12.6), blur 5.6 (2.8), lowres 3.3 (2.9).
    sort = certain_sort(found, measures)
    usual = usual_treatment(sort, entries) if sort else None
    return usual or best_treatment(measures, entries, partial(kept_when_shrunk, pixels))


def certain_sort(found: Diagnosis, measures: Floats) -> str | None:
    """The sort of damage, if it is certain; `measures` are `treatment_measures`."""
    return sort_of_damage(found.kind, measures) if _is_known(found) else None


def _by_gain(found: Diagnosis, best: Treatment) -> Choice:
    if best.gain < least_gain(found):
        return Choice((), STRENGTH_UNDAMAGED, _beyond_help(found))
    loras = ((best.entry, best.entry.default_scale),)
    return Choice(loras, best.strength, _treated(found, best.entry.short_name), best.levels)


def least_gain(found: Diagnosis) -> float:
    """The gain that a treatment of such a photo must promise, in decibels."""
    is_good = found.kind == NONE and found.certainty >= MIN_CERTAINTY
    return MIN_GAIN_UNDAMAGED if is_good else MIN_GAIN


def _by_kind(found: Diagnosis, entries: Sequence[LoraEntry]) -> Choice:
    if not _is_known(found):
        return Choice((), STRENGTH_UNDAMAGED, _left_alone(found))
    entry = _treating(found.kind, entries)
    if entry is None:
        return Choice((), STRENGTH_UNDAMAGED, _untreatable(found))
    return Choice(
        ((entry, entry.default_scale),), entry.strength, _treated(found, entry.short_name)
    )


def _is_known(found: Diagnosis) -> bool:
    return found.kind != NONE and found.certainty >= MIN_CERTAINTY


def _treating(kind: str, entries: Sequence[LoraEntry]) -> LoraEntry | None:
    """The most specialised LoRA for a kind: the one that treats the fewest others, then by name."""
    fitting = [e for e in entries if e.state is LoraState.AVAILABLE and kind in set(e.treats)]
    return min(fitting, key=lambda entry: (len(entry.treats), entry.name), default=None)


_NAMES: dict[Damage, tuple[str, str]] = {
    "noise": ("noise of about {level:.0f} grey levels", "噪点，约 {level:.0f} 个灰度级"),
    "blur": ("blur of about {level:.1f} pixels", "模糊，约 {level:.1f} 像素"),
    "jpeg": ("JPEG compression at about quality {level:.0f}", "JPEG 压缩，质量约 {level:.0f}"),
    "lowres": ("detail of a picture {level:.1f} times smaller", "细节只相当于缩小 {level:.1f} 倍"),
    "phone": ("traces of a phone and a chat application", "手机与聊天软件压缩留下的痕迹"),
}


def _named(found: Diagnosis) -> tuple[str, str]:
    english, chinese = (
        words.format(level=found.level)
        for kind, names in _NAMES.items()
        if kind == found.kind
        for words in names
    )
    return english, chinese


def _left_alone(found: Diagnosis) -> dict[str, str]:
    if found.kind == NONE:
        return {
            "en": "No damage was found, so the photo is left nearly as it is.",
            "zh": "未发现损伤，照片基本保持原样。",
        }
    english, chinese = _named(found)
    sure = f"{found.certainty:.0%}"
    return {
        "en": f"There may be {english} ({sure} sure): too uncertain to treat.",
        "zh": f"可能有{chinese}（把握 {sure}），不够确定，不作处理。",
    }


def _untreatable(found: Diagnosis) -> dict[str, str]:
    english, chinese = _named(found)
    return {
        "en": f"The photo shows {english}, but no available LoRA treats it.",
        "zh": f"照片有{chinese}，但没有可用的 LoRA 能处理。",
    }


def _beyond_help(found: Diagnosis) -> dict[str, str]:
    if not _is_known(found):
        return {
            "en": "No damage was found that a LoRA here would undo, so the photo is left nearly as "
            "it is.",
            "zh": "未发现可由现有 LoRA 修复的损伤，照片基本保持原样。",
        }
    english, chinese = _named(found)
    return {
        "en": f"The photo shows {english}, but no LoRA here would make it better, so it is left "
        "nearly as it is.",
        "zh": f"照片有{chinese}，但现有 LoRA 无法改善，照片基本保持原样。",
    }


def _treated(found: Diagnosis, lora: str) -> dict[str, str]:
    if not _is_known(found):
        return {
            "en": f"The photo shows damage of several kinds; '{lora}' treats it.",
            "zh": f"照片有多种损伤，由“{lora}”处理。",
        }
    english, chinese = _named(found)
    return {
        "en": f"The photo shows {english}; '{lora}' treats it.",
        "zh": f"照片有{chinese}，由“{lora}”处理。",
    }
