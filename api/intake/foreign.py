"""Unsupported files, recognised by their first bytes, so that a refusal can name their format.

Owns the names, in both languages, and advice for each.
"""

import re
from dataclasses import dataclass

from api.wire.sentence import Sentence

HEAD_BYTES = 4096
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<script|<body)", re.IGNORECASE)


@dataclass(frozen=True)
class Foreign:
    """A format, and advice for its owner in addition to that of the error code."""

    en: str
    zh: str
    advice_en: str
    advice_zh: str

    def sentence(self) -> Sentence:
        """What the file is and what to do."""
        return Sentence(
            f"the file is {self.en}; {self.advice_en}", f"这是{self.zh}；{self.advice_zh}"
        )


_EXPORT = ("export it as PNG or JPEG", "请导出为 PNG 或 JPEG")
_DEVELOP = (
    "develop it with the camera's software or a raw converter and send a JPEG or TIFF",
    "请用相机软件或 RAW 转换工具导出为 JPEG 或 TIFF",
)
_FRAME = ("save the frame that you want as PNG or JPEG", "请将所需的一帧存为 PNG 或 JPEG")
_UNPACK = ("unpack it and send the pictures individually", "请解压后逐张发送图片")

RAW = Foreign("a camera's RAW file", "相机 RAW 文件", *_DEVELOP)
VIDEO = Foreign("a video", "视频", *_FRAME)
UNKNOWN = Foreign(
    "in no known picture format",
    "无法识别的文件",
    "choose a photo, such as a JPEG, PNG, WebP, HEIC, AVIF or TIFF",
    "请选择照片，如 JPEG、PNG、WebP、HEIC、AVIF 或 TIFF",
)

_BY_MAGIC: tuple[tuple[bytes, Foreign], ...] = (
    (b"\0\0\0\x0cJXL \r\n\x87\n", Foreign("JPEG XL", " JPEG XL 图片", *_EXPORT)),
    (b"\xff\x0a", Foreign("JPEG XL", " JPEG XL 图片", *_EXPORT)),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Foreign("JPEG 2000", " JPEG 2000 图片", *_EXPORT)),
    (b"\xff\x4f\xff\x51", Foreign("JPEG 2000", " JPEG 2000 图片", *_EXPORT)),
    (b"II\xbc", Foreign("JPEG XR", " JPEG XR 图片", *_EXPORT)),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIRO", RAW),
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"IIU\0", RAW),
    (b"FOVb", RAW),
    (b"\0MRM", RAW),
    (b"8BPS", Foreign("a Photoshop document (PSD)", " Photoshop 文档（PSD）", *_EXPORT)),
    (b"gimp xcf", Foreign("a GIMP document (XCF)", " GIMP 文档（XCF）", *_EXPORT)),
    (b"%!PS", Foreign("PostScript (EPS)", " PostScript（EPS）文件", *_EXPORT)),
    (b"\xc5\xd0\xd3\xc6", Foreign("PostScript (EPS)", " PostScript（EPS）文件", *_EXPORT)),
    (b"SIMPLE  =", Foreign("an astronomical picture (FITS)", "天文图像（FITS）", *_EXPORT)),
    (b"\x76\x2f\x31\x01", Foreign("OpenEXR", " OpenEXR 图片", *_EXPORT)),
    (b"#?R", Foreign("a Radiance HDR picture", " Radiance HDR 图片", *_EXPORT)),
    (b"DDS ", Foreign("a texture (DDS)", "纹理文件（DDS）", *_EXPORT)),
    (b"qoif", Foreign("QOI", " QOI 图片", *_EXPORT)),
    (b"\0\0\1\0", Foreign("an icon (ICO)", "图标（ICO）", *_EXPORT)),
    (b"icns", Foreign("an icon (ICNS)", "图标（ICNS）", *_EXPORT)),
    (b"\x1a\x45\xdf\xa3", VIDEO),
    (b"\0\0\1\xba", VIDEO),
    (b"\0\0\1\xb3", VIDEO),
    (b"FLV", VIDEO),
    (b"PK\3\4", Foreign("a ZIP archive or an office document", " ZIP 压缩包或办公文档", *_UNPACK)),
    (b"Rar!", Foreign("an archive", "压缩包", *_UNPACK)),
    (b"7z\xbc\xaf", Foreign("an archive", "压缩包", *_UNPACK)),
    (b"\x1f\x8b", Foreign("a gzip archive", " gzip 压缩包", *_UNPACK)),
)
_PDF = Foreign("a PDF", " PDF 文档", "save the page as PNG or JPEG", "请将所需页面存为 PNG 或 JPEG")
_DRAWING = Foreign("a drawing (SVG)", "矢量图（SVG）", *_EXPORT)
_PAGE = Foreign("a web page", "网页", "save its picture as a file", "请将其中的图片另存为文件")
_NETPBM = re.compile(rb"P[1-7][\s#]")
_PIXMAP = Foreign("a netpbm picture (PPM)", " netpbm 图片（PPM）", *_EXPORT)


def recognise(data: bytes) -> Foreign:
    """The file's format; UNKNOWN if it is not recognised."""
    for magic, kind in _BY_MAGIC:
        if data.startswith(magic):
            return kind
    head = data[:HEAD_BYTES]
    if b"%PDF-" in head[:1024]:
        return _PDF
    if _NETPBM.match(head):
        return _PIXMAP
    if _SVG.search(head):
        return _DRAWING
    if _HTML.match(head):
        return _PAGE
    return _container(head)


def _container(head: bytes) -> Foreign:
    if head[:4] == b"RIFF":
        return VIDEO if head[8:12] == b"AVI " else UNKNOWN
    if head[4:8] == b"ftyp":
        return RAW if head[8:12] == b"crx " else VIDEO
    return VIDEO if head[4:8] in (b"moov", b"mdat", b"wide") else UNKNOWN
