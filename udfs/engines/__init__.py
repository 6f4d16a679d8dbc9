"""LLM engines: one protocol, made inside a worker from a small spec and kept for as long as the worker lives."""

from __future__ import annotations

from importlib import import_module

from udfs.engines.protocol import ChatRequest, ChatResult, Engine, EngineSpec, FatalEngineError, Message

__all__ = ["ChatRequest", "ChatResult", "Engine", "EngineSpec", "FatalEngineError", "Message", "load_engine"]

# Modules are named, not imported: a worker pays only for the client that it uses.
KINDS = {
    "openai": ("udfs.engines.openai_compatible", "OpenAIEngine"),
    "openai-batch": ("udfs.engines.openai_batch", "OpenAIBatchEngine"),
    "transformers": ("udfs.engines.transformers_engine", "TransformersEngine"),
    "vllm": ("udfs.engines.vllm_engine", "VllmEngine"),
}

_engines: dict[EngineSpec, Engine] = {}


def load_engine(spec: EngineSpec) -> Engine:
    """Gives the process's engine for `spec`, made on the first call and shared by later ones.

    The others free their models: two do not fit into one GPU. Raises FatalEngineError for an unknown kind, a refused address, or a missing key or package.
    """
    for known, other in _engines.items():
        if known != spec:
            other.close()
    if spec not in _engines:
        _engines[spec] = _make(spec)
    return _engines[spec]


def _make(spec: EngineSpec) -> Engine:
    if spec.kind not in KINDS:
        raise FatalEngineError(f"there is no engine {spec.kind!r}; use one of: {', '.join(sorted(KINDS))}")
    module, name = KINDS[spec.kind]
    engine: Engine = getattr(import_module(module), name)(spec)
    return engine
