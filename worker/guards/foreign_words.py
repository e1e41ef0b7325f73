"""Which lines of text in a picture are advertising: addresses, accounts, numbers, agency names.

Owns the patterns, which allow for the errors of optical recognition: lost spaces, dots for commas.
Those of addresses and messengers are shared with the check of LoRA metadata.
"""

import re
from difflib import SequenceMatcher

from shared.loras.suspicions import addresses, domains, find_handle, find_mail

_ADDRESS = re.compile(
    r"https?\W{1,4}\w|(?<!\w)www[.,]\s?\w{2}|\w{2}[.,](?:com|net|org|cn|io|vip)\b"
)
_HANDLE = re.compile(r"(?<!\w)@\s?[a-z0-9_.]{3,30}")
_DATE = r"\d{4}[-./]\d\d?[-./]|\d\d?[-./]\d\d?[-./]\d{4}"
_PHONE = re.compile(rf"(?<!\d)(?!{_DATE})\+?\d(?:[ ()./-]{{0,2}}\d){{9,14}}(?!\d)")
_WORDING = re.compile(
    r"watermark|copyright|©|\(c\)\s?\d{4}|allrightsreserved|do\s?not\s?copy|unlicen[sc]ed"
    r"|(?<![a-z])(?:sample|preview|proof|specimen)(?![a-z])"
    r"|shutterstock|gettyimages|istockphoto|alamy|dreamstime|depositphotos|adobestock|123rf"
    r"|freepik|vecteezy|pngtree"
    r"|水印|样图|版权|盗图|图库|图片库|素材网|扫码|加微信|公众号"
    r"|视觉中国|包图网|千图网|昵图网|摄图网|站酷"
)
# Two readings of one line differ in a letter or two.
SAME = 0.7


def mark_in(text: str) -> str | None:
    """What makes a line advertising, or None."""
    lowered = text.lower()
    found = next(addresses(lowered), None) or next(domains(lowered), None)
    if found is not None:
        return "address"
    if _ADDRESS.search(lowered) or find_mail(lowered):
        return "address"
    if find_handle(lowered) or _HANDLE.search(lowered) or _PHONE.search(lowered):
        return "contact"
    packed = re.sub(r"\s+", "", lowered)
    return "wording" if _WORDING.search(lowered) or _WORDING.search(packed) else None


def is_known(text: str, others: list[str]) -> bool:
    """Whether one of the other lines is the same text, as far as two readings agree."""
    letters = _letters(text)
    return any(_is_same(letters, _letters(other)) for other in others)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _is_same(one: str, other: str) -> bool:
    if not one or not other:
        return False
    return one in other or SequenceMatcher(None, one, other).ratio() >= SAME
