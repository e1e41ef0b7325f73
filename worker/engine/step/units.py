"""The units of work of the step engine: encode rows, step them, decode them.

Owns the order of tensor operations, which is that of diffusers' image-to-image pipelines. A unit
changes its rows only when it has succeeded, so that it can be retried. Belongs to the engine's
thread.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from worker.engine.base.loaded_base import LoadedBase
from worker.engine.base.profiles import USUAL_PIXELS, EngineLimits
from worker.engine.base.tile_size import SIDE_MULTIPLE
from worker.engine.built.engine_cache import EngineCache
from worker.engine.built.parts import TEXTS
from worker.engine.built.use import Parts
from worker.engine.compiled.use import CompiledBlocks
from worker.engine.fidelity import (
    apply_fidelity,
    crop_to,
    needs_reconstruction,
    pad_to_multiple,
)
from worker.engine.interface import EngineJob
from worker.engine.lora.lora_file import AdapterWeights
from worker.engine.lora.merging import AdapterSet, WeightMerger
from worker.engine.lora.slots import SlotPool
from worker.engine.pixels import to_tensor
from worker.engine.step.codec import Codec, Moments, source_key
from worker.engine.step.denoiser import ADDED, Denoiser
from worker.engine.step.draws import Draws, StepNoise
from worker.engine.step.enlarge_row import EnlargeRow
from worker.engine.step.evaluations import (
    Evaluation,
    branches,
    by_key,
    combined,
    evaluations,
    pairs_of,
)
from worker.engine.step.graphs import cuda_capture
from worker.engine.step.prompts import Condition, PromptEncoder
from worker.engine.step.rows import Row, Unit
from worker.engine.step.schedule import Schedule, StepPlan
from worker.engine.step.tiled_rows import TileRow

# End the keys of LoRAs of which only the changes of text encoders or of the autoencoder are merged.
TEXTS_ONLY, ENCODER_ONLY = ":texts", ":encoder"


class Units:
    """The operations of one warm pipeline on rows."""

    def __init__(
        self,
        loaded: LoadedBase,
        limits: EngineLimits,
        engine_cache: EngineCache | None = None,
        blocks: CompiledBlocks | None = None,
    ) -> None:
        self.parts = Parts(engine_cache, blocks)
        self._device, self._dtype = loaded.device, loaded.dtype
        self._schedule = Schedule(loaded.pipeline.scheduler.config)
        self.prompts = PromptEncoder(loaded.pipeline, loaded.device, self.parts)
        self.codec = Codec(loaded.pipeline, loaded.device, limits.cache_bytes, self.parts)
        self.merger = WeightMerger(loaded.pipeline, limits.merged_bytes, rewrites=limits.graphs)
        unet: Any = loaded.pipeline.unet
        self._slots = SlotPool(unet, pristine=self.merger.pristine)
        if blocks is not None:
            blocks.mind_slots(lambda: self._slots.is_open)
        # Rows without batch mates are cheaper with their LoRAs in the weights, if these are already
        # merged.
        self._alone = limits.rows_for(USUAL_PIXELS) == 1
        self._seconds_aside = 0.0
        capture = cuda_capture() if limits.graphs else None
        self.denoiser = Denoiser(unet, self._slots, loaded.autocast, capture, self.parts)

    @property
    def is_on_cpu(self) -> bool:
        return self._device.type == "cpu"

    def loras_on_device(self) -> dict[str, Any]:
        """The LoRAs that are ready for a step, and the cost of putting them there, for people to
        read.
        """
        merged, slots = self.merger.merged, self._slots
        switches = (self.merger.switches, slots.switches)
        return {
            "loras_on_device": [
                *slots.names,
                *("+".join(weights.names) for weights in merged.items()),
            ],
            "device_bytes": merged.size_bytes + slots.size_bytes,
            "device_evictions": merged.counts.evictions,
            "switches": sum(one.count for one in switches),
            "switch_seconds": round(sum(one.seconds for one in switches), 4),
        }

    def forget_loras(self) -> None:
        """Removes everything from the device that no row holds."""
        with torch.inference_mode():
            self.merger.apply((), [])
            self.merger.drop_unused()
            self._slots.drop_unused()

    def encode(self, rows: Sequence[Row]) -> None:
        """Encodes prompts and pictures and draws noise: afterwards the rows can step. All must
        share a bucket.
        """
        with self._shared(rows, "encoding"):
            sources = [to_tensor(row.pixels, self._device, self._dtype) for row in rows]
            padded = [pad_to_multiple(source, SIDE_MULTIPLE) for source in sources]
            names = [source_key(row.pixels) for row in rows]
            faithful = needs_reconstruction(rows[0].job.fidelity)
            moments = self._encoded(rows, dict(zip(names, padded, strict=True)), faithful)
        conditions = [self._condition(row, like) for row, like in zip(rows, padded, strict=True)]
        with self._shared(rows, "encoding"):
            plans = [self._planned(row.job) for row in rows]
            latents = [
                self._noised(row, moments[name], plan.start)
                for row, name, plan in zip(rows, names, plans, strict=True)
            ]
        for i, row in enumerate(rows):
            row.plan, row.condition = plans[i], conditions[i]
            row.calls = self._evaluations(row, conditions[i])
            row.source, row.padded = sources[i], padded[i]
            row.reconstruction = moments[names[i]].reconstruction
            row.encoded(latents[i])

    def _encoded(
        self, rows: Sequence[Row], sources: dict[str, torch.Tensor], faithful: bool
    ) -> dict[str, Moments]:
        """The encoder's output, by LoRAs if the rows have some for it; what the autoencoder loses
        is always that of the base.
        """
        # The latents of tiles may be larger than the picture; sliders request small ones.
        encode = self.codec.unkept if isinstance(rows[0], TileRow) else self.codec.moments
        changes = rows[0].encoder_set
        own = encode(sources, faithful) if faithful or not changes else {}
        if not changes:
            return own
        with self._encoder_changed(rows[0], changes):
            changed = encode(sources, False, changes)
        if not faithful:
            return changed
        return {
            name: replace(found, reconstruction=own[name].reconstruction)
            for name, found in changed.items()
        }

    @contextmanager
    def _encoder_changed(self, row: Row, changes: AdapterSet) -> Iterator[None]:
        weights = dict(zip((key for key, _ in row.adapter_set), row.adapters.result(), strict=True))
        parts = [(weights[key].of_encoder, scale) for key, scale in changes]
        wanted = tuple((f"{key}{ENCODER_ONLY}", scale) for key, scale in changes)
        self.merger.apply(wanted, [(part, scale) for part, scale in parts if part is not None])
        try:
            yield
        finally:
            self.merger.apply((), [])

    def _planned(self, job: EngineJob) -> StepPlan:
        if job.sampler == "once":
            return self._schedule.once(job.timestep, job.strength, job.predicts_difference)
        return self._schedule.plan(job.steps, job.strength, job.sampler, job.trailing)

    def _condition(self, row: Row, padded: torch.Tensor) -> Condition:
        with self._shared([row], "loading"):
            self._put_adapters(row)
        with self._shared([row], "encoding"):
            height, width = padded.shape[-2:]
            return self.prompts.condition(
                row.job.prompt,
                row.job.negative_prompt,
                row.job.guidance_scale > 1,
                self._text_adapters(row),
                (width, height),
                partial(self._texts_changed, row),
            )

    @contextmanager
    def _texts_changed(self, row: Row) -> Iterator[None]:
        """Inside the block the text encoders have the row's LoRAs, which are in slots otherwise."""
        texts = self._text_adapters(row)
        if not row.pooled or not texts:
            yield
            return
        changes = [
            (texts_of(weights), scale)
            for weights, (key, scale) in zip(row.adapters.result(), row.adapter_set, strict=True)
            if (key, scale) in texts
        ]
        self.merger.apply(tuple((f"{key}{TEXTS_ONLY}", scale) for key, scale in texts), changes)
        try:
            yield
        finally:
            self.merger.apply((), [])

    def step(self, rows: Sequence[Row]) -> None:
        """One denoising step of every row; all must share a bucket."""
        with self._shared(rows[:1], "loading"):
            self._put_adapters(rows[0])
        with self._shared(rows, "denoising"):
            fresh = self._stepped(rows)
        for row, (latents, data) in zip(rows, fresh, strict=True):
            row.stepped(latents, data)

    def leave(self, row: Row) -> None:
        """The row is gone: its slots may be given to others."""
        if row.pooled:
            row.pooled = False
            for key in row.slot_keys:
                self._slots.release(key)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Units in the block may interrupt another one: weights and gate are restored
        afterwards.
        """
        plain, started = torch.autocast(self._device.type, enabled=False), self._now()
        with plain, self._slots.aside(), self.merger.aside():
            yield
        self._seconds_aside += self._now() - started

    def decode(self, rows: Sequence[Row]) -> list[Any]:
        """The finished pictures, each exactly as large as its source. All must share a bucket."""
        with self._shared(rows, "decoding"):
            decoded = self.codec.decode(torch.cat([_required(row.latents) for row in rows]))
            return [
                row.pictured(self._finished(row, decoded[i : i + 1])) for i, row in enumerate(rows)
            ]

    def enlarge(self, row: EnlargeRow) -> None:
        """One tile of an enlargement."""
        with self._shared([row], "enlarging"):
            row.next_tile()

    def _now(self) -> float:
        """A clock that is paused for a unit while another one interrupts it."""
        return time.perf_counter() - self._seconds_aside

    @contextmanager
    def _shared(self, rows: Sequence[Row], part: str) -> Iterator[None]:
        """Divides the time of shared work among the rows, and records what computed it."""
        started = self._now()
        with self.parts.telling([row.ran_by for row in rows]):
            yield
        share = (self._now() - started) / len(rows)
        for row in rows:
            row.spend(part, share)

    def _put_adapters(self, row: Row) -> None:
        known = by_key(row.adapter_set, row.adapters.result())
        if row.unit is Unit.ENCODE and not row.pooled:
            row.pooled = self._take_columns(row, known)
        if row.pooled:
            self.merger.apply((), [])
            return
        self._merge(branches(row.job, row.adapter_set, known)[-1].adapters, known)

    def _merge(self, wanted: AdapterSet, known: Mapping[str, AdapterWeights]) -> None:
        self.merger.apply(wanted, pairs_of(wanted, known))

    def _take_columns(self, row: Row, known: Mapping[str, AdapterWeights]) -> bool:
        pool, held, weights = self._slots, list[str](), list(known.values())
        if not weights or not pool.can_carry(weights):
            return False
        # Whether slots are free depends on the batch mates.
        if row.job.deterministic:
            return False
        # A merged LoRA costs nothing, if all batch mates have the same one.
        # Two sets in turn would be merged anew at every step.
        is_lone = len(branches(row.job, row.adapter_set, known)) == 1
        is_cheap = self._alone or row.is_among_its_like
        if is_lone and is_cheap and self.merger.keeps_many(weights):
            return False
        try:
            for key, one in known.items():
                if pool.hold(key, one):
                    held.append(key)
        finally:
            if len(held) < len(weights):
                for key in held:
                    pool.release(key)
        row.slot_keys = tuple(held)
        return len(held) == len(weights)

    def _text_adapters(self, row: Row) -> AdapterSet:
        """The part of the row's LoRAs that changes the text encoders; a key for the cache."""
        touches = [bool(texts_of(weights).parts) for weights in row.adapters.result()]
        return tuple(one for one, yes in zip(row.adapter_set, touches, strict=True) if yes)

    def _noised(self, row: Row, moments: Moments, start: tuple[float, float]) -> torch.Tensor:
        draws = self._draws(row, moments)
        latents = self.codec.latents(moments, draws.posterior).to(self._dtype)
        noised = start[0] * latents + start[1] * draws.noise
        return noised.contiguous(memory_format=torch.channels_last)

    def _draws(self, row: Row, moments: Moments) -> Draws:
        """The random numbers of the seed; a tile has its part of the whole picture's."""
        shape = moments.mean.shape
        if not isinstance(row, TileRow):
            return self._drawn(row, moments, shape)
        whole, window = row.whole, row.window
        scale = (window.bottom - window.top) // shape[-2]
        if whole.draws is None:
            sides = (whole.grid.height // scale, whole.grid.width // scale)
            whole.draws = self._drawn(whole, moments, torch.Size((*shape[:2], *sides)))
        return whole.draws.at(window.at(scale))

    def _drawn(self, row: Row, moments: Moments, shape: torch.Size) -> Draws:
        # The order of random numbers is diffusers': the posterior's sample, the noise, then that of
        # steps.
        generator = torch.Generator("cpu").manual_seed(row.job.seed)
        draw = partial(randn_tensor, shape, generator=generator, device=self._device)
        posterior = draw(dtype=moments.mean.dtype) if moments.deviation is not None else None
        row.step_noise = StepNoise(generator, shape, self._dtype)
        return Draws(posterior, draw(dtype=self._dtype))

    def _stepped(self, rows: Sequence[Row]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        latents = torch.cat([_required(row.latents) for row in rows])
        output = self._guided(rows, latents).float()
        sample = latents.float()
        previous = torch.cat([_previous(row) for row in rows])
        p, q, a, b, c, _ = self._coefficients(rows)
        data = p * sample + q * output
        stepped = a * sample + b * data + c * previous
        for i, row in enumerate(rows):
            self._add_noise(row, stepped[i : i + 1])
        stepped = stepped.to(self._dtype)
        return [(stepped[i : i + 1], data[i : i + 1]) for i in range(len(rows))]

    def _add_noise(self, row: Row, stepped: torch.Tensor) -> None:
        """The noise that a stochastic sampler adds after this step; a tile gets its picture's, once
        all tiles are blended.
        """
        noise = float(_plan(row).table[row.step][-1])
        if noise and row.step_noise is not None:
            stepped.add_(row.step_noise.at(row.step).to(stepped), alpha=noise)

    def _finished(self, row: Row, decoded: torch.Tensor) -> torch.Tensor:
        source = row.source
        if source is None:
            source = to_tensor(row.pixels, self._device, self._dtype)
        decoded = decoded.to(source.dtype)
        if row.reconstruction is not None:
            padded = pad_to_multiple(source, SIDE_MULTIPLE)
            lost = row.reconstruction.to(source.dtype)
            decoded = apply_fidelity(row.job.fidelity, padded, decoded, lost)
        return crop_to(decoded, source)

    def _guided(self, rows: Sequence[Row], latents: torch.Tensor) -> torch.Tensor:
        """The model's output for every row, all evaluations added up: [rows, C, h, w]."""
        plans = [row.calls for row in rows]
        if all(len(plan) == 1 and plan[0].weight == 1.0 for plan in plans):
            return self._called(rows, latents, [(i, plan[0]) for i, plan in enumerate(plans)])
        calls = [(i, call) for i, plan in enumerate(plans) for call in plan]
        outputs: list[torch.Tensor] = [latents] * len(calls)
        for places in self._in_turn(rows, calls):
            answer = self._called(rows, latents, [calls[place] for place in places])
            for index, place in enumerate(places):
                outputs[place] = answer[index : index + 1]
        by_row = [
            [o for o, (i, _) in zip(outputs, calls, strict=True) if i == r]
            for r in range(len(rows))
        ]
        return torch.cat(
            [combined(plan, torch.cat(own)) for plan, own in zip(plans, by_row, strict=True)]
        )

    def _evaluations(self, row: Row, condition: Condition) -> tuple[Evaluation, ...]:
        """The UNet's calls of every step of a row."""
        known = by_key(row.adapter_set, row.adapters.result())
        found = branches(row.job, row.adapter_set, known)
        return tuple(evaluations(row.job, condition.evaluations, found))

    def _in_turn(
        self, rows: Sequence[Row], calls: Sequence[tuple[int, Evaluation]]
    ) -> Iterator[list[int]]:
        """The places of the calls that are made together: all, unless LoRAs are merged and differ.

        Merged LoRAs of a set are in the weights while its calls are made.
        """
        if rows[0].pooled or not rows[0].adapter_set:
            yield list(range(len(calls)))
            return
        known = by_key(rows[0].adapter_set, rows[0].adapters.result())
        for wanted in dict.fromkeys(call.adapters for _, call in calls):
            self._merge(wanted, known)
            yield [place for place, (_, call) in enumerate(calls) if call.adapters == wanted]

    def _called(
        self, rows: Sequence[Row], latents: torch.Tensor, calls: Sequence[tuple[int, Evaluation]]
    ) -> torch.Tensor:
        """The UNet's outputs of these calls, each for the row with its index."""
        owner = [index for index, _ in calls]
        timesteps = [_plan(row).timesteps[row.step] for row in rows]
        inputs = {
            "sample": latents[owner],
            # Timesteps of some samplers are between two of training; all have one type, for CUDA
            # graphs.
            "timestep": torch.tensor(
                [timesteps[i] for i in owner], dtype=torch.float32, device=self._device
            ),
            "embeddings": torch.cat([_words(rows[i], call).embeddings for i, call in calls]),
        }
        for name in _condition(rows[0]).added:
            inputs[ADDED + name] = torch.cat(
                [_words(rows[i], call).added[name] for i, call in calls]
            )
        sets = [call.adapters if rows[i].pooled else () for i, call in calls]
        return self.denoiser(
            inputs,
            sets,
            weights_are_pristine=self.merger.in_place == (),
            weights_are_at_home=self.merger.is_at_home,
        )

    def _coefficients(self, rows: Sequence[Row]) -> tuple[torch.Tensor, ...]:
        table = torch.tensor(
            [_plan(row).table[row.step].tolist() for row in rows],
            dtype=torch.float32,
            device=self._device,
        )
        return tuple(table[:, i].view(-1, 1, 1, 1) for i in range(table.shape[1]))


def texts_of(weights: AdapterWeights) -> AdapterWeights:
    """What a LoRA changes in the text encoders."""
    parts = {part: changes for part, changes in weights.parts.items() if part in TEXTS}
    return replace(weights, parts=parts)


def _condition(row: Row) -> Condition:
    assert row.condition is not None
    return row.condition


def _words(row: Row, call: Evaluation) -> Condition:
    """The condition of one call."""
    return _condition(row).at(call.condition)


def _plan(row: Row) -> StepPlan:
    assert row.plan is not None
    return row.plan


def _previous(row: Row) -> torch.Tensor:
    if row.previous is not None:
        return row.previous
    return torch.zeros_like(_required(row.latents), dtype=torch.float32)


def _required(tensor: torch.Tensor | None) -> torch.Tensor:
    assert tensor is not None
    return tensor
