"""Which of some models fits a machine, and how fast it would be: by their headers, before any download.

python examples/plan_models.py hf:OWNER/REPO ~/models --ram-gib 20
python examples/plan_models.py hf:OWNER/REPO --machine gtx-1060-6g-24g
"""

import argparse

import sixgig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("models", nargs="*", default=[None], help="files, folders or repositories")
parser.add_argument("--ram-gib", type=float, help="by default what the machine has free")
parser.add_argument(
    "--machine", default="cpu-box-2c-24g", help="a profile, a file of sixgig doctor, or: here"
)
options = parser.parse_args()

machine = (
    None if options.machine == "here" else options.machine
)  # measuring this one takes some seconds, once
ram = None if options.ram_gib is None else int(options.ram_gib * 2**30)
for name in options.models:
    try:
        result = sixgig.plan(name, ram=ram, machine=machine)
    except sixgig.BudgetError as error:  # its words name the smallest budget that works
        print(f"{name}: {error}")
        continue
    best = result.recommended
    print(f"{result.name}: {best.decode_tokens_per_s:.1f} tokens/s, of {len(result.candidates)} that fit")
