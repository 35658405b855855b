"""Makes tests/fixtures/mixes.json: which type llama_model_quantize gives each tensor.

    python tools/mix_fixtures.py

The real function runs with `dry_run` over GGUF files that have a model's header and no weights (their data is a hole in
the file), and says each tensor's type as it goes. Needs gguf and llama-cpp-python; made with 0.19.0 and 0.3.36.

A model is its keys and its tensors, `{}` standing for every layer; shapes are row-major. `types` are those of its matrices, in
the same order, layer after layer: "Q8_0|Q6_K*2 Q4_K" is Q8_0 for the first matrix; for the second Q6_K in two layers, then Q4_K in
all others. Vectors are left out: they stay as they are. `mixes` has one text where an importance matrix changes nothing.
"""

import ctypes
import itertools
import json
import math
import re
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy

OUT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "mixes.json"
FILE_TYPES = {
    "F32": 0, "F16": 1, "BF16": 32, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "Q2_K": 10, "Q2_K_S": 21,
    "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18,
    "IQ4_NL": 25, "IQ4_XS": 30, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38,
}


def model(arch, layers, hidden, ffn, heads, kv_heads, vocab, experts=0, tied=False, fused=None):
    """The tensors as convert_hf_to_gguf.py makes them: phi3 fused, phi2 and phimoe with q, k and v apart."""
    fused = arch == "phi3" if fused is None else fused
    kv = hidden // heads * kv_heads
    tensors = {"token_embd.weight": [vocab, hidden], "output_norm.weight": [hidden]}
    if not tied:
        tensors["output.weight"] = [vocab, hidden]
    layer = {"attn_norm.weight": [hidden]}
    if fused:
        layer["attn_qkv.weight"] = [hidden + 2 * kv, hidden]
    else:
        layer |= {"attn_q.weight": [hidden, hidden], "attn_k.weight": [kv, hidden], "attn_v.weight": [kv, hidden]}
        layer |= {"attn_q.bias": [hidden], "attn_k.bias": [kv], "attn_v.bias": [kv]}
    layer["attn_output.weight"] = [hidden, hidden]
    if experts:
        layer["ffn_gate_inp.weight"] = [experts, hidden]
        layer |= {f"ffn_{part}_exps.weight": [experts, ffn, hidden] for part in ("gate", "up")}
        layer["ffn_down_exps.weight"] = [experts, hidden, ffn]
    else:
        layer["ffn_up.weight"] = [2 * ffn if arch == "phi3" else ffn, hidden]
        layer["ffn_down.weight"] = [hidden, ffn]
    if arch == "phi2":
        layer |= {"ffn_up.bias": [ffn], "ffn_down.bias": [hidden], "attn_output.bias": [hidden]}
    else:
        layer["ffn_norm.weight"] = [hidden]
    tensors |= {f"blk.{{}}.{name}": shape for name, shape in layer.items()}
    return {
        "arch": arch, "layers": layers, "hidden": hidden, "ffn": ffn, "heads": heads, "kvHeads": kv_heads, "experts": experts,
        "tensors": tensors,
    }


def small(arch="phi3", layers=4, **rest):
    shape = {"hidden": 256, "ffn": 512, "heads": 4, "kv_heads": 4, "vocab": 64} | rest
    return model(arch, layers, **shape)


MODELS = {
    "phi-2": model("phi2", 32, 2560, 10240, 32, 32, 51200),
    "phi-1": model("phi2", 24, 2048, 8192, 32, 32, 51200),
    "phi-3-mini": model("phi3", 32, 3072, 8192, 32, 32, 32064),
    "phi-3-medium": model("phi3", 40, 5120, 17920, 40, 10, 32064),
    "phi-4-mini": model("phi3", 32, 3072, 8192, 24, 8, 200064, tied=True),
    "phi-4": model("phi3", 40, 5120, 17920, 40, 10, 100352),
    "phi-3.5-moe": model("phimoe", 32, 4096, 6400, 32, 8, 32064, experts=16),
    "phi-tiny-moe": model("phimoe", 32, 4096, 448, 16, 4, 32064, experts=16),
    "eight experts": small("phimoe", 9, experts=8, kv_heads=2),
    "four experts": small("phimoe", 8, experts=4, kv_heads=1),
    "phi3 apart": small(layers=5, fused=False, kv_heads=1),
    "phi2 fused": small("phi2", 6, fused=True),
    "96 columns": small(layers=8, hidden=96, ffn=160, kv_heads=1),
    "96 columns, tied": small(layers=8, hidden=96, ffn=48, tied=True),
    "40 columns": small(layers=8, hidden=40, ffn=512),
    "odd experts": small("phimoe", 4, hidden=96, ffn=48, experts=4),
} | {f"{n} layers": small(layers=n) for n in (1, 2, 3, 7, 8, 13, 15, 17, 24, 63)}

TYPES = {t.name: int(t) for t in gguf.GGMLQuantizationType}
# What a person can ask for beside the type.
OPTIONS = [
    {"pure": True},
    {"output": "Q8_0"},
    {"embedding": "Q5_0"},
    {"output": "Q5_K", "embedding": "F16"},
    {"pure": True, "output": "Q4_1", "embedding": "Q8_0"},
    {"overrides": [[r"ffn_down", "Q8_0"]]},
    {"overrides": [[r"blk\.(0|1|3)\.attn_(qkv|v)", "IQ4_NL"], ["attn", "Q5_0"]]},
    {"overrides": [[r"blk\.[02]\..*", "Q6_K"], [r"^output\.", "F16"], ["token_embd", "Q3_K"]]},
    {"pure": True, "overrides": [[r"\.1\.ffn", "Q2_K"]]},
]
OPTION_MODELS = ["7 layers", "phi3 apart", "phi2 fused", "four experts", "96 columns, tied", "40 columns"]
OPTION_TYPES = ["Q3_K_M", "Q4_0", "Q4_K_M", "IQ4_XS", "MXFP4_MOE"]

lines = []


@llama_cpp.llama_log_callback
def log(_level, text, _data):
    lines.append(text.decode())


def names(described):
    """Every tensor of a model."""
    for name, shape in described["tensors"].items():
        layers = range(described["layers"]) if "{}" in name else [None]
        yield from ((name, name.format(layer), shape) for layer in layers)


def write(path, described):
    arch = described["arch"]
    writer = gguf.GGUFWriter(path, arch)
    writer.add_context_length(4096)
    writer.add_embedding_length(described["hidden"])
    writer.add_block_count(described["layers"])
    writer.add_feed_forward_length(described["ffn"])
    writer.add_head_count(described["heads"])
    writer.add_head_count_kv(described["kvHeads"])
    writer.add_layer_norm_eps(1e-5)
    writer.add_layer_norm_rms_eps(1e-5)
    if described["experts"]:
        writer.add_expert_count(described["experts"])
        writer.add_expert_used_count(2)
    size = 0
    for _, name, shape in names(described):
        dtype = numpy.dtype("f4" if len(shape) == 1 or "gate_inp" in name else "f2")
        bytes_all = math.prod(shape) * dtype.itemsize
        writer.add_tensor_info(name, shape, dtype, bytes_all)
        size += -(-bytes_all // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with open(path, "r+b") as file:
        file.seek(0, 2)
        start = -(-file.tell() // 32) * 32
        file.truncate(start + size)


def quantize(path, file_type, imatrix, options):
    """Each tensor's type, by its name in the file."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.nthread = 1
    params.dry_run = True
    params.pure = options.get("pure", False)
    if "output" in options:
        params.output_tensor_type = TYPES[options["output"]]
    if "embedding" in options:
        params.token_embedding_type = TYPES[options["embedding"]]
    kept = []
    if imatrix:
        # A dry run asks only whether there is one.
        value = (ctypes.c_float * 1)(1.0)
        entries = (llama_cpp.llama_model_imatrix_data * 2)()
        entries[0] = llama_cpp.llama_model_imatrix_data(b"none", value, 1)
        params.imatrix = entries
        kept += [value, entries]
    if "overrides" in options:
        overrides = (llama_cpp.llama_model_tensor_override * (len(options["overrides"]) + 1))()
        for place, (pattern, name) in zip(overrides, options["overrides"]):
            place.pattern, place.type = pattern.encode(), TYPES[name]
        overrides[-1].type = TYPES["F32"]
        params.tt_overrides = overrides
        kept.append(overrides)
    lines.clear()
    result = llama_cpp.llama_model_quantize(str(path).encode(), b"", ctypes.byref(params))
    assert result == 0, "".join(lines)
    types = {}
    pattern = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +- \[[^]]*\], type = +(\S+), (?:size = [^\n]*?\((\S+)\)\n)?")
    for name, before, after in pattern.findall("".join(lines)):
        types[name] = (after or before).upper()
    return types


def runs(values):
    """Q6_K*2 Q4_K"""
    grouped = [(value, len(list(group))) for value, group in itertools.groupby(values)]
    *first, (last, _) = grouped
    return " ".join([value if count == 1 else f"{value}*{count}" for value, count in first] + [last])


def summary(described, types):
    by_pattern = {}
    for pattern, name, shape in names(described):
        if len(shape) > 1:
            by_pattern.setdefault(pattern, []).append(types[name])
    return "|".join(runs(values) for values in by_pattern.values())


def main():
    llama_cpp.llama_log_set(log, ctypes.c_void_p())
    models = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, described in MODELS.items():
            path = Path(temporary) / "model.gguf"
            write(path, described)
            mixes = {}
            for file_type, number in FILE_TYPES.items():
                both = [summary(described, quantize(path, number, imatrix, {})) for imatrix in (False, True)]
                mixes[file_type] = both[0] if both[0] == both[1] else both
            options = []
            if name in OPTION_MODELS:
                for file_type, asked in itertools.product(OPTION_TYPES, OPTIONS):
                    types = summary(described, quantize(path, FILE_TYPES[file_type], False, asked))
                    options.append({"mix": file_type, **asked, "types": types})
            models[name] = {**described, "mixes": mixes, "options": options}
            path.unlink()
    compact = [f"{json.dumps(name)}:{json.dumps(facts, separators=(',', ':'))}" for name, facts in models.items()]
    OUT.write_text("{\n" + ",\n".join(compact) + "\n}\n")
    print(len(models), "models,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
