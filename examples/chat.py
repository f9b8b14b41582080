"""Chat with a model through its own template; what it thinks first is kept apart.

    python examples/chat.py model.gguf
    echo "Why is it dark at night?" | python examples/chat.py model.gguf

Without a model a small demo answers, which cannot chat: it goes on with something like a PEP.
"""

import argparse
import sys

import sixgig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", help="a GGUF file or hf:OWNER/REPO:QUANT; by default a small demo")
parser.add_argument("--max-tokens", type=int, default=64)
options = parser.parse_args()

with sixgig.load(options.model) as model:
    messages = [{"role": "system", "content": "You answer in one sentence."}]
    for line in sys.stdin if not sys.stdin.isatty() else iter(lambda: input("> "), ""):
        messages.append({"role": "user", "content": line.strip()})
        # The whole chat each time; what the last call evaluated is not evaluated again.
        answer = model.chat(messages, max_tokens=options.max_tokens)
        for piece in answer:
            print(piece, end="", flush=True)
        print(f"\n[{answer.result.prefill_tokens} of {answer.result.prompt_tokens} prompt tokens evaluated]")
        messages.append({"role": "assistant", "content": answer.result.text})
