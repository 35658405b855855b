"""Check that a checkpoint folder is what transformers and tokenizers expect."""

import json
import random
import sys
import warnings
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, logging

from data import make_chat, messages

FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def main(folder):
    warnings.simplefilter("error")
    logging.set_verbosity_error()  # some chats below are longer than the context
    folder = Path(folder)
    assert all((folder / f).exists() for f in FILES)
    assert sum(f.stat().st_size for f in folder.iterdir()) < 16e6
    assert "chat_template" in json.loads((folder / "tokenizer_config.json").read_text())

    fast, raw = AutoTokenizer.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    rng = random.Random(3)
    texts = ["naïve café 1234567 x²  tabs\t\tand\n\n\nlines  ", "47+38=85, isn't IT? \U0001f642 日本語"]
    for _ in range(500):
        chat = messages(make_chat(rng))
        texts.append(fast.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))
    for text in texts:
        ids = raw.encode(text).ids
        assert fast(text)["input_ids"] == ids, text
        assert raw.decode(ids, skip_special_tokens=False) == text, text

    logging.set_verbosity_warning()
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    config = model.config
    assert type(model).__name__ == "Phi3ForCausalLM" and model.dtype == torch.bfloat16
    assert config.vocab_size == len(fast) and all(p.isfinite().all() for p in model.parameters())
    print("ok:", sum(p.numel() for p in model.parameters()), "parameters,", len(texts), "texts")


if __name__ == "__main__":
    main(sys.argv[1])
