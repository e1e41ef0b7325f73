"""Searches a LoRA's metadata for suspicious content, with exceptions for known keys and hosts.

Trainers write addresses of their own: kohya names Stability's repository in every SDXL file, so
"contains http" proves nothing. A host known to publish models or licences is only noted; any other
one quarantines the file. The patterns themselves are in suspicions.py.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from shared.loras.reasons import Finding, Reason, clean
from shared.loras.suspicions import (
    addresses,
    domains,
    find_blob,
    find_control,
    find_handle,
    find_mail,
    find_markup,
)

_TRUSTED_HOSTS = frozenset(
    {
        "github.com", "huggingface.co", "hf.co", "civitai.com", "arxiv.org", "apache.org",
        "creativecommons.org", "opensource.org", "stability.ai", "bfl.ai", "blackforestlabs.ai",
        "modelscope.cn",
    }
)  # fmt: skip
# kohya writes its model's repository here, in every file.
_EXPECTED_ADDRESS = "modelspec.implementation"
# diffusers keeps module names here, which look like domains.
_MODULE_NAMES = "lora_adapter_metadata"
# Authors sign their work: an author's own mail address is no advertisement.
_SIGNATURE = "modelspec.author"
# ModelSpec allows a thumbnail as a data URL.
_THUMBNAIL = "modelspec.thumbnail"
_IMAGE_DATA = re.compile(r"data:image/(?:png|jpe?g|webp);base64,")
# Names of a training set's captions and folders, which users of the LoRA never see: a watermark's
# domain or an artist's handle among the tags advertises nothing. Complete addresses and markup are
# searched for here too.
_TRAINING_SET = frozenset(
    {"ss_tag_frequency", "ss_dataset_dirs", "ss_reg_dataset_dirs", "ss_datasets", "ss_bucket_info"}
)
_MAX_FINDINGS = 8
# No trainer writes a thousand addresses into one string, trusted or not.
_MAX_ADDRESSES = 1000


class Scan(NamedTuple):
    """Findings that quarantine a file, and those that are only worth showing."""

    findings: list[Finding]
    notes: list[str]


def scan_metadata(metadata: dict[str, str]) -> Scan:
    """Searches every key and value, until there are eight findings."""
    scan = Scan([], [])
    for key, value in metadata.items():
        for text in (key, *_layers_of(value)):
            _scan_text(key, text, scan)
        if len(scan.findings) >= _MAX_FINDINGS:
            break
    return scan


def _layers_of(value: str) -> Iterator[str]:
    """The text, and the text inside its JSON escapes: trainers nest JSON in strings."""
    yield value
    if "\\u" in value:
        yield value.encode("latin-1", "replace").decode("raw_unicode_escape", "replace")


def _lower(text: str) -> str:
    """The text with A to Z in lower case, computed on bytes because str.lower needs three times the
    memory.
    """
    return text.encode("utf-8", "replace").lower().decode("utf-8")


def _scan_text(key: str, text: str, scan: Scan) -> None:
    lowered = _lower(text)
    hosts: set[str] = set()
    found = (
        (Reason.MARKUP, find_markup(lowered)),
        (Reason.ADDRESS, _find_address(key, lowered, hosts)),
        (Reason.CONTACT, _find_contact(key, lowered)),
        (Reason.ENCODED_BLOB, _find_blob(key, text)),
        (Reason.CONTROL_CHARACTERS, find_control(text)),
    )
    for reason, what in found:
        if what is not None:
            _add(scan, Finding(reason, {"key": f"{clean(key, 40)}: {clean(what, 60)}"}))
    for host in sorted(hosts):
        _note(scan, f"metadata {clean(key, 40)} names {host}")


def _add(scan: Scan, finding: Finding) -> None:
    if finding not in scan.findings:
        scan.findings.append(finding)


def _note(scan: Scan, note: str) -> None:
    if note not in scan.notes and len(scan.notes) < _MAX_FINDINGS:
        scan.notes.append(note)


def _find_address(key: str, lowered: str, hosts: set[str]) -> str | None:
    """The first untrusted address; trusted ones are added to `hosts`."""
    for count, (address, host) in enumerate(addresses(lowered)):
        if key in _TRAINING_SET and address.startswith("www."):
            continue
        if host not in _TRUSTED_HOSTS or count == _MAX_ADDRESSES:
            return address
        if key != _EXPECTED_ADDRESS:
            hosts.add(host)
    return None if key == _MODULE_NAMES or key in _TRAINING_SET else _find_domain(lowered)


def _find_domain(lowered: str) -> str | None:
    for count, domain in enumerate(domains(lowered)):
        if domain not in _TRUSTED_HOSTS or count == _MAX_ADDRESSES:
            return domain
    return None


def _find_contact(key: str, lowered: str) -> str | None:
    if key in _TRAINING_SET:
        return None
    finders: tuple[Callable[[str], str | None], ...] = (find_mail, find_handle)
    if key == _SIGNATURE:
        finders = (find_handle,)
    return next((found for find in finders if (found := find(lowered))), None)


def _find_blob(key: str, text: str) -> str | None:
    if key in _TRAINING_SET:
        return None
    is_thumbnail = key == _THUMBNAIL and _IMAGE_DATA.match(text)
    return None if is_thumbnail else find_blob(text)
