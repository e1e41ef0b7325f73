"""`retouch enhance`: photos in, better pictures out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from retouch.batch import Batch, Order, Outcome
from retouch.commands.folder import enhance_folder
from retouch.console import complain, err, out, print_json
from retouch.files import (
    EXTENSIONS,
    BadOutput,
    comparison_path,
    format_of,
    is_folder,
    output_paths,
)
from retouch.interrupts import Interrupts
from retouch.job_fields import AskedFormat, JobFields, SamplerName
from retouch.progress_view import ProgressView
from retouch.records import Notice, Result, Source
from retouch.server_packages import server_packages
from retouch.service import service
from retouch.told import told


def enhance(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos: JPEG, PNG, WebP, HEIC, AVIF, TIFF, BMP, GIF.")
    ],
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", "-l", help="NAME or NAME:SCALE, several times; none; auto."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="A base of the service, if it has several; default: by the LoRA."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="How much the picture may differ from the photo, 0.05 to 1."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps, 1 to 50.")] = None,
    sampler: Annotated[
        SamplerName | None, typer.Option(help="How steps are taken; default: as the LoRA needs it.")
    ] = None,
    pyramid: Annotated[
        int | None,
        typer.Option(
            help="Sizes to treat the photo at, 1 to 3; more for coarse noise or heavy blur."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same picture.")] = None,
    prompt: Annotated[str | None, typer.Option(help="A description of the picture.")] = None,
    max_side: Annotated[
        int | None, typer.Option(help="Longest side of the result, in pixels.")
    ] = None,
    upscale: Annotated[
        str | None, typer.Option(help="Factor of enlargement: auto, 1, 2, 3 or 4.")
    ] = None,
    upscaler: Annotated[
        str | None, typer.Option(help="Name of an enlarger; `retouch upscalers list` shows them.")
    ] = None,
    picture_format: Annotated[
        AskedFormat | None,
        typer.Option("--format", help="By default that of OUT, or else that of the photo."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Picture that is white where the result replaces the photo."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option(help="Continue with a blurry, tiny or dark photo.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option("--out", "-o", help="A file for one photo, a folder for several."),
    ] = None,
    before_after: Annotated[
        bool, typer.Option(help="Also write NAME_before_after.png beside each picture.")
    ] = False,
    recursive: Annotated[
        bool,
        typer.Option("--recursive", "-r", help="Enhance a folder and its subfolders into OUT."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option(help="With -r: retry photos that failed before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Enhance photos with the server at RETOUCH_URL, or with one that is started for this call."""
    if before_after:
        with server_packages("`--before-after`"):
            import pillow_heif  # noqa: F401
    asked = picture_format or format_of(Path(output) if output else None)
    extension = EXTENSIONS[asked] if asked and asked != "auto" else ""
    fields: JobFields = {
        "lora": lora,
        "base": base,
        "strength": strength,
        "steps": steps,
        "sampler": sampler,
        "pyramid": pyramid,
        "seed": seed,
        "prompt": prompt,
        "max_side": max_side,
        "upscale": upscale,
        "upscaler": upscaler,
        "format": asked,
        "force": force or None,
        "mask": None if mask is None else _read_mask(mask),
    }
    if recursive or any(photo.is_dir() for photo in photos):
        if len(photos) != 1 or not recursive:
            raise BadOutput("Use -r for a folder, one folder at a time.")
        enhance_folder(photos[0], output, fields, retry_failed)
        return
    is_named = output is not None and len(photos) == 1 and not is_folder(output)
    paths = output_paths(photos, output, extension)
    orders = [
        Order(photo, path, fields, before_after, open_ending=not (extension or is_named))
        for photo, path in zip(photos, paths, strict=True)
    ]
    interrupted = _run(orders, as_json)
    if interrupted:
        raise typer.Exit(130)


def _read_mask(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        said = f"{path} cannot be read: {error.strerror or error}."
        raise typer.BadParameter(said, param_hint="--mask") from error


def _run(orders: list[Order], as_json: bool) -> bool:
    """Enhances the photos and prints the outcome; returns whether the user stopped it. Exits with 1
    if a picture is missing.
    """
    with Interrupts() as interrupts:
        with (
            service(interrupts) as client,
            ProgressView(err) as view,
        ):
            outcomes = Batch(client, view, interrupts).run(orders)
        if as_json:
            print_json([_as_json(outcome) for outcome in outcomes])
        else:
            _tell(outcomes)
        if not interrupts.requested and any(outcome.problem for outcome in outcomes):
            raise typer.Exit(1)
        return interrupts.requested


def _tell(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.problem:
            complain(outcome.problem, about=str(outcome.order.photo))
            continue
        out.print(str(outcome.order.output), markup=False)
        if outcome.job:
            err.print(f"  {told(outcome.job)}", markup=False, highlight=False)
        if outcome.order.comparison:
            out.print(str(comparison_path(outcome.order.output)), markup=False)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    job, problem = outcome.job, outcome.problem
    return {
        "photo": str(outcome.order.photo),
        "output": None if problem else str(outcome.order.output),
        "job": job.id if job else None,
        "base": job.base if job else None,
        "seed": job.params.seed if job else None,
        "loras": [lora.model_dump() for lora in job.params.loras] if job else [],
        "lora_reason": job.params.lora_reason if job else None,
        "sampler": job.params.sampler if job else None,
        "upscale": job.result.upscale if job and job.result else None,
        "upscaler": job.result.upscaler if job and job.result else None,
        "upscale_reason": job.params.upscale_reason if job else None,
        "source": _picture(job.source) if job else None,
        "result": _picture(job.result) if job else None,
        "warnings": _notices(job.source.warnings) if job and job.source else [],
        "degraded": _notices(job.degraded) if job else [],
        "safety": job.result.safety.model_dump() if job and job.result else None,
        "seconds": round(outcome.seconds, 3),
        "error": problem
        and {
            "code": problem.code,
            "detail": problem.detail,
            "advice": problem.advice,
            "retryable": problem.retryable,
        },
    }


def _picture(picture: Source | Result | None) -> dict[str, Any] | None:
    if picture is None:
        return None
    return {"width": picture.width, "height": picture.height, "format": picture.format}


def _notices(notices: list[Notice]) -> list[dict[str, Any]]:
    return [notice.model_dump() for notice in notices]
