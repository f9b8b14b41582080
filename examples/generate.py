"""Continue a text within a memory budget, piece by piece, and say what it took.

python examples/generate.py
python examples/generate.py model.gguf --ram-gib 6 --prompt "The interpreter"
"""

import argparse

import sixgig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", help="a GGUF file or hf:OWNER/REPO:QUANT; by default a small demo")
parser.add_argument("--prompt", default="PEP: 9999\nTitle: ")
parser.add_argument("--ram-gib", type=float, help="for the whole process; by default what is free")
parser.add_argument("--max-tokens", type=int, default=64)
options = parser.parse_args()

ram = None if options.ram_gib is None else int(options.ram_gib * 2**30)
with sixgig.load(options.model, ram=ram) as model:
    print(options.prompt, end="")
    pieces = model.generate(options.prompt, max_tokens=options.max_tokens, temperature=0)
    for piece in pieces:
        print(piece, end="", flush=True)

    stats, plan = model.stats, model.plan
    print(
        f"\n\n{pieces.result.decode_tokens_per_s:.1f} tokens/s, loaded in {stats.load_s:.1f} s, {plan.mode}"
    )
    peak, budget = stats.peak_memory_bytes / 2**20, plan.ram_budget_bytes / 2**20
    print(f"peak memory {peak:.0f} MiB of {budget:.0f} MiB allowed")
    if stats.hit_rate is not None:
        print(f"{stats.hit_rate:.1%} of experts were found in memory, {stats.bytes_read / 1e9:.2f} GB read")
