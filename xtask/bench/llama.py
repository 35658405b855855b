"""llama.cpp natively, on the files that `cargo xtask bench` has made: python llama.py FOLDER > llama.json.

Needs llama-cpp-python (measured with 0.3.36). One thread, then two, for quantizing; one for running.
"""

import ctypes
import json
import sys
import time
from pathlib import Path

import llama_cpp

FOLDER = Path(sys.argv[1])
TYPES = {"Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0, "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}


def quantize(scheme, threads):
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread, params.ftype = threads, TYPES[scheme]
    best = float("inf")
    for _ in range(2):
        begin = time.perf_counter()
        source, target = FOLDER / "small-F16.gguf", FOLDER / "llama.gguf"
        if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
            raise SystemExit("llama.cpp could not quantize the file")
        best = min(best, time.perf_counter() - begin)
    return best


def run(name):
    model = llama_cpp.Llama(str(FOLDER / f"{name}.gguf"), n_ctx=512, n_threads=1, n_threads_batch=1, verbose=False)
    best = {"prefill": 0, "decode": 0}
    for round in range(3):
        tokens = [(n * 7919 + 13 + round) % 250 for n in range(256)]
        model.reset()
        begin = time.perf_counter()
        model.eval(tokens)
        best["prefill"] = max(best["prefill"], len(tokens) / (time.perf_counter() - begin))
        begin = time.perf_counter()
        for _ in range(48):
            model.eval([model.sample(temp=0)])
        best["decode"] = max(best["decode"], 48 / (time.perf_counter() - begin))
    return best


print(
    json.dumps(
        {
            "version": llama_cpp.__version__,
            "quantize": {scheme: {threads: quantize(scheme, threads) for threads in (1, 2)} for scheme in TYPES},
            "models": {name: run(name) for name in ("small-Q4_0", "small-Q8_0", "demo")},
        }
    )
)
