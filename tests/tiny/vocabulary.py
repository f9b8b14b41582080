"""A byte-level BPE vocabulary of a few hundred tokens: every text encodes, some words merge."""

from gguf import GGUFWriter, TokenType

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_MERGES = ("t h", "th e", "Ġ the", "i n", "a n", "an d", "Ġ and", "e r", "o n", "Ġ a", "r e", "in g")


def byte_letters() -> list[str]:
    """The printable letter that stands for each byte 0..255 in GPT-2's byte-level BPE."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    letters = {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]


def tokens(at_least: int = 0) -> list[str]:
    """All tokens by id: special ones, bytes, merged pieces, and words that nothing merges to."""
    found = [*SPECIAL, *byte_letters(), *(merge.replace(" ", "") for merge in _MERGES)]
    return [*found, *(f"word{number}" for number in range(len(found), at_least))]


def add_vocabulary(writer: GGUFWriter, n_vocab: int = 0) -> None:
    """Writes the tokenizer and a ChatML template into the model's metadata."""
    words = tokens(n_vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([TokenType.CONTROL if word in SPECIAL else TokenType.NORMAL for word in words])
    writer.add_token_merges(list(_MERGES))
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
