"""Texts of watermarks: addresses, handles, names of agencies, telephone numbers."""

import random

LETTERS = "abcdefghijklmnopqrstuvwxyz"
ENDINGS = ("com", "net", "org", "cn", "io", "shop", "xyz", "co.uk", "de", "vip", "app")
STAMPS = (
    "SAMPLE", "PREVIEW", "PROOF", "COPYRIGHT", "DO NOT COPY", "WATERMARK", "DEMO", "Stock",
    "All rights reserved", "For review only", "DRAFT", "UNLICENSED", "Trial version",
)  # fmt: skip
CHINESE = (
    "水印", "样图", "版权所有", "仅供预览", "请勿盗图", "图片库", "摄影", "官方微信", "加微信",
    "扫码关注", "独家", "素材网", "试用版", "红包", "代理加盟", "正版图库",
)  # fmt: skip


def line(dice: random.Random, *, in_chinese: bool) -> str:
    """One line of text for a mark."""
    if in_chinese:
        return dice.choice(CHINESE) + dice.choice(("", "", _digits(dice, 8), _word(dice)))
    makers = (_address, _handle, _stamp, _credit, _phone, _domain)
    return dice.choice(makers)(dice)


def _word(dice: random.Random) -> str:
    word = "".join(dice.choice(LETTERS) for _ in range(dice.randint(3, 9)))
    return dice.choice((word, word.upper(), word.capitalize()))


def _digits(dice: random.Random, count: int) -> str:
    return "".join(dice.choice("0123456789") for _ in range(count))


def _domain(dice: random.Random) -> str:
    return f"{_word(dice)}{dice.choice(('', '', _digits(dice, 3)))}.{dice.choice(ENDINGS)}"


def _address(dice: random.Random) -> str:
    return dice.choice(("www.", "https://", "http://www.")) + _domain(dice)


def _handle(dice: random.Random) -> str:
    return dice.choice(("@", "IG: @", "t.me/", "#")) + _word(dice)


def _stamp(dice: random.Random) -> str:
    return dice.choice(STAMPS)


def _credit(dice: random.Random) -> str:
    sign = dice.choice(("©", "(c)", "Photo by"))
    return f"{sign} {dice.choice(('', '2024 ', '2026 '))}{_word(dice)} {_word(dice)}"


def _phone(dice: random.Random) -> str:
    return dice.choice(
        (
            f"+{_digits(dice, 2)} {_digits(dice, 3)} {_digits(dice, 7)}",
            f"1{_digits(dice, 10)}",
            f"QQ {_digits(dice, 9)}",
        )
    )
