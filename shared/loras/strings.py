"""What hides in a LoRA's metadata: addresses, contacts, scripts, encoded blobs, control codes.

Trainers write addresses of their own: kohya names Stability's repository in every SDXL file, so
"contains http" proves nothing. A host that is known to publish models or licences is noted; any
other holds the file back. Every pattern starts at a fixed character or at the beginning of a run
and looks back over a bounded stretch at most, so the time grows with the text's length alone.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from shared.loras.reasons import Finding, Reason, clean

_TRUSTED_HOSTS = frozenset(
    {
        "github.com", "huggingface.co", "hf.co", "civitai.com", "arxiv.org", "apache.org",
        "creativecommons.org", "opensource.org", "stability.ai", "bfl.ai", "blackforestlabs.ai",
        "modelscope.cn",
    }
)  # fmt: skip
# kohya writes its model's repository here, in every file.
_EXPECTED_ADDRESS = "modelspec.implementation"
# diffusers keeps module names such as `ff.net.0.proj` here, which look like domains.
_MODULE_NAMES = "lora_adapter_metadata"
# People sign their work: an author's own mail address is no advertisement.
_SIGNATURE = "modelspec.author"
# ModelSpec allows a thumbnail as a data URL.
_THUMBNAIL = "modelspec.thumbnail"
_IMAGE_DATA = re.compile(r"data:image/(?:png|jpe?g|webp);base64,")
_MAX_FINDINGS = 8
_MIN_BLOB = 120
_HUGE_BLOB = 512

_URL = re.compile(r"(?:https?|ftp|wss?|tg)(?:://|:\\/\\/)([^\s\"'<>\\/?#]{1,200}+)", re.IGNORECASE)
_WWW = re.compile(r"(?<![\w.])www\.([a-z0-9.-]{1,200}+)", re.IGNORECASE)
# Endings that give a bare domain away; those of the second line occur in prose and in code, and
# count with a path behind them only.
_DOMAIN_END = re.compile(
    r"\.(?:(?:com|net|org|info|biz|xyz|vip|club|casino|bet|cc|gg|cn|ru)(?![\w-]|\.\w)"
    r"|(?:top|me|io|app|live|store|shop|link|site|online|win|tv|ai|co)(?=/\w))",
    re.IGNORECASE,
)
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_MAX_LABEL = 63
_MAIL = re.compile(r"(?<=[\w.+-])@[a-z0-9-]{1,63}+\.[a-z]{2,24}", re.IGNORECASE)
_HANDLE = re.compile(
    r"(?<![a-z0-9])(?:(?:telegram|whatsapp|wechat|weixin|discord|vx)[ \t]{0,3}+(?:id)?[:：=@+]"
    r"|微信|加[微v]|qq(?=[群号:： ]?[ ]?\d))[号群]?[ \t:：=@+]{0,4}+[a-z0-9_-]{5,32}+",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?<![\w.+])(?:\+\d{1,3}[ -]?(?:\d[ -]?){7,11}\d|1[3-9]\d{9})(?![\w.])")
# Words such as <style> also serve as trigger tokens; with an attribute behind them they do not.
_MARKUP = re.compile(
    r"<[ \t]{0,3}+/?(?:(?:script|iframe|embed|svg|img|html)\b|(?:object|link|meta|form|style) )"
    r"|<!doctype|javascript:|\bon(?:error|load|click|mouseover|focus)[ \t]{0,3}+=",
    re.IGNORECASE,
)
_BLOB = re.compile(
    rf"(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/]{{{_MIN_BLOB},}}+|[A-Za-z0-9_-]{{{_MIN_BLOB},}}+"
    r"|(?:[A-Za-z0-9+/]{60,76}+\r?\n){2,}+)"
)
# C0 and DEL but tab and line ends, and the marks that reorder text (bidirectional overrides).
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")


class Scan(NamedTuple):
    """What holds a file back, and what is only worth showing."""

    findings: list[Finding]
    notes: list[str]


def scan_metadata(metadata: dict[str, str]) -> Scan:
    """Look through every key and value, until eight findings are enough."""
    scan = Scan([], [])
    for key, value in metadata.items():
        for text in (key, *_layers_of(value)):
            _scan_text(key, text, scan)
        if len(scan.findings) >= _MAX_FINDINGS:
            break
    return scan


def _layers_of(value: str) -> Iterator[str]:
    """The text, and the text below its JSON escapes: trainers nest JSON in strings."""
    yield value
    if "\\u" in value:
        yield _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value)


def _scan_text(key: str, text: str, scan: Scan) -> None:
    for reason, find in _DETECTORS:
        found = find(key, text)
        if found is not None:
            finding = Finding(reason, {"key": f"{clean(key, 40)}: {clean(found, 60)}"})
            if finding not in scan.findings:
                scan.findings.append(finding)
    _note_trusted_hosts(key, text, scan.notes)


def _note_trusted_hosts(key: str, text: str, notes: list[str]) -> None:
    if "://" not in text or key == _EXPECTED_ADDRESS:
        return
    hosts = {_host(match) for match in _URL.finditer(text)}
    for host in sorted(hosts & _TRUSTED_HOSTS):
        note = f"metadata {clean(key, 40)} names {host}"
        if note not in notes and len(notes) < _MAX_FINDINGS:
            notes.append(note)


def _host(match: re.Match[str]) -> str:
    """The host of an address as a browser takes it: without user, port and www."""
    host = match[1].rpartition("@")[2].partition(":")[0]
    return host.lower().rstrip(".,;)").removeprefix("www.")


def _find_address(key: str, text: str) -> str | None:
    for pattern in (_URL, _WWW):
        for match in pattern.finditer(text):
            if _host(match) not in _TRUSTED_HOSTS:
                return match[0]
    return None if key == _MODULE_NAMES else _find_domain(text)


def _find_domain(text: str) -> str | None:
    for match in _DOMAIN_END.finditer(text):
        begin = _label_start(text, match.start())
        domain = text[begin : match.end()]
        is_mail = text[begin - 1 : begin] == "@"
        # `ff.net` is a feed-forward layer's name wherever diffusers' module names are written.
        is_module = domain == "ff.net"
        if begin < match.start() and not (is_mail or is_module or domain.lower() in _TRUSTED_HOSTS):
            return domain
    return None


def _label_start(text: str, end: int) -> int:
    begin = end
    while begin > max(0, end - _MAX_LABEL) and text[begin - 1] in _LABEL_CHARACTERS:
        begin -= 1
    return begin


def _find_contact(key: str, text: str) -> str | None:
    patterns = (_HANDLE, _PHONE) if key == _SIGNATURE else (_MAIL, _HANDLE, _PHONE)
    found = (match for pattern in patterns if (match := pattern.search(text)))
    return next((match[0] for match in found), None)


def _find_blob(key: str, text: str) -> str | None:
    if key == _THUMBNAIL and _IMAGE_DATA.match(text):
        return None
    runs = (match[0] for match in _BLOB.finditer(text))
    return next((run for run in runs if _looks_encoded(run)), None)


def _looks_encoded(run: str) -> bool:
    """Whether a long run without spaces mixes cases and digits as base64 does, or is huge."""
    head = run[:4096]
    has_digit, has_letter = any(map(str.isdigit, head)), any(map(str.isalpha, head))
    both_cases = any(map(str.isupper, head)) and any(map(str.islower, head))
    return has_digit and has_letter and (both_cases or len(run) >= _HUGE_BLOB)


def _plainly(pattern: re.Pattern[str]) -> Callable[[str, str], str | None]:
    def find(_key: str, text: str) -> str | None:
        match = pattern.search(text)
        return match[0] if match else None

    return find


_DETECTORS: tuple[tuple[Reason, Callable[[str, str], str | None]], ...] = (
    (Reason.MARKUP, _plainly(_MARKUP)),
    (Reason.ADDRESS, _find_address),
    (Reason.CONTACT, _find_contact),
    (Reason.ENCODED_BLOB, _find_blob),
    (Reason.CONTROL_CHARACTERS, _plainly(_CONTROL)),
)
