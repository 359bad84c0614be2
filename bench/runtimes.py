"""Other runtimes' int8 and bf16 behind our heads: what our own kernels are measured beside.

Each is given texts of one length at a time, so that it computes no padding either. Converted
models are kept under the state directory.
"""

# These runtimes are untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.checkpoints import cache, is_random
from bench.texts import sample_texts
from embedder.encoders.encoder import Encoder, Pause
from embedder.encoders.headed import HeadedEncoder
from embedder.encoders.transfer import Bus
from embedder.model.checkpoint import Checkpoint, open_checkpoint
from m3.settings import Precision
from m3.types import I64

_CALIBRATION_TEXTS = 128
_CALIBRATION_OF_RANDOM = 4
"""Scales of random weights say nothing, and how long a product takes does not depend on them."""
_OPSET = 17


class MissingRuntime(Exception):
    """It is not installed; the message says what to install."""


def openvino_bf16(folder: Path, threads: int) -> Encoder:
    return _openvino(open_checkpoint(folder), "bf16", threads, _converted)


def openvino_int8(folder: Path, threads: int) -> Encoder:
    """NNCF's post-training quantisation for transformers, calibrated on the sample."""
    return _openvino(open_checkpoint(folder), "int8", threads, _quantised)


def onnx_int8(folder: Path, threads: int) -> Encoder:
    """ONNX Runtime's optimised graph, its weights in int8 by channel, activations on the fly."""
    _need("onnx")
    runtime = _need("onnxruntime")
    checkpoint = open_checkpoint(folder)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = runtime.InferenceSession(
        str(_onnx_quantised(checkpoint)), options, providers=["CPUExecutionProvider"]
    )
    engine = f"ONNX Runtime {version('onnxruntime')} dynamic int8"
    states = _ByLength(engine, lambda ids: session.run(None, {"input_ids": ids})[0])
    return _encoder(checkpoint, states, "int8")


RUNTIMES: dict[str, Callable[[Path, int], Encoder]] = {
    "OpenVINO bf16": openvino_bf16,
    "OpenVINO NNCF int8": openvino_int8,
    "ONNX Runtime dynamic int8": onnx_int8,
}


class _ByLength:
    """Hidden states from a function of [n, length] ids, as `embedder.encoders.headed.States`."""

    def __init__(self, engine: str, run: Callable[[I64], np.ndarray[Any, Any]]) -> None:
        self.engine = engine
        self._run = run

    def padding(self, token_ids: Sequence[Sequence[int]]) -> int:  # noqa: ARG002
        """See `States`."""
        return 0

    def __call__(
        self,
        token_ids: Sequence[Sequence[int]],
        pause: Pause | None = None,  # noqa: ARG002
    ) -> Tensor:
        """See `States`. There is no moment between layers to pause at."""
        by_length: dict[int, list[int]] = {}
        for i, ids in enumerate(token_ids):
            by_length.setdefault(len(ids), []).append(i)
        found: dict[int, Tensor] = {}
        for texts in by_length.values():
            states = self._run(np.array([token_ids[i] for i in texts], np.int64))
            found |= dict(zip(texts, torch.from_numpy(states), strict=True))
        return torch.cat([found[i] for i in range(len(token_ids))])


def _encoder(checkpoint: Checkpoint, states: _ByLength, precision: Precision) -> Encoder:
    return HeadedEncoder(checkpoint, states, Bus(torch.device("cpu")), precision=precision)


def _openvino(
    checkpoint: Checkpoint,
    precision: Precision,
    threads: int,
    convert: Callable[[Any, Checkpoint], Any],
) -> Encoder:
    openvino = _need("openvino")
    file = _file(checkpoint, f"openvino-{precision}.xml")
    if not file.exists():
        openvino.save_model(convert(openvino, checkpoint), file, compress_to_fp16=False)
    compiled = openvino.Core().compile_model(
        file,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    kind = "NNCF int8, the rest bf16" if precision == "int8" else "bf16"
    engine = f"OpenVINO {version('openvino')} {kind}"
    states = _ByLength(engine, lambda ids: np.array(compiled(ids)[0], np.float32))
    return _encoder(checkpoint, states, precision)


def _converted(openvino: Any, checkpoint: Checkpoint) -> Any:
    model, example = _traceable(checkpoint)
    with torch.inference_mode():
        return openvino.convert_model(model, example_input=example)


def _quantised(openvino: Any, checkpoint: Checkpoint) -> Any:
    nncf = _need("nncf")
    count = _CALIBRATION_OF_RANDOM if is_random(checkpoint.path) else _CALIBRATION_TEXTS
    texts = sample_texts("corpus.jsonl")[:count]
    ids = [np.array([text.ids], np.int64) for text in checkpoint.tokenizer.tokenize(texts, 512)]
    return nncf.quantize(
        _converted(openvino, checkpoint),
        nncf.Dataset(ids),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(ids),
    )


def _onnx_quantised(checkpoint: Checkpoint) -> Path:
    quantised = _file(checkpoint, "onnx-int8.onnx")
    if quantised.exists():
        return quantised
    onnx = _need("onnx")
    optimizer = _need("onnxruntime.transformers.optimizer")
    quantization = _need("onnxruntime.quantization")
    exported, optimised = (_file(checkpoint, f"onnx-{name}.onnx") for name in ("fp32", "fused"))
    model, example = _traceable(checkpoint)
    axes = {0: "texts", 1: "tokens"}
    torch.onnx.export(
        model,
        (example,),
        str(exported),  # which it must be for what is over 2 GiB to go to a file of its own
        input_names=["input_ids"],
        output_names=["states"],
        dynamic_axes={"input_ids": axes, "states": axes},
        opset_version=_OPSET,
        dynamo=False,
    )
    architecture = checkpoint.architecture
    optimizer.optimize_model(
        str(exported),
        model_type="bert",
        num_heads=architecture.num_attention_heads,
        hidden_size=architecture.hidden_size,
        opt_level=0,
    ).save_model_to_file(str(optimised), use_external_data_format=True)
    quantization.quantize_dynamic(
        optimised,
        quantised,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        use_external_data_format=True,
        # Operators of ONNX Runtime's own leave their outputs untyped.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
    )
    return quantised


def _traceable(checkpoint: Checkpoint) -> tuple[torch.nn.Module, Tensor]:
    """The encoder as a function of ids alone, and ids to trace it with."""
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(checkpoint.path, attn_implementation="sdpa").eval()

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor) -> Tensor:
            mask = torch.ones_like(input_ids)
            return self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state

    return States(), torch.randint(5, 1000, (2, 16))


def _file(checkpoint: Checkpoint, name: str) -> Path:
    folder = cache() / f"runtimes-{checkpoint.fingerprint[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingRuntime(f"{package} is not installed: pip install {package}") from error
