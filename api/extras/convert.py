"""Converts a Keras model from TensorFlow.js' files to ONNX, for the layers of small convolutional
nets.

Knows nothing of a particular net. Sources: the TensorFlow.js "layers-model" format (`model.json`
beside shards of little-endian weights) and the operators of ONNX, opset 17. The output depends only
on the files, so that two machines make the same bytes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
Weights = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]
Layer = Mapping[str, Any]


class UnknownLayer(ValueError):
    """Raised when a model has a layer or an option that this converter does not support."""


def convert(model_json: Path) -> ModelProto:
    """The model as ONNX: float32 (1, 3, height, width) as input, the same layout as output, clipped
    to 0..255.

    Raises UnknownLayer.
    """
    described = json.loads(model_json.read_text())
    weights = read_weights(model_json.parent, described["weightsManifest"])
    config = described["modelTopology"]["model_config"]["config"]
    ((source, *_),) = config["input_layers"]
    ((last, *_),) = config["output_layers"]
    nodes = [node for layer in config["layers"] for node in _nodes(layer)]
    nodes.append(helper.make_node("Clip", [last, "lowest", "highest"], ["output"], "clip"))
    constants = weights | {"lowest": np.float32(0), "highest": np.float32(255)}
    graph = helper.make_graph(
        nodes,
        "super_resolution",
        [_picture(source, "height", "width")],
        [_picture("output", "output_height", "output_width")],
        [numpy_helper.from_array(_as_onnx(one), name) for name, one in sorted(constants.items())]
        + [
            numpy_helper.from_array(_scales(layer), f"{layer['name']}/scales")
            for layer in config["layers"]
            if layer["class_name"] == "UpSampling2D"
        ],
    )
    return helper.make_model(
        graph,
        producer_name="retouch",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )


def read_weights(folder: Path, manifest: Sequence[Mapping[str, Any]]) -> Weights:
    """Every weight by its name, in the layout of Keras."""
    found: Weights = {}
    for group in manifest:
        data = b"".join((folder / path).read_bytes() for path in group["paths"])
        at = 0
        for weight in group["weights"]:
            if weight["dtype"] != "float32" or "quantization" in weight:
                raise UnknownLayer(f"{weight['name']} is not plain float32")
            count = int(np.prod(weight["shape"]))
            flat = np.frombuffer(data, "<f4", count, at)
            found[weight["name"]] = flat.reshape(weight["shape"])
            at += flat.nbytes
    return found


def _picture(name: str, height: str, width: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, height, width])


def _as_onnx(weight: Any) -> Any:
    """Kernels go from (height, width, in, out) to (out, in, height, width)."""
    return np.ascontiguousarray(weight.transpose(3, 2, 0, 1)) if weight.ndim == 4 else weight


def _scales(layer: Layer) -> Any:
    return np.array([1, 1, *layer["config"]["size"]], dtype=np.float32)


def _nodes(layer: Layer) -> list[NodeProto]:
    try:
        rule = _RULES[layer["class_name"]]
    except KeyError as error:
        raise UnknownLayer(layer["class_name"]) from error
    inputs = [name for node in layer["inbound_nodes"] for name, *_ in node]
    return rule(layer["name"], inputs, layer["config"])


def _convolution(name: str, inputs: list[str], config: Mapping[str, Any]) -> list[NodeProto]:
    plain = {"strides": [1, 1], "activation": "linear", "use_bias": True, "dilation_rate": [1, 1]}
    _demand(name, config, plain)
    high, wide = config["kernel_size"]
    pad = [high // 2, wide // 2] * 2 if config["padding"] == "same" else [0] * 4
    parts = [*inputs, f"{name}/kernel", f"{name}/bias"]
    return [helper.make_node("Conv", parts, [name], name, kernel_shape=[high, wide], pads=pad)]


def _activation(name: str, inputs: list[str], config: Mapping[str, Any]) -> list[NodeProto]:
    _demand(name, config, {"activation": "relu"})
    return [helper.make_node("Relu", inputs, [name], name)]


def _concatenation(name: str, inputs: list[str], config: Mapping[str, Any]) -> list[NodeProto]:
    _demand(name, config, {"axis": 3})
    return [helper.make_node("Concat", inputs, [name], name, axis=1)]


def _sum(name: str, inputs: list[str], config: Mapping[str, Any]) -> list[NodeProto]:
    del config
    return [helper.make_node("Add", inputs, [name], name)]


def _enlargement(name: str, inputs: list[str], config: Mapping[str, Any]) -> list[NodeProto]:
    _demand(name, config, {"interpolation": "nearest"})
    parts = [*inputs, "", f"{name}/scales"]
    how = {"mode": "nearest", "nearest_mode": "floor"}
    where = {"coordinate_transformation_mode": "asymmetric"}
    return [helper.make_node("Resize", parts, [name], name, **how, **where)]


def _nothing(name: str, inputs: list[str], config: Mapping[str, Any]) -> list[NodeProto]:
    del name, inputs, config
    return []


def _demand(name: str, config: Mapping[str, Any], wanted: Mapping[str, object]) -> None:
    for option, value in wanted.items():
        if config.get(option) != value:
            raise UnknownLayer(f"{name}: {option}={config.get(option)!r}")


_RULES: dict[str, Callable[[str, list[str], Mapping[str, Any]], list[NodeProto]]] = {
    "InputLayer": _nothing,
    "Conv2D": _convolution,
    "Activation": _activation,
    "Concatenate": _concatenation,
    "Add": _sum,
    "UpSampling2D": _enlargement,
}
