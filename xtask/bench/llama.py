"""llama.cpp natively, asked line by line: one JSON request a line in, one answer a line out.

    python xtask/bench/llama.py FOLDER

Needs llama-cpp-python (measured with 0.3.36) and numpy. Stays alive between requests, so that the caller can alternate
between it and phiquant: on a shared machine only neighbours in time compare.
"""

import ctypes
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import llama_cpp
import numpy as np

FOLDER = Path(sys.argv[1])
ggml = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = (
    [ctypes.c_int] + [ctypes.c_void_p] * 2 + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
)
models = {}


def rows(cols, count):
    """Writes rows.f32: weights as a checkpoint has them, normal and small."""
    weights = np.random.default_rng(1).normal(0, 0.02, (count, cols)).astype(np.float32)
    weights.tofile(FOLDER / "rows.f32")
    return {}


def kernel(ggml_type, cols, seconds):
    """ggml's own function on one core: weights per second, and the hash of the bytes."""
    weights = np.fromfile(FOLDER / "rows.f32", np.float32)
    count = len(weights) // cols
    out = np.zeros(4 * len(weights), np.uint8)

    def work():
        return ggml.ggml_quantize_chunk(ggml_type, weights.ctypes.data, out.ctypes.data, 0, count, cols, None)

    ggml.ggml_quantize_init(ggml_type)
    size = work() if seconds > 1 else 0
    begin, rounds = time.perf_counter(), 0
    while rounds == 0 or time.perf_counter() - begin < seconds:
        size = work()
        rounds += 1
    rate = rounds * len(weights) / (time.perf_counter() - begin)
    return {"rate": rate, "sha256": hashlib.sha256(out[:size].tobytes()).hexdigest()}


def quantize(source, ftype, threads):
    """llama_model_quantize from a file to a file."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread, params.ftype = threads, ftype
    target = FOLDER / "llama.gguf"
    begin = time.perf_counter()
    status = llama_cpp.llama_model_quantize(str(FOLDER / source).encode(), str(target).encode(), ctypes.byref(params))
    if status != 0:
        raise RuntimeError(f"llama_model_quantize gave {status}")
    return {"seconds": time.perf_counter() - begin}


def run(model, threads, prompt, tokens, round):
    """Prefill and greedy decode, tokens per second."""
    if model not in models:
        models.clear()
        models[model] = llama_cpp.Llama(
            str(FOLDER / model), n_ctx=prompt + tokens + 16, n_threads=threads, n_threads_batch=threads, verbose=False
        )
    llama = models[model]
    ids = [(n * 7919 + 13 + round) % 250 for n in range(prompt)]
    llama.reset()
    begin = time.perf_counter()
    llama.eval(ids)
    prefill = prompt / (time.perf_counter() - begin)
    begin = time.perf_counter()
    for _ in range(tokens):
        llama.eval([llama.sample(temp=0)])
    return {"prefill": prefill, "decode": tokens / (time.perf_counter() - begin)}


# The library writes to standard output at will: answers get a channel of their own.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
COMMANDS = {"rows": rows, "kernel": kernel, "quantize": quantize, "run": run}
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = COMMANDS[request.pop("do")](**request)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
