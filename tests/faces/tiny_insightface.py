"""A model pack of insightface small enough for tests: constant answers, given only where a corner is red."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from lssl_augment.faces.align import template68

__all__ = ["BOXES", "PHOTO_PX", "photo", "points_in", "write_pack"]

PHOTO_PX = 64
#: What the detector sees, surest first: left, top, right, bottom. The first is the central one, the second the larger.
BOXES = {"central": (24.0, 24.0, 40.0, 40.0), "largest": (34.0, 2.0, 62.0, 30.0)}
_ANCHORS = {"central": (4, 4), "largest": (2, 6)}  # row and column of 8-pixel cells
_SHAPE = template68() / 64 - 1


def photo(width: int = PHOTO_PX, height: int = PHOTO_PX) -> np.ndarray:
    """A photo in which the detector sees both faces: its top left corner is red, the others are blue."""
    image = np.full((height, width, 3), 128, np.uint8)
    side = min(width, height) // 4
    for rows in (slice(None, side), slice(-side, None)):
        for columns in (slice(None, side), slice(-side, None)):
            image[rows, columns] = (0, 0, 255)
    image[:side, :side] = (255, 0, 0)
    return image


def points_in(box: ArrayLike) -> np.ndarray:
    """The 68 points that the pack gives for a box."""
    left, top, right, bottom = np.asarray(box, np.float64)
    return np.array([(left + right) / 2, (top + bottom) / 2]) + _SHAPE * 0.75 * max(right - left, bottom - top)


def write_pack(folder: Path) -> Path:
    """Write ``detector.onnx`` and ``landmarks.onnx``; the outputs have the shapes by which insightface knows them."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_detector(), str(folder / "detector.onnx"))
    onnx.save(_landmarks(), str(folder / "landmarks.onnx"))
    return folder


def _detector() -> onnx.ModelProto:
    cells = [2 * (PHOTO_PX // stride) ** 2 for stride in (8, 16, 32)]
    arrays = [np.zeros((n, width), np.float32) for width in (1, 4, 10) for n in cells]
    for score, (name, (row, column)) in zip((0.9, 0.8), _ANCHORS.items(), strict=True):
        anchor = 2 * (row * (PHOTO_PX // 8) + column)
        arrays[0][anchor] = score
        x, y = 8 * column, 8 * row
        left, top, right, bottom = BOXES[name]
        arrays[3][anchor] = np.array([x - left, y - top, right - x, bottom - y]) / 8
    # Scores count only where the first pixels of the first channel, red, are bright.
    corner = [("from", [0, 0, 0, 0]), ("to", [1, 1, 8, 8])]
    constants = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in corner]
    constants += [numpy_helper.from_array(array, f"c{i}") for i, array in enumerate(arrays)]
    nodes = [
        helper.make_node("Slice", ["input", "from", "to"], ["corner"]),
        helper.make_node("ReduceMean", ["corner"], ["mean"], keepdims=0),
        helper.make_node("Relu", ["mean"], ["bright"]),
        helper.make_node("Ceil", ["bright"], ["gate"]),
    ]
    outputs = []
    for i, array in enumerate(arrays):
        gated = helper.make_node("Mul", [f"c{i}", "gate"], [f"out{i}"], name=f"gate{i}")
        nodes.append(gated if i < 3 else helper.make_node("Identity", [f"c{i}"], [f"out{i}"]))
        outputs.append(helper.make_tensor_value_info(f"out{i}", TensorProto.FLOAT, array.shape))
    return _model(nodes, PHOTO_PX, outputs, constants)


def _landmarks() -> onnx.ModelProto:
    points = np.zeros((1103, 3), np.float32)
    points[-68:, :2] = _SHAPE
    points[-68:, 2] = np.linspace(-0.2, 0.2, 68)
    constants = [numpy_helper.from_array(points.reshape(1, 3309), "points")]
    nodes = [
        helper.make_node("ReduceMin", ["input"], ["least"], keepdims=0),
        helper.make_node("Clip", ["least", "zero", "zero"], ["nothing"]),
        helper.make_node("Add", ["points", "nothing"], ["out"]),
    ]
    constants.append(numpy_helper.from_array(np.array(0, np.float32), "zero"))
    return _model(nodes, 192, [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 3309])], constants)


def _model(
    nodes: list[onnx.NodeProto], size: int, outputs: list[onnx.ValueInfoProto], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, size, size])
    graph = helper.make_graph(nodes, "tiny", [given], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model
