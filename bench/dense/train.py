"""Train the dense model that structured pruning is measured on.

    python -m bench.dense.train TRAIN.txt TOKENIZER_FOLDER OUT [--steps N]

A Llama of 10M parameters: 8 layers, hidden 256, 16 query and 8 KV heads of 32, FFN 768, the tokenizer of the
mixture-of-experts model trained on the same text. AdamW (0.9, 0.95), weight decay 0.1, 8 x 512 tokens a step,
warm-up, then cosine to a tenth, fp32. Documents are packed end to end. Writes a Hugging Face folder in bf16.
Needs torch, transformers and tokenizers, which the package does not.
"""

import argparse
import math
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

CONTEXT, BATCH, PEAK_RATE, WARM_UP, SEED = 512, 8, 2e-3, 40, 1
SEPARATOR = "<|endoftext|>"


def configuration(vocabulary: int, end: int) -> LlamaConfig:
    """The model's shape: 8 KV groups of two query heads, so that pruning whole groups means something."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=32,
        max_position_embeddings=2048,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end,
    )


def token_stream(text: Path, tokenizer: AutoTokenizer) -> torch.Tensor:
    """Every document's tokens, the separator's between them, int64 [tokens]."""
    end = tokenizer.convert_tokens_to_ids(SEPARATOR)
    ids: list[int] = []
    for document in text.read_text(encoding="utf-8").split(SEPARATOR):
        ids.extend([*tokenizer(document, add_special_tokens=False)["input_ids"], end])
    return torch.from_numpy(np.array(ids, np.int64))


def rate(step: int, steps: int) -> float:
    """Warm-up, then cosine down to a tenth of the peak."""
    if step < WARM_UP:
        return PEAK_RATE * (step + 1) / WARM_UP
    done = (step - WARM_UP) / max(1, steps - WARM_UP)
    return PEAK_RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def train(model: LlamaForCausalLM, stream: torch.Tensor, steps: int) -> None:
    """`steps` steps over shuffled windows, each window once an epoch; prints the loss as it goes."""
    windows = stream[: len(stream) // CONTEXT * CONTEXT].view(-1, CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    order = torch.cat([torch.randperm(len(windows)) for _ in range(math.ceil(steps * BATCH / len(windows)))])
    began, smooth = time.monotonic(), math.nan
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        batch = windows[order[step * BATCH : (step + 1) * BATCH]]
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
        if step % 10 == 0 or step == steps - 1:
            seconds = time.monotonic() - began
            print(f"step {step:5d}/{steps}  loss {smooth:.4f}  {seconds:.0f} s", flush=True)


def save(model: LlamaForCausalLM, tokenizer_folder: Path, out: Path) -> None:
    """The Hugging Face folder: bf16 weights, config, the tokenizer's files."""
    model.to(torch.bfloat16).save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (tokenizer_folder / name).exists():
            shutil.copy(tokenizer_folder / name, out / name)


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description="Train a small dense Llama.")
    parser.add_argument("text", type=Path, help="documents separated by <|endoftext|>")
    parser.add_argument("tokenizer", type=Path, help="a folder with tokenizer.json")
    parser.add_argument("out", type=Path, help="the Hugging Face folder to write")
    parser.add_argument("--steps", type=int, default=1000, help="of 4,096 tokens each")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    given = parser.parse_args()
    torch.manual_seed(SEED)
    torch.set_num_threads(given.threads)
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer)
    end = tokenizer.convert_tokens_to_ids(SEPARATOR)
    model = LlamaForCausalLM(configuration(len(tokenizer), end))
    print(f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f}M parameters", flush=True)
    train(model, token_stream(given.text, tokenizer), given.steps)
    save(model, given.tokenizer, given.out)


if __name__ == "__main__":
    main()
