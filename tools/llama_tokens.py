"""What llama.cpp says after a prompt, with the checkpoints of tests/fixtures/gguf: tokens.json in each, for
tests/engine_peers.rs.

    python tools/llama_tokens.py LLAMA_CPP_SOURCES

The F32 file of convert_hf_to_gguf.py, as tools/gguf_fixtures.py makes it; llama-cpp-python 0.3.36, with a cache in F32. Of many
random prompts the one is kept with the most different tokens (eight will do) after it, and the widest gap between the two best
logits on the way, in standard deviations of the logits.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy

import gguf_fixtures

TOKENS = 32
TRIES = 60
VARIETY = 8
GAP = 0.005
F32 = 0  # ggml's GGML_TYPE_F32


def answer(llama, prompt):
    """Greedy tokens, and the smallest gap on the way."""
    llama.reset()
    llama.eval(prompt)
    tokens, gap = [], numpy.inf
    for _ in range(TOKENS):
        logits = numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llama.ctx, -1), (llama.n_vocab(),))
        best = numpy.partition(logits, -2)[-2:]
        gap = min(gap, float(best[1] - best[0]) / float(logits.std()))
        tokens.append(int(logits.argmax()))
        llama.eval(tokens[-1:])
    return tokens, gap


def main():
    sources = Path(sys.argv[1])
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    for name, pre in gguf_fixtures.PRE.items():
        folder = gguf_fixtures.ROOT / name
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "F32.gguf"
            gguf_fixtures.convert(sources, folder, path, "f32", pre)
            # llama.cpp makes room for 256 tokens, more than LongRoPE's original context here: it takes the long factors.
            llama = llama_cpp.Llama(
                str(path), n_ctx=256, n_batch=64, type_k=F32, type_v=F32, flash_attn=False, verbose=False
            )
            rng, found = random.Random(5), ((0, -1.0), None, None)
            for _ in range(TRIES):
                prompt = [rng.randrange(3, 250) for _ in range(12)]
                tokens, gap = answer(llama, prompt)
                worth = (min(len(set(tokens)), VARIETY) if gap > GAP else 0, gap)
                if worth > found[0]:
                    found = (worth, prompt, tokens)
            (_, gap), prompt, tokens = found
            (folder / "tokens.json").write_text(json.dumps({"prompt": prompt, "tokens": tokens}) + "\n")
            print(name, round(gap, 4), len(set(tokens)), flush=True)


if __name__ == "__main__":
    main()
