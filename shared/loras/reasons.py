"""Why a LoRA is held back or does not fit: every reason, its verdict, its sentence twice.

Owns the wording of verdicts, as shared/messages.py owns that of errors. Knows nothing of files.
"""

from enum import Enum
from typing import NamedTuple

from shared.loras.entry import LoraState

HELD = LoraState.QUARANTINED
UNFIT = LoraState.INCOMPATIBLE


class Reason(Enum):
    """Code, verdict, and the sentence in English and Chinese with its {facts}."""

    # --- structure: held back, and no release would make the file loadable
    EXECUTABLE = (
        "executable",
        HELD,
        "It is a {what} under the name of a safetensors file, and could run code when opened.",
        "这是冒充 safetensors 的 {what}，打开时可能执行代码。",
    )
    NOT_SAFETENSORS = (
        "not_safetensors",
        HELD,
        "It is not a safetensors file; it begins like text, perhaps a failed download.",
        "这不是 safetensors 文件，开头像是文本，可能是下载失败留下的。",
    )
    NOT_A_FILE = (
        "not_a_file",
        HELD,
        "It cannot be read as a regular file.",
        "无法作为普通文件读取。",
    )
    FILE_TOO_LARGE = (
        "file_too_large",
        HELD,
        "The file has {size} bytes; the limit is {limit}.",
        "文件有 {size} 字节，上限是 {limit}。",
    )
    FILE_TOO_SHORT = (
        "file_too_short",
        HELD,
        "The file ends before its header begins.",
        "文件在头部开始之前就结束了。",
    )
    HEADER_TOO_LONG = (
        "header_too_long",
        HELD,
        "Its header claims {length} bytes; the limit is {limit}.",
        "头部声称有 {length} 字节，上限是 {limit}。",
    )
    HEADER_BEYOND_FILE = (
        "header_beyond_file",
        HELD,
        "Its header claims {length} bytes, more than the file has.",
        "头部声称有 {length} 字节，比整个文件还长。",
    )
    LEADING_SPACE = (
        "leading_space",
        HELD,
        "Its header does not begin with a brace.",
        "头部不是以花括号开头。",
    )
    MALFORMED_HEADER = (
        "malformed_header",
        HELD,
        "Its header cannot be read near byte {position}.",
        "头部在第 {position} 字节附近无法解析。",
    )
    DUPLICATE_KEY = (
        "duplicate_key",
        HELD,
        "Its header names {name} twice.",
        "头部里 {name} 出现了两次。",
    )
    METADATA_TOO_LONG = (
        "metadata_too_long",
        HELD,
        "Its metadata has more than {limit} {unit}.",
        "元数据超过了上限 {limit}（{unit}）。",
    )
    TOO_MANY_TENSORS = (
        "too_many_tensors",
        HELD,
        "It holds more than {limit} tensors.",
        "张量超过 {limit} 个。",
    )
    NO_TENSORS = ("no_tensors", HELD, "It holds no tensors.", "文件里没有任何张量。")
    UNKNOWN_DTYPE = (
        "unknown_dtype",
        HELD,
        "Tensor {name} has the type {dtype}, which the format does not know.",
        "张量 {name} 的类型 {dtype} 不属于该格式。",
    )
    ZERO_SIZE_TENSOR = (
        "zero_size_tensor",
        HELD,
        "Tensor {name} has no elements.",
        "张量 {name} 没有任何元素。",
    )
    SIZE_MISMATCH = (
        "size_mismatch",
        HELD,
        "Tensor {name} has {actual} bytes where its shape needs {expected}.",
        "张量 {name} 有 {actual} 字节，而按形状应有 {expected} 字节。",
    )
    OFFSETS_OVERLAP = (
        "offsets_overlap",
        HELD,
        "Tensor {name} overlaps the one before it.",
        "张量 {name} 与前一个张量重叠。",
    )
    OFFSETS_GAP = (
        "offsets_gap",
        HELD,
        "There is a gap before tensor {name}.",
        "张量 {name} 之前有空洞。",
    )
    TRUNCATED = (
        "truncated",
        HELD,
        "The file ends before its tensors do: {missing} bytes are missing.",
        "文件不完整，缺少 {missing} 字节。",
    )
    TRAILING_BYTES = (
        "trailing_bytes",
        HELD,
        "There are {extra} bytes after the last tensor.",
        "最后一个张量之后还有 {extra} 字节。",
    )
    NOT_FINITE = (
        "not_finite",
        HELD,
        "Its weights hold NaN or infinite values (tensor {name}).",
        "权重里有 NaN 或无穷大（张量 {name}）。",
    )
    RANK_TOO_HIGH = (
        "rank_too_high",
        HELD,
        "Its rank is {rank}; the limit is {limit}.",
        "秩为 {rank}，上限是 {limit}。",
    )
    FACTORS_DISAGREE = (
        "factors_disagree",
        HELD,
        "The two factors of {name} do not belong together.",
        "{name} 的两个因子对不上。",
    )
    UNUSABLE_NAME = (
        "unusable_name",
        HELD,
        "Its file name cannot be a LoRA's name: use up to 64 letters, digits, dots, dashes and "
        "underscores, the first a letter or digit.",
        "文件名不能用作 LoRA 名称：最多 64 个字母、数字、点、横线和下划线，以字母或数字开头。",
    )
    # --- content and name: held back until a person releases the file by its sha256
    MARKUP = (
        "markup",
        HELD,
        "Its metadata holds markup or script: {key}.",
        "元数据中含有标记或脚本：{key}。",
    )
    ADDRESS = (
        "address",
        HELD,
        "Its metadata holds a web address: {key}.",
        "元数据中含有网址：{key}。",
    )
    CONTACT = (
        "contact",
        HELD,
        "Its metadata holds a contact or phone number: {key}.",
        "元数据中含有联系方式：{key}。",
    )
    ENCODED_BLOB = (
        "encoded_blob",
        HELD,
        "Its metadata holds a long encoded blob: {key}.",
        "元数据中含有一长段编码数据：{key}。",
    )
    CONTROL_CHARACTERS = (
        "control_characters",
        HELD,
        "Its metadata holds control characters: {key}.",
        "元数据中含有控制字符：{key}。",
    )
    NAME_CONTRADICTS_SHAPES = (
        "name_contradicts_shapes",
        HELD,
        "Its name says {tag}, its tensors fit {shapes}. Rename it.",
        "文件名说是 {tag}，张量却属于 {shapes}，请改名。",
    )
    # --- sound, but not for this service
    OTHER_BASE = (
        "other_base",
        UNFIT,
        "Made for {made_for}; this service runs {running}.",
        "它是为 {made_for} 训练的，本服务运行的是 {running}。",
    )
    UNKNOWN_BASE = (
        "unknown_base",
        UNFIT,
        "Its base cannot be told: neither tensors, metadata nor name say it.",
        "无法判断它属于哪个基础模型：张量、元数据和文件名都没有说明。",
    )
    UNCARRIED_KIND = (
        "uncarried_kind",
        UNFIT,
        "It is a {kind}, which this service cannot apply.",
        "它是 {kind}，本服务无法使用。",
    )
    UNCARRIED_DTYPE = (
        "uncarried_dtype",
        UNFIT,
        "Its weights are stored as {dtype}; this service takes F16, BF16 and F32.",
        "权重以 {dtype} 存储，本服务只支持 F16、BF16 和 F32。",
    )
    FOREIGN_TENSORS = (
        "foreign_tensors",
        UNFIT,
        "It holds tensors that belong to no LoRA, such as {name}.",
        "其中有不属于 LoRA 的张量，例如 {name}。",
    )

    def __init__(self, code: str, state: LoraState, en: str, zh: str) -> None:
        self.code = code
        self.state = state
        self.en = en
        self.zh = zh


RELEASABLE = frozenset(
    {
        Reason.MARKUP,
        Reason.ADDRESS,
        Reason.CONTACT,
        Reason.ENCODED_BLOB,
        Reason.CONTROL_CHARACTERS,
        Reason.NAME_CONTRADICTS_SHAPES,
    }
)
# What a file that is still being written looks like.
_MAY_GROW = frozenset({Reason.FILE_TOO_SHORT, Reason.HEADER_BEYOND_FILE, Reason.TRUNCATED})


class Finding(NamedTuple):
    """One reason with its facts, in words that are safe to show."""

    reason: Reason
    facts: dict[str, str | int]

    @property
    def en(self) -> str:
        """The sentence in English."""
        return self.reason.en.format_map(self.facts)

    @property
    def zh(self) -> str:
        """The sentence in Chinese."""
        return self.reason.zh.format_map(self.facts)

    @property
    def may_grow(self) -> bool:
        """Whether the file may merely not be all there yet."""
        return self.reason in _MAY_GROW

    @property
    def releasable(self) -> bool:
        """Whether a person may release the file by its sha256."""
        return self.reason in RELEASABLE


class Refused(Exception):
    """Raised when a file fails its preflight; its finding is the only argument.

    Caught where the file is judged: it becomes an entry's reason and never leaves this package.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def refused(reason: Reason, **facts: str | int) -> Refused:
    """The exception for a reason and its facts."""
    return Refused(Finding(reason, facts))


def clean(text: str, limit: int = 80) -> str:
    """Foreign text made fit to show: printable characters only, cut."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
