"""Asks through LiteLLM, whose own Python runs this: one line of JSON, for each case [what came, its words].

ask_litellm.py '[[MODEL, API_BASE, WORDS, STREAM], ...]'
"""

import json
import sys

import litellm

litellm.suppress_debug_info = True


def outcome(model: str, api_base: str, n_words: int, stream: bool) -> list[str]:
    """The name of the exception and its message, or "answered" and the answer."""
    try:
        answer = litellm.completion(
            model=model,
            api_base=api_base,
            api_key="none",
            messages=[{"role": "user", "content": "word " * n_words}],
            max_tokens=2,
            stream=stream,
            num_retries=0,
            max_retries=0,
        )
        return ["answered", str(list(answer) if stream else answer)]
    except Exception as error:
        return [type(error).__name__, str(error)]


print("\n" + json.dumps([outcome(*case) for case in json.loads(sys.argv[1])]))
