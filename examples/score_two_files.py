"""How far one file of a model strays from another on a text: perplexity of both, and the divergence.

    python examples/score_two_files.py small-Q4_K_M.gguf large-BF16.gguf --text book.txt

Without files the demo model is held against itself: the divergence is 0 then.
"""

import argparse
import tempfile
from pathlib import Path
from pydoc_data.topics import topics  # a text that every Python brings

import sixgig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", help="the file to judge")
parser.add_argument("reference", nargs="?", help="the file it was made of")
parser.add_argument("--text", type=Path, help="by default some of Python's manual")
parser.add_argument("--windows", type=int, default=2, help="of 512 tokens; more tell more, and take longer")
options = parser.parse_args()

with tempfile.TemporaryDirectory() as folder:
    text = options.text
    if text is None:
        text = Path(folder) / "manual.txt"
        text.write_text("\n\n".join(topics.values()), encoding="utf-8")
    kept = Path(folder) / "reference.logits"
    reference = sixgig.score(options.reference, text=text, windows=options.windows, save_reference=kept)
    print(f"perplexity of the reference: {reference.perplexity:.3f}")
    result = sixgig.score(options.model, text=text, windows=options.windows, reference=kept)
    print(f"perplexity of the model:     {result.perplexity:.3f}")
    print(f"divergence (KL): {result.divergence.kld_mean:z.5f} nats a token")
