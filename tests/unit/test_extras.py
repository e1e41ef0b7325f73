"""The page's super-resolution: our conversion held against the pictures of the weights' package."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from api.extras.convert import UnknownLayer, convert
from api.extras.install import RUNTIME_FILES, install

ROOT = Path(__file__).parents[2]
MODULES = ROOT / "node_modules"
PACKAGE = MODULES / "@upscalerjs" / "esrgan-slim"

needs_npm = pytest.mark.skipif(not PACKAGE.exists(), reason="npm ci has not run here")


def a_model(folder: Path, layers: list[dict[str, object]], weights: dict[str, object]) -> Path:
    """A model's files as TensorFlow.js writes them; each layer takes the one before it."""
    manifest = [
        {"name": name, "shape": list(np.shape(value)), "dtype": "float32"}  # type: ignore[arg-type]
        for name, value in weights.items()
    ]
    data = b"".join(np.asarray(value, "<f4").tobytes() for value in weights.values())
    (folder / "weights.bin").write_bytes(data)
    names = [layer["name"] for layer in layers]
    for name, layer in zip(names, layers[1:], strict=False):
        layer["inbound_nodes"] = [[[name, 0, 0, {}]]]
    layers[0]["inbound_nodes"] = []
    ends = {"input_layers": [[names[0], 0, 0]], "output_layers": [[names[-1], 0, 0]]}
    described = {
        "modelTopology": {"model_config": {"config": {"layers": layers, **ends}}},
        "weightsManifest": [{"paths": ["weights.bin"], "weights": manifest}],
    }
    path = folder / "model.json"
    path.write_text(json.dumps(described))
    return path


def a_convolution(**changes: object) -> list[dict[str, object]]:
    config: dict[str, object] = {
        "kernel_size": [3, 3],
        "strides": [1, 1],
        "dilation_rate": [1, 1],
        "padding": "same",
        "activation": "linear",
        "use_bias": True,
    }
    return [
        {"class_name": "InputLayer", "name": "in", "config": {}},
        {"class_name": "Conv2D", "name": "conv", "config": config | changes},
    ]


WEIGHTS: dict[str, object] = {"conv/kernel": np.ones((3, 3, 3, 3)), "conv/bias": np.ones(3)}


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (source,) = session.get_inputs()
    (answer,) = session.run(None, {source.name: image})
    return answer  # type: ignore[no-any-return]


def test_a_convolution_is_what_it_was(tmp_path: Path) -> None:
    model = convert(a_model(tmp_path, a_convolution(), WEIGHTS))
    onnx.checker.check_model(model)
    answer = run(model, np.ones((1, 3, 4, 5), np.float32))
    # Nine places, three planes and the bias; fewer where the border is.
    assert answer[0, :, 1, 1].tolist() == [28, 28, 28]
    assert answer[0, :, 0, 0].tolist() == [13, 13, 13]


def test_what_leaves_the_range_of_a_picture_is_cut_off(tmp_path: Path) -> None:
    model = convert(a_model(tmp_path, a_convolution(), WEIGHTS))
    assert run(model, np.full((1, 3, 4, 4), 200, np.float32)).max() == 255


@pytest.mark.parametrize(
    "changes", [{"strides": [2, 2]}, {"activation": "tanh"}, {"use_bias": False}]
)
def test_an_option_that_no_rule_covers_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(UnknownLayer, match="conv"):
        convert(a_model(tmp_path, a_convolution(**changes), WEIGHTS))


def test_a_layer_that_no_rule_covers_is_refused(tmp_path: Path) -> None:
    layers = [*a_convolution(), {"class_name": "Dense", "name": "last", "config": {}}]
    with pytest.raises(UnknownLayer, match="Dense"):
        convert(a_model(tmp_path, layers, WEIGHTS))


def test_the_same_files_make_the_same_bytes(tmp_path: Path) -> None:
    path = a_model(tmp_path, a_convolution(), WEIGHTS)
    first, second = (convert(path).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


@needs_npm
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_weights_give_the_package_s_own_pictures(scale: int) -> None:
    assets = PACKAGE / "assets"
    photo = np.asarray(Image.open(assets / "fixture.png").convert("RGB"), np.float32)
    wanted = np.asarray(Image.open(assets / "samples" / f"{scale}x" / "result.png").convert("RGB"))
    model = convert(PACKAGE / "models" / f"x{scale}" / "model.json")
    answer = run(model, photo.transpose(2, 0, 1)[None])[0].transpose(1, 2, 0)
    off = np.abs(np.round(answer) - wanted.astype(np.float32))
    assert off.max() <= 1
    assert off.mean() < 0.001


@needs_npm
def test_the_files_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    target = tmp_path / "extra"
    target.mkdir()
    (target / "of-an-older-version").touch()
    install(MODULES, target)
    manifest = json.loads((target / "manifest.json").read_text())
    folder = target / Path(manifest["root"]).name
    assert sorted(path.name for path in target.iterdir()) == sorted([folder.name, "manifest.json"])
    assert (folder / manifest["model"]).stat().st_size > 800_000
    assert all((folder / name).is_file() for name in RUNTIME_FILES)
    assert (folder / "ort-wasm-simd-threaded.wasm.gz").is_file()


def test_without_npm_s_folder_what_was_there_stays(tmp_path: Path) -> None:
    target = tmp_path / "extra"
    target.mkdir()
    (target / "manifest.json").write_text("{}")
    with pytest.raises(FileNotFoundError):
        install(tmp_path / "node_modules", target)
    assert (target / "manifest.json").is_file()
    shutil.rmtree(target)
