"""Convert a GGUF model to a Hugging Face safetensors folder: ``python -m infra.local.convert_model GGUF FOLDER``."""

import sys
from pathlib import Path


def convert(gguf: Path, folder: Path) -> None:
    """Write the model, its tokenizer and its chat template to ``folder``; the weights are dequantised to bfloat16, in
    which the model was published.

    Raises:
        ValueError: the file carries no chat template.
    """
    import torch  # noqa: PLC0415 - heavy, and only this program needs it
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if not tokenizer.chat_template:
        msg = f"{gguf.name} carries no chat template"
        raise ValueError(msg)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    # The tokenizer's own limit is not in the file.
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    """Convert what the command line names."""
    gguf, folder = sys.argv[1:]
    convert(Path(gguf), Path(folder))


if __name__ == "__main__":
    main()
