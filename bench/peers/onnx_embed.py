"""Runs an exported model on one thread: for each line on stdin, the batches of FOLDER/inputs.npz become FOLDER/vectors.npy, and `ok` is said."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

Inputs = Mapping[str, np.ndarray]
NAMES = ("input_ids", "attention_mask", "token_type_ids")


def onnxruntime(model: str) -> Callable[[Inputs], np.ndarray]:
    """ONNX Runtime with all of its graph optimisations."""
    import onnxruntime as ort  # type: ignore[import-not-found]

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(None, dict(inputs))[0])


def onnxruntime_int8(model: str) -> Callable[[Inputs], np.ndarray]:
    """The same with weights in int8, their inputs quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-not-found]

    small = model.replace(".onnx", "-int8.onnx")
    quantize_dynamic(model, small, weight_type=QuantType.QInt8)
    return onnxruntime(small)


def openvino(model: str, precision: str = "f32") -> Callable[[Inputs], np.ndarray]:
    """OpenVINO, products of the precision that is named."""
    import openvino as ov  # type: ignore[import-not-found]

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
    compiled: Any = ov.Core().compile_model(model, "CPU", settings)
    return lambda inputs: np.asarray(compiled(dict(inputs))[0])


KINDS: Mapping[str, Callable[[str], Callable[[Inputs], np.ndarray]]] = {
    "onnxruntime": onnxruntime,
    "onnxruntime-int8": onnxruntime_int8,
    "openvino": openvino,
    "openvino-bf16": lambda model: openvino(model, "bf16"),
}


def main() -> None:
    """Answers until stdin ends."""
    kind, model, place = sys.argv[1:]
    folder = Path(place)
    run = KINDS[kind](model)
    for line in sys.stdin:
        if line == "run\n":
            held = np.load(folder / "inputs.npz")
            count = 1 + max(int(name.rpartition("-")[2]) for name in held.files)
            made = [run({name: held[f"{name}-{n}"] for name in NAMES}) for n in range(count)]
            np.save(folder / "vectors.npy", np.concatenate(made).astype(np.float32))
        sys.stdout.write("ok\n")
        sys.stdout.flush()


main()
