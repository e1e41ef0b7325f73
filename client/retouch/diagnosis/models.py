"""The base checkpoint and the LoRA folder."""

from retouch.diagnosis.finding import Finding
from shared.bases import family_of
from shared.checkpoints.facts import BadCheckpoint
from shared.checkpoints.judgement import check_checkpoint
from shared.loras.folder import list_folders
from shared.settings import Settings


def base(settings: Settings) -> Finding:
    name = settings.base_model
    try:
        facts = check_checkpoint(name)
    except BadCheckpoint as error:
        return Finding("base model", "missing", str(error), "docs/bases.md says what fits.")
    if facts is None:
        mend = f"The first start downloads it, or run: retouch models pull {name}"
        return Finding("base model", "warning", f"{name} is not on this machine yet", mend)
    return Finding("base model", "ok", f"{name}: {family_of(facts).label}")


def loras(settings: Settings) -> Finding:
    found = [c for c in list_folders(settings.loras_dir) if not c.is_foreign]
    count, folder = len(found), ", ".join(map(str, settings.loras_dir))
    if count:
        return Finding("LoRAs", "ok", f"{count} {'file' if count == 1 else 'files'} in {folder}")
    mend = "The base alone will be used; loras/README.md says how to add one."
    return Finding("LoRAs", "warning", f"no .safetensors file in {folder}", mend)
