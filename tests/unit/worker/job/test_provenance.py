"""What a finished file says of itself: made with AI, the recipe when asked, signed."""

import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image

from shared.params import MEDIA_TYPES, ImageFormat, JobParams
from shared.settings import BadSettings, Settings
from tests.support.certificates import Authority, cert_pem, key_pem
from worker.job.outputs import encode_result
from worker.job.provenance import make_seal, unsealed

FORMATS: tuple[ImageFormat, ...] = ("png", "jpeg", "webp")
PIXELS = np.full((24, 32, 3), 90, dtype=np.uint8)
SOURCE_TYPE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
MADE_WITH_AI = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


def xmp_of(data: bytes) -> ET.Element:
    with Image.open(io.BytesIO(data)) as image:
        text = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    return ET.fromstring(text)


@pytest.mark.parametrize("made", FORMATS)
def test_every_format_says_that_a_model_had_a_part(made: ImageFormat) -> None:
    data = encode_result(PIXELS, JobParams(format=made, prompt="nobody's business", seed=41))

    (description,) = xmp_of(data).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.get(SOURCE_TYPE) == MADE_WITH_AI
    assert b"nobody" not in data
    assert list(description) == []


@pytest.mark.parametrize("made", FORMATS)
@pytest.mark.parametrize("prompt", ["a <b> & 'c' ]]>", "好看", "\ufffe\uffff\x00\x1b", "&" * 1000])
def test_the_recipe_is_there_when_it_was_asked_for(made: ImageFormat, prompt: str) -> None:
    params = JobParams(format=made, prompt=prompt, seed=41, embed_metadata=True)

    (told,) = xmp_of(encode_result(PIXELS, params)).iter("{urn:retouch:recipe}recipe")
    recipe = json.loads(told.text or "")

    assert recipe["seed"] == 41
    assert recipe["prompt"] == prompt.replace("\ufffe", "?").replace("\uffff", "?")


@pytest.fixture
def signing(tmp_path: Path) -> dict[str, object]:
    """Settings with a certificate that may sign documents."""
    authority = Authority()
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    cert, key = authority.sign("signer", (usage, True), (purpose, False))
    (tmp_path / "chain.pem").write_bytes(cert_pem(cert) + cert_pem(authority.cert))
    (tmp_path / "key.pem").write_bytes(key_pem(key))
    return {
        "c2pa_certificate": str(tmp_path / "chain.pem"),
        "c2pa_key": str(tmp_path / "key.pem"),
    }


@pytest.mark.parametrize("made", FORMATS)
def test_content_credentials_are_valid_small_and_leave_the_pixels_alone(
    make_settings: Callable[..., Settings], signing: dict[str, object], made: ImageFormat
) -> None:
    plain = encode_result(PIXELS, JobParams(format=made))

    sealed = make_seal(make_settings(**signing))(plain, made)

    with c2pa.Reader(MEDIA_TYPES[made], io.BytesIO(sealed)) as reader:
        told = json.loads(reader.json())
        assert reader.get_validation_state() == "Valid"  # and "Trusted" with a known authority
    manifest = told["manifests"][told["active_manifest"]]
    (action,) = manifest["assertions"][0]["data"]["actions"]
    assert action["digitalSourceType"] == MADE_WITH_AI
    assert "thumbnail" not in manifest
    assert len(sealed) - len(plain) < 20_000
    with Image.open(io.BytesIO(plain)) as one, Image.open(io.BytesIO(sealed)) as other:
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    assert xmp_of(sealed) is not None


@pytest.mark.parametrize("made", FORMATS)
def test_a_changed_file_no_longer_fits_its_credentials(
    make_settings: Callable[..., Settings], signing: dict[str, object], made: ImageFormat
) -> None:
    sealed = make_seal(make_settings(**signing))(
        encode_result(PIXELS, JobParams(format=made)), made
    )
    changed = sealed.replace(b"compositeWithTrained", b"compositeWithoutAny!", 1)
    assert changed != sealed

    with c2pa.Reader(MEDIA_TYPES[made], io.BytesIO(changed)) as reader:
        assert reader.get_validation_state() == "Invalid"


def test_without_a_certificate_files_are_left_as_they_are(settings: Settings) -> None:
    assert make_seal(settings) is unsealed
    assert unsealed(b"data", "png") == b"data"


def test_a_certificate_that_cannot_sign_stops_the_start(
    make_settings: Callable[..., Settings], signing: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "broken.pem").write_text("nothing")
    for wrong in (
        {"c2pa_key": ""},
        {"c2pa_key": str(tmp_path / "broken.pem")},
        {"c2pa_certificate": str(tmp_path / "broken.pem")},
        {"c2pa_certificate": str(tmp_path / "missing.pem")},
    ):
        with pytest.raises(BadSettings, match="RETOUCH_C2PA"):
            make_seal(make_settings(**(signing | wrong)))
