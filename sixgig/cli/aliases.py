"""What other programs call our options and verbs, for who types those."""

from __future__ import annotations

from collections.abc import Collection

_NAMES = {
    "--adapter": ("--lora",),
    "--batch": ("--batch-size", "--tokens-per-batch", "-b"),
    "--context": (
        *("--ctx", "--ctx-size", "--n-ctx", "--num-ctx", "--context-length", "--context-size", "-c"),
        *("--max-seq-length", "--max-length", "--max-model-len"),
    ),
    "--epochs": ("--num-epochs", "--num-train-epochs"),
    "--held-out": ("--eval", "--validation", "--test", "--eval-data"),
    "--learning-rate": ("--lr",),
    "--max-tokens": ("--n-predict", "--predict", "--num-predict", "--max-new-tokens"),
    "--output": ("--out", "--out-dir", "--output-dir", "--outfile"),
    "--parallel": ("--n-parallel", "--np", "--max-num-seqs"),
    "--prompt": ("--message", "--ask", "--query", "--question"),
    "--ram": ("--memory", "--mem", "--max-memory"),
    "--rank": ("--lora-rank", "--lora-r", "-r"),
    "--alpha": ("--lora-alpha",),
    "--steps": ("--max-steps", "--iters", "--num-steps"),
    "--temperature": ("--temp",),
    "--threads": ("--n-threads", "-t"),
    "--ubatch": ("--ubatch-size", "--n-ubatch", "--batch-size", "-b"),
    "--vram": ("--gpu", "--gpu-layers", "--n-gpu-layers", "--ngl", "--gpu-memory"),
}
_SYSTEM = "there is no option for a system prompt yet: write it at the beginning of the question"
_SAMPLING = "of sampling there is --temperature, and what the model file asks for"
_ABSENT = {  # of `run`
    **dict.fromkeys(("--system", "--system-prompt", "--sys"), _SYSTEM),
    **dict.fromkeys(("--top-k", "--top-p", "--min-p", "--repeat-penalty"), _SAMPLING),
    **dict.fromkeys(("--file", "--prompt-file", "-f"), "read the question from a file with -p - < FILE"),
}
_VERBS = {
    "run": ("chat", "generate", "infer", "complete", "ask"),
    "tune": ("train", "finetune", "fine-tune", "lora"),
    "shrink": ("quantize", "quantise", "prune", "compress", "convert"),
    "score": ("eval", "evaluate", "perplexity", "ppl"),
    "bench": ("benchmark", "speed"),
    "plan": ("fit", "estimate", "info", "show"),
}


def meant_option(typed: str, options: Collection[str]) -> str:
    """What to say to who typed an option that is none of `options`, a verb's; "" where nothing is known."""
    typed = typed.replace("_", "-")
    named = [own for own, others in _NAMES.items() if own in options and typed in (own, *others)]
    if named or typed in options:
        return f"did you mean {(*named, typed)[0]}?"
    if typed in ("--model", "-m"):
        return "name the model without an option"
    return _ABSENT.get(typed, "") if "--temperature" in options else ""


def meant_verb(typed: str) -> str:
    """What to say to who typed a verb that is none; "" where nothing is known."""
    named = [own for own, others in _VERBS.items() if typed in others]
    return f"did you mean sixgig {named[0]}?" if named else ""
