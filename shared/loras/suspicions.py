"""Patterns of content that does not belong in a LoRA's metadata; each returns its first match in a
text.

A text can be megabytes of an attacker's choosing, so every pattern starts at a fixed character,
which the regular expression engine finds at memory speed, and looks back or ahead over a bounded
distance. Knows nothing of keys and trusted hosts.
"""

import re
from collections.abc import Iterator

_WORD = r"(?:script|iframe|embed|svg|img|html)(?!\w)"
# Words such as <style> also serve as trigger tokens; with an attribute after them they do not.
_WORD_WITH_ATTRIBUTE = r"(?:object|link|meta|form|style)[ ]"
_TAG = re.compile(rf"<[ \t]{{0,3}}+(?:/?(?:{_WORD}|{_WORD_WITH_ATTRIBUTE})|!doctype)")
_HANDLER = re.compile(r"on(?<!\won)(?:error|load|click|mouseover|focus)[ \t]{0,3}+=")

_URL = re.compile(r":(?://|\\/\\/)([^\s\"'<>\\/?#]{1,200}+)")
_SCHEMES = ("http", "https", "ftp", "ws", "wss", "tg")
_WWW = re.compile(r"www\.(?<![\w.]www\.)([a-z0-9.-]{1,200}+)")
# Endings that identify a bare domain; those of the second line occur in prose and in code, and
# count only with a path after them. `ff.net` is a feed-forward layer in diffusers' module names.
_DOMAIN_END = re.compile(
    r"\.(?:(?:com|net|org|info|biz|xyz|vip|club|casino|bet|cc|gg|cn|ru)(?![\w-]|\.\w)"
    r"|(?:top|me|io|app|live|store|shop|link|site|online|win|tv|ai|co)(?=/\w))"
    r"(?<!^ff\.net)(?<![^a-z0-9-]ff\.net)"
)
_LABEL_END = re.compile(r"[a-z0-9-]{1,63}\Z")

_MAIL = re.compile(r"@(?<=[\w.+-]@)[a-z0-9-]{1,63}+\.[a-z]{2,24}")
_MESSENGERS = ("telegram", "whatsapp", "wechat", "weixin", "discord", "vx")
_CHINESE_MESSENGERS = ("微信", "加微", "加v", "qq")
# No caption names a messenger this often, with or without an account after it.
_MAX_MENTIONS = 10_000
_MESSENGER_ID = re.compile(r"[ \t]{0,3}+(?:id)?[:：=@+][ \t:：=@+]{0,4}+[a-z0-9_-]{4,32}+")
_CHINESE_MESSENGER_ID = re.compile(r"[号群]?[ \t:：=@+]{0,4}+[a-z_-]{0,24}\d[a-z0-9_-]{4,32}+")
_FOREIGN_PHONE = re.compile(r"\+(?<![\w.+]\+)\d{1,3}[ -]?(?:\d[ -]?){7,11}\d(?![\w.])")
_CHINESE_PHONE = re.compile(r"1(?<![\w.+]1)[3-9]\d{9}(?![\w.])")

_MIN_BLOB, _HUGE_BLOB, _MIN_LINE, _WINDOW = 120, 512, 60, 30
_BLOB_WINDOW = re.compile(rf"[A-Za-z0-9+/_-]{{{_WINDOW}}}")
_BLOB_BEFORE = re.compile(rf"[A-Za-z0-9+/_-]{{0,{_WINDOW}}}\Z")
_BLOB_RUN = re.compile(r"[A-Za-z0-9+/_-]*+")
_BLOB_LINES = re.compile(rf"(?:[A-Za-z0-9+/]{{{_MIN_LINE},76}}+\r?\n){{2,}}+")

# C0 and DEL except tab and line ends, and the marks that reorder text (bidirectional overrides).
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def find_markup(lowered: str) -> str | None:
    """A tag, an event handler or a script address."""
    for scheme in ("javascript:", "data:text/html"):
        if scheme in lowered:
            return scheme
    return _first(_TAG, lowered) or _first(_HANDLER, lowered)


def addresses(lowered: str) -> Iterator[tuple[str, str]]:
    """Every web address, and its host as a browser reads it: without user, port and www."""
    for match in _URL.finditer(lowered):
        start = _scheme_start(lowered, match.start())
        if start is not None:
            yield lowered[start : match.end()], _host(match[1])
    for match in _WWW.finditer(lowered):
        yield match[0], _host(match[1])


def _scheme_start(lowered: str, colon: int) -> int | None:
    before = lowered[max(0, colon - 5) : colon]
    found = [scheme for scheme in _SCHEMES if before.endswith(scheme)]
    return colon - len(max(found, key=len)) if found else None


def _host(authority: str) -> str:
    host = authority.rpartition("@")[2].partition(":")[0]
    return host.rstrip(".,;)").removeprefix("www.")


def domains(lowered: str) -> Iterator[str]:
    """Every bare domain; the domain of a mail address does not count."""
    for match in _DOMAIN_END.finditer(lowered):
        begin = max(0, match.start() - 64)
        label = _LABEL_END.search(lowered[begin : match.start()])
        if label and lowered[begin + label.start() - 1 : begin + label.start()] != "@":
            yield label[0] + match[0]


def find_mail(lowered: str) -> str | None:
    """A mail address."""
    return _first(_MAIL, lowered)


def find_handle(lowered: str) -> str | None:
    """A messenger's name followed by an account, or a phone number."""
    for words, pattern in (
        (_MESSENGERS, _MESSENGER_ID),
        (_CHINESE_MESSENGERS, _CHINESE_MESSENGER_ID),
    ):
        for word in words:
            found = _behind(word, pattern, lowered)
            if found:
                return found
    return _first(_CHINESE_PHONE, lowered) or _first(_FOREIGN_PHONE, lowered)


def _behind(word: str, pattern: re.Pattern[str], lowered: str) -> str | None:
    at, count = lowered.find(word), 0
    while at >= 0:
        match = pattern.match(lowered, at + len(word))
        if match and not (word.isascii() and lowered[at - 1 : at].isalnum()):
            return word + match[0]
        count += 1
        if count == _MAX_MENTIONS:
            return word
        at = lowered.find(word, at + len(word))
    return None


def find_blob(text: str) -> str | None:
    """A long run of base64 or hexadecimal, or several full lines of it.

    A run of 60 covers a whole window of 30, so looking at every window misses none.
    """
    end = 0
    for begin in range(0, len(text) - _WINDOW + 1, _WINDOW):
        if begin >= end and _BLOB_WINDOW.match(text, begin):
            before = _BLOB_BEFORE.search(text[max(end, begin - _WINDOW) : begin])
            run = _BLOB_RUN.match(text, begin - len(before[0] if before else ""))
            if run and (found := _encoded(text, run)):
                return found
            end = run.end() if run else begin
    return None


def _encoded(text: str, run: re.Match[str]) -> str | None:
    """The run, if it is long enough and mixes cases and digits as base64 does, or if it is huge."""
    lines = _BLOB_LINES.match(text, run.start())
    blob = lines[0] if lines else run[0]
    if len(blob) < _MIN_BLOB:
        return None
    head = blob[:4096]
    has_digit, has_letter = any(map(str.isdigit, head)), any(map(str.isalpha, head))
    both_cases = any(map(str.isupper, head)) and any(map(str.islower, head))
    return blob if has_digit and has_letter and (both_cases or len(blob) >= _HUGE_BLOB) else None


def find_control(text: str) -> str | None:
    """A control character or a mark that reorders text."""
    return _first(_CONTROL, text)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[0] if match else None
