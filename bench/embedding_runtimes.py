"""The bundled model through ONNX Runtime and OpenVINO: exported once, then run in environments of their own, on the token ids that boostqa makes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from common import ROOT
from environments import FOLDER, NotInstalledError, python_of
from numpy.typing import NDArray

from udfs.embedding_model import EmbedSettings, load_model

PEERS = ROOT / "bench" / "peers"
EXPORT = ("onnx==1.23.2", "onnxscript==0.7.2")
ONNX = ("onnxruntime==1.31.1", "onnx==1.23.2", "numpy==2.4.6")
OPENVINO = ("openvino==2026.4.1", "numpy==2.4.6")


@dataclass(frozen=True)
class Runtime:
    """A runtime, and how it is told to compute: `kind` is what bench/peers/onnx_embed.py knows it by."""

    name: str
    kind: str
    environment: str
    packages: tuple[str, ...]
    started: ClassVar[list[subprocess.Popen[bytes]]] = []

    def start(self) -> Callable[[list[str]], NDArray[np.float32]]:
        """Starts the runtime in its environment; returns the function from texts to vectors. Raises OSError, with the reason, where that fails."""
        try:
            python = python_of(self.environment, self.packages)
        except NotInstalledError as error:
            raise OSError(str(error)) from error
        folder = exported()
        words = folder / f"{self.kind}.log"
        command = [str(python), str(PEERS / "onnx_embed.py"), self.kind, str(folder / "model.onnx"), str(folder)]
        with words.open("wb") as log:
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        Runtime.started.append(child)
        self._ask(child, b"ready\n", words)

        def embed(texts: list[str]) -> NDArray[np.float32]:
            return self._embed(child, folder, words, texts)

        return embed

    def _embed(
        self, child: subprocess.Popen[bytes], folder: Path, words: Path, texts: list[str]
    ) -> NDArray[np.float32]:
        model = load_model(EmbedSettings(device="cpu"))
        assert model.form is not None
        ids = [one[: int(model.window)] for one in model.tokens(texts)]
        order = np.argsort([-one.size for one in ids], kind="stable")
        batches = [order[cut] for cut in model.batches(np.array([ids[i].size for i in order], dtype=np.int64))]
        inputs = {
            f"{name}-{n}": value
            for n, batch in enumerate(batches)
            for name, value in model.form.inputs([ids[i] for i in batch]).items()
        }
        np.savez(folder / "inputs.npz", **inputs)
        self._ask(child, b"run\n", words)
        made = np.zeros((len(texts), model.dim), dtype=np.float32)
        made[np.concatenate(batches)] = np.load(folder / "vectors.npy")
        return made

    def _ask(self, child: subprocess.Popen[bytes], line: bytes, words: Path) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(line)
        child.stdin.flush()
        if child.stdout.readline() != b"ok\n":
            child.wait()
            raise OSError(f"{self.name}: {' '.join(words.read_text('utf-8', 'replace').split())[-250:]}")

    @staticmethod
    def stop_all() -> None:
        """Ends what was started."""
        for child in Runtime.started:
            if child.stdin is not None:
                child.stdin.close()
            child.wait()
        Runtime.started.clear()


def exported() -> Path:
    """The folder with the exported model, made once. Raises OSError, with the reason, where that fails."""
    folder = Path(tempfile.gettempdir()) / "boostqa-bench-onnx"
    folder.mkdir(exist_ok=True)
    if not (folder / "model.onnx").exists():
        try:
            python_of("onnx-export", EXPORT)
        except NotInstalledError as error:
            raise OSError(str(error)) from error
        (packages,) = (FOLDER / "onnx-export").glob("lib/*/site-packages")
        command = [sys.executable, str(PEERS / "onnx_export.py"), str(packages), str(folder / "model.onnx")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise OSError(f"the export failed: {' '.join(done.stderr.split())[-250:]}")
    return folder


RUNTIMES = [
    Runtime("ONNX Runtime, float32", "onnxruntime", "onnxruntime", ONNX),
    Runtime("ONNX Runtime, int8", "onnxruntime-int8", "onnxruntime", ONNX),
    Runtime("OpenVINO, float32", "openvino", "openvino", OPENVINO),
    Runtime("OpenVINO, bfloat16", "openvino-bf16", "openvino", OPENVINO),
]
