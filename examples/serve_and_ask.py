"""Serve models to programs that speak OpenAI's API, and ask as one of them would.

python examples/serve_and_ask.py model.gguf --ram-gib 6
"""

import argparse

import httpx

import sixgig

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "models", nargs="*", help="files, folders or hf:OWNER/REPO:QUANT; by default a small demo"
)
parser.add_argument(
    "--ram-gib", type=float, help="for the server and all its models; by default what is free"
)
parser.add_argument("--ask", default="What is a PEP?")
options = parser.parse_args()

ram = None if options.ram_gib is None else int(options.ram_gib * 2**30)
with sixgig.serve(options.models, ram=ram, port=0) as server:  # port 0: any that is free
    print(f"{', '.join(server.models)} at {server.url}")
    question = {
        "model": server.models[0],
        "messages": [{"role": "user", "content": options.ask}],
        "max_tokens": 32,
    }
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=question, timeout=300).json()
    print(answer["choices"][0]["message"]["content"])
