"""Makes tests/fixtures/quant/ggml.json: what the real ggml writes for inputs that the tests can make again.

    python -m pip install llama-cpp-python==0.3.36 numpy
    python tools/ggml_fixtures.py > tests/fixtures/quant/ggml.json

Inputs are not stored: each is a named distribution made of integers alone (a counter-based hash, fields of its bits,
powers of two), so that Rust makes the same bits; `generate` here and in tests/quant_common/generate.rs are twins. The
function called is ggml_quantize_chunk of libggml-base, as llama-quantize calls it, through ctypes. A build whose compiler contracts
a·b + c to a fused operation writes other bytes in most types (docs/formats.md has figures): the header of the output records whether this one holds
any FMA instruction (it needs `objdump`).
"""

import ctypes
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys

import llama_cpp
import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SEED = 20261123
WEIGHTS = 4096
SHORT = 256  # weights of the cases whose bytes are stored whole
MANY = 1 << 20


def mix(x):
    """The finalizer of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def hashes(seed, stream, index):
    key = mix(np.uint64(seed) + GOLDEN * np.uint64(stream + 1))
    return mix(key + GOLDEN * (index.astype(np.uint64) + np.uint64(1)))


def bell(seed, index):
    """About normal, in ±3145725: the sum of six 20-bit fields less their mean."""
    total = np.zeros(index.shape, np.int64)
    for stream in (0, 1):
        h = hashes(seed, stream, index)
        for shift in (0, 20, 40):
            total += ((h >> np.uint64(shift)) & np.uint64(0xFFFFF)).astype(np.int64)
    return (total - 3 * 0xFFFFF).astype(np.float32)


def power(exponent):
    return np.ldexp(np.float32(1), exponent).astype(np.float32)


def from_bits(bits):
    return bits.astype(np.uint32).view(np.float32)


def ties(seed, i):
    """Rows whose first weight makes a scale of 1 for one scheme or another, all others being quarters."""
    extreme = np.array([127, -8, -32])[(i // 256) % 3]
    quarters = 8 * np.abs(extreme) + 1
    value = (hashes(seed, 2, i) % quarters.astype(np.uint64)).astype(np.int64) - 4 * np.abs(extreme)
    return np.where(i % 16 == 0, extreme, value * 0.25).astype(np.float32)


def edges(seed, i):
    """Groups of 32 whose greatest weight, the first, is a power of two or some of the 47 numbers just below it."""
    top = (hashes(seed, 3, i // 32) % np.uint64(110)).astype(np.int64) - 100
    first = from_bits(power(top).view(np.uint32) - (hashes(seed, 2, i) % np.uint64(48)).astype(np.uint32))
    return np.where(i % 32 == 0, first, bell(seed, i) * power(top - 23)).astype(np.float32)


def trailing(seed, i):
    """How many of the low 12 bits of a hash are zero before the first one: 0 in half of all cases, at most 12."""
    low = (hashes(seed, 2, i) & np.uint64(0xFFF)).astype(np.int64) | 0x1000
    return np.log2(low & -low).astype(np.int64)


def demo():
    """The demo checkpoint's weights, as they lie in its file."""
    path = os.path.join(os.path.dirname(__file__), "..", "www", "models", "demo", "model.safetensors")
    with open(path, "rb") as file:
        data = file.read()
    return np.frombuffer(data, "<u2", offset=8 + int.from_bytes(data[:8], "little"))


DEMO = demo()

KINDS = {
    "gaussian": lambda s, i: bell(s, i) * power(-25),
    "heavy": lambda s, i: bell(s, i) * power(-27 + trailing(s, i)),
    "bf16": lambda s, i: from_bits((bell(s, i) * power(-25)).view(np.uint32) & np.uint32(0xFFFF0000)),
    "constant": lambda s, i: bell(s, i // 32) * power(-25),
    "signs": lambda s, i: from_bits(
        (bell(s, i // 32) * power(-25)).view(np.uint32) ^ (hashes(s, 2, i) << np.uint64(31)).astype(np.uint32)
    ),
    "zero": lambda s, i: np.zeros(i.shape, np.float32),
    "signed_zero": lambda s, i: from_bits((hashes(s, 2, i) & np.uint64(1)) << np.uint64(31)),
    "denormal": lambda s, i: from_bits(hashes(s, 2, i) & np.uint64(0x807FFFFF)),
    "outlier": lambda s, i: bell(s, i) * power(-25 + 9 * (hashes(s, 2, i) % np.uint64(256) == 0).astype(np.int64)),
    "ties": ties,
    "large": lambda s, i: bell(s, i) * power(-6),
    "small": lambda s, i: bell(s, i) * power(-39),
    "tiny": lambda s, i: bell(s, i) * power(-120),
    "blocks": lambda s, i: bell(s, i) * power(-25 - (hashes(s, 2, i // 16) % np.uint64(45)).astype(np.int64)),
    "wild": lambda s, i: from_bits(
        (hashes(s, 2, i) & np.uint64(0x807FFFFF)) | (hashes(s, 3, i) % np.uint64(142)) << np.uint64(23)
    ),
    "edges": edges,
    "demo": lambda s, i: from_bits(DEMO[(s * 4099 + i) % len(DEMO)].astype(np.uint32) << np.uint32(16)),
}

# name, ggml_type, weights per group, bytes per group
SCHEMES = [
    ("F32", 0, 1, 4),
    ("F16", 1, 1, 2),
    ("BF16", 30, 1, 2),
    ("Q8_0", 8, 32, 34),
    ("Q4_0", 2, 32, 18),
    ("Q6_K", 14, 256, 210),
    ("Q2_K", 10, 256, 84),
    ("Q3_K", 11, 256, 110),
    ("Q4_K", 12, 256, 144),
    ("Q5_K", 13, 256, 176),
    ("Q4_1", 3, 32, 20),
    ("Q5_0", 6, 32, 22),
    ("Q5_1", 7, 32, 24),
    ("IQ4_NL", 20, 32, 18),
    ("IQ4_XS", 23, 256, 136),
    ("TQ1_0", 34, 256, 54),
    ("TQ2_0", 35, 256, 66),
    ("MXFP4", 39, 32, 17),
]
# Schemes whose bytes depend on an importance matrix.
WEIGHTED = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "IQ4_XS"]
COLS = 1024  # columns of the cases with importance


def generate(kind, seed, weights):
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(KINDS[kind](seed, np.arange(weights, dtype=np.int64)), np.float32)


def importance(seed):
    """What a column counts for: heavy-tailed, a few zeros, one block of nothing but zeros."""
    i = np.arange(COLS, dtype=np.int64)
    with np.errstate(over="ignore"):
        h = hashes(seed, 4, i)
        size = (h >> np.uint64(32)).astype(np.uint32).astype(np.int64) % 4096 + 1
        return np.where((h % np.uint64(64) == 0) | (i // 256 == 2), 0, size * power(trailing(seed, i) - 10)).astype(np.float32)


def pointer(array):
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


def quantize(library, ggml_type, source, target, cols, weights):
    """As llama-quantize does."""
    rows = ctypes.c_int64(len(source) // cols)
    library.ggml_quantize_chunk(
        ctypes.c_int(ggml_type), pointer(source), pointer(target), ctypes.c_int64(0), rows, ctypes.c_int64(cols), pointer(weights)
    )


def dequantize(library, name, source, target):
    floats = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}
    function = floats.get(name) or "dequantize_row_" + name.lower().replace("_k", "_K")
    getattr(library, function)(pointer(source), pointer(target), ctypes.c_int64(len(target)))


def digest(array):
    """The first half of the first half of SHA-256."""
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


def case(library, scheme, kind, seed, weights, weighted=False):
    name, ggml_type, group, group_bytes = scheme
    x = generate(kind, seed, weights)
    if name == "F32":
        quantized, restored = x.view(np.uint8), x
    else:
        quantized = np.zeros(weights // group * group_bytes, np.uint8)
        restored = np.zeros(weights, np.float32)
        quantize(library, ggml_type, x, quantized, *(COLS, importance(seed)) if weighted else (weights, None))
        dequantize(library, name, quantized, restored)
    result = {"scheme": name, "kind": kind, "seed": seed, "weights": weights, "input": digest(x)}
    if weighted:
        result["importance"] = digest(importance(seed))
    if weights == SHORT:
        result["bytes"] = quantized.tobytes().hex()
    else:
        result["digest"] = digest(quantized)
    result["restored"] = digest(restored)
    return result


def main():
    path = os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so")
    library = ctypes.CDLL(path)
    library.ggml_version.restype = ctypes.c_char_p
    # The lookup tables behind f16 conversions are filled here.
    library.ggml_quantize_init(14)
    try:
        fma = subprocess.run(["objdump", "-d", path], capture_output=True, text=True, check=True).stdout.count("vfmadd")
    except FileNotFoundError:
        sys.exit("objdump is not here: install binutils, so that the output can say whether the build contracts")
    cases = [
        case(library, scheme, kind, SEED + number, WEIGHTS)
        for scheme in SCHEMES
        for number, kind in enumerate(KINDS)
    ]
    cases += [case(library, s, kind, SEED + 100, SHORT) for s in SCHEMES for kind in ("gaussian", "ties", "blocks")]
    cases += [case(library, s, "gaussian", SEED + 200, MANY) for s in SCHEMES]
    weighted = [scheme for scheme in SCHEMES if scheme[0] in WEIGHTED]
    cases += [case(library, s, kind, SEED + 300 + n, WEIGHTS, True) for s in weighted for n, kind in enumerate(KINDS)]
    halves = np.arange(1 << 16, dtype=np.uint16)
    restored = np.zeros(1 << 16, np.float32)
    dequantize(library, "F16", halves, restored)
    header = {
        "made_by": "tools/ggml_fixtures.py",
        "llama_cpp_python": importlib.metadata.version("llama-cpp-python"),
        "ggml": library.ggml_version().decode(),
        "fma_instructions_in_libggml_base": fma,
        # All 65536 f16 in order, as f32; NaNs apart, whose payloads are nobody's business.
        "f16_to_f32": digest(np.where(np.isnan(restored), np.float32(0), restored)),
    }
    lines = ",\n".join("    " + json.dumps(c) for c in cases)
    print(json.dumps(header, indent=2)[:-2] + ',\n  "cases": [\n' + lines + "\n  ]\n}")


if __name__ == "__main__":
    main()
