"""The demo's tokenizer: byte-level BPE behind the split of GPT-4o.

llama.cpp knows this split by the name "gpt-4o", and Phi-4-mini uses it too. The
merges are learnt with digits kept apart, so every digit stays one token, and
with 's kept apart, so a name is written with the same tokens before it.
"""

import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from data import FOODS, JOBS, NAMES, PET_NAMES, make_chat

VOCAB_SIZE = 1216
SPECIAL = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]

O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}",
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
    r"\s*[\r\n]+",
    r"\s+(?!\S)",
    r"\s+",
])

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def split_words(*more):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(O200K), "isolated"),
        *more,
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def learn_merges(chats, seed):
    """Vocabulary and merges, as tokenizers writes them."""
    rng = random.Random(seed)
    texts = [turn.text for _ in range(chats) for turn in make_chat(rng)]
    # Words that answers copy get a token each, at a start (no space) and elsewhere.
    texts += (NAMES + [" " + word for word in NAMES + FOODS + JOBS + PET_NAMES]) * (chats // 50)
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = split_words(
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split("'s", "isolated")
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(texts, trainer)
    return json.loads(tok.to_str())["model"]


def make_tokenizer(chats=20000, seed=11):
    learnt = learn_merges(chats, seed)
    merges = [tuple(pair) for pair in learnt["merges"]]
    tok = Tokenizer(models.BPE(vocab=learnt["vocab"], merges=merges))
    tok.pre_tokenizer = split_words()
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    check(tok, merges)
    return tok


def check(tok, merges):
    assert tok.get_vocab_size() == VOCAB_SIZE
    for pair in merges:
        joined = "".join(pair)
        assert not any(c.isdigit() for c in joined), joined
        text = tok.decoder.decode([joined])
        assert tok.encode(text).tokens == [joined], joined  # no merge crosses the split
    for letter in "abcdefghijklmnopqrstuvwxyz":
        assert tok.encode(" " + letter).tokens == ["\u0120" + letter], letter


def tokenizer_config(tok, context):
    added = {
        str(tok.token_to_id(t)): {
            "content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True,
        }
        for t in SPECIAL
    }
    return {
        "add_bos_token": False,
        "add_eos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "bos_token": "<|endoftext|>",
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "model_max_length": context,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
    }


def save_tokenizer(tok, folder, context):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    config = json.dumps(tokenizer_config(tok, context), indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(config + "\n")
