"""Checks GGUF files made by phiquant in llama.cpp: they load, and greedy decoding gives the tokens of transformers.

    python tools/check_gguf.py CHECKPOINT --phiquant target/release/phiquant     (makes F32 and F16 files itself)
    python tools/check_gguf.py CHECKPOINT --gguf FILE …                          (checks files that are there)

Of each file that it makes itself it also checks one that is cut into parts, which llama.cpp opens by the first.

Prompts are given as ids, by the checkpoint's own tokenizer, so that the weights are compared alone; then the chat
template's rendering is tokenized by llama.cpp from the file, and must give those ids. Ends non-zero on a difference.
Needs torch, transformers and llama-cpp-python (used: 2.15.0, 5.23.0, 0.3.36).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp
import torch
import transformers

PROMPTS = [
    "What is INT4?",
    "My name is Ada and I live in Oslo. Where do I live?",
    "What is 17 plus 25?",
    "Sort the letters: d b a c",
    "Tell me about GGUF.",
]


def chat(tokenizer, text):
    messages = [{"role": "user", "content": text}]
    if tokenizer.chat_template:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def expected_tokens(model, ids, count, stop):
    tokens = list(ids)
    for _ in range(count):
        with torch.no_grad():
            logits = model(torch.tensor([tokens])).logits[0, -1]
        tokens.append(int(logits.argmax()))
        if tokens[-1] in stop:
            break
    return tokens[len(ids) :]


def actual_tokens(llama, ids, count, stop):
    llama.reset()
    tokens = []
    for token in llama.generate(list(ids), temp=0.0, repeat_penalty=1.0):
        tokens.append(token)
        if len(tokens) == count or token in stop:
            break
    return tokens


def check(path, cases, count, stop, context):
    """Prints a line per prompt; returns how many differ."""
    llama = llama_cpp.Llama(str(path), n_ctx=context, verbose=False, seed=0)
    differ = 0
    for text, ids, expected in cases:
        tokens = actual_tokens(llama, ids, count, stop)
        by_llama = llama.tokenize(text.encode(), add_bos=False, special=True)
        same = tokens == expected and by_llama == ids
        differ += not same
        print(f"{path.name}: {'same' if same else 'DIFFERENT'}: {len(expected)} tokens after {text!r}")
        if tokens != expected:
            print(f"  transformers {expected}\n  llama.cpp    {tokens}")
        if by_llama != ids:
            print(f"  tokenizer.json {ids}\n  llama.cpp      {by_llama}")
    return differ


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--phiquant", type=Path, help="the binary that makes the files")
    parser.add_argument("--gguf", type=Path, nargs="*", default=[], help="files to check")
    parser.add_argument("--schemes", nargs="*", default=["F32", "F16"], help="what --phiquant makes")
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()

    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32).eval()
    ends = model.generation_config.eos_token_id
    stop = set(ends if isinstance(ends, list) else [ends])
    cases = []
    for prompt in PROMPTS:
        text = chat(tokenizer, prompt)
        ids = tokenizer.encode(text, add_special_tokens=False)
        cases.append((text, ids, expected_tokens(model, ids, arguments.tokens, stop)))

    # llama.cpp chooses LongRoPE's factors by the context that it makes room for, in steps of 256, transformers by the tokens so
    # far: within an original context of 256 tokens or more both take the short ones.
    context = min(512, model.config.original_max_position_embeddings)
    with tempfile.TemporaryDirectory() as temporary:
        files = list(arguments.gguf)
        for scheme in arguments.schemes if arguments.phiquant else []:
            out = Path(temporary) / f"{scheme}.gguf"
            command = [arguments.phiquant, "quantize", arguments.checkpoint, "--format", "gguf", "--scheme", scheme]
            subprocess.run([*command, "--output", out], check=True)
            parts = Path(temporary) / f"{scheme}-parts"
            limit = str(max(1, out.stat().st_size // 3))
            subprocess.run([*command, "--output", parts, "--split-max-size", limit], check=True)
            first, *others = sorted(parts.iterdir())
            assert others, f"{first} is not cut"
            files += [out, first]
        if not files:
            parser.error("say --phiquant or --gguf")
        differ = sum(check(path, cases, arguments.tokens, stop, context) for path in files)
    print(f"{differ} of {len(files) * len(cases)} prompts differ")
    sys.exit(differ > 0)


if __name__ == "__main__":
    main()
