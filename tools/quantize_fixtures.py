"""Makes quantized.json and the importance matrices in tests/fixtures/gguf: what llama-quantize and llama-gguf-split make.

    python tools/quantize_fixtures.py LLAMA_CPP_SOURCES

Run after tools/gguf_fixtures.py, whose checkpoints and converter it uses. The two programs are compiled (g++) from
LLAMA_CPP_SOURCES against the libraries that llama-cpp-python installed, so everything that decides bytes is theirs; made with
0.3.36. In the splitter alone "M" is made to mean one byte, so that files of some kilobytes can be cut.

For each checkpoint NAME: imatrix.gguf and imatrix.dat, random, one matrix as both kinds of file; and quantized.json: by the options
given to llama-quantize, which ran on the converter's F32 file, the SHA-256 of what it made; by the limit, those of the splits.
"""

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf_fixtures
import llama_cpp
import numpy

SOURCES = Path(sys.argv[1]).resolve()
# The converter needs the gguf beside it.
sys.path[:0] = [str(SOURCES), str(SOURCES / "gguf-py")]
import gguf  # noqa: E402

ROOT = gguf_fixtures.ROOT
MIXES = (
    "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4_MOE"
).split()
# Without a matrix, and with either kind of file.
OPTIONS = [
    "--pure Q4_K", "--pure Q2_K", "--output-tensor-type Q8_0 Q4_0", "--token-embedding-type Q5_1 Q4_K_M",
    "--tensor-type ffn_down=iq4_nl --tensor-type attn=q5_0 Q4_K_S", "--imatrix imatrix.dat Q4_K_M", "--imatrix imatrix.dat Q2_K_S",
    "--imatrix imatrix.gguf --pure Q3_K", "--imatrix imatrix.gguf --output-tensor-type Q4_0 Q5_0",
]
# What the libraries do not have, and what is of no account here.
REST = """
#include "llama.h"
#include <cstdio>
#include <string>
#include <vector>
int llama_build_number(void) { return 0; }
const char * llama_commit(void) { return ""; }
const char * llama_compiler(void) { return ""; }
const char * llama_build_target(void) { return ""; }
void llama_print_build_info(const char *, FILE *) {}
struct common_log;
common_log * common_log_main() { return nullptr; }
int common_log_get_verbosity_thold() { return 0; }
void common_log_add(common_log *, ggml_log_level, const char *, ...) {}
bool string_parse_kv_override(const char *, std::vector<llama_model_kv_override> &) { return false; }
"""


def build(folder):
    libraries = Path(llama_cpp.__file__).parent / "lib"
    (folder / "rest.cpp").write_text(REST)
    splitter = (SOURCES / "tools/gguf-split/gguf-split.cpp").read_text()
    assert splitter.count("(size_t)n * 1000 * 1000;") == 1
    (folder / "split.cpp").write_text(splitter.replace("(size_t)n * 1000 * 1000;", "(size_t)n;"))
    quantizer = [SOURCES / "tools/quantize/main.cpp", SOURCES / "tools/quantize/quantize.cpp", SOURCES / "common/imatrix-loader.cpp"]
    for name, files in {"llama-quantize": quantizer, "llama-gguf-split": [folder / "split.cpp"]}.items():
        include = [f"-I{SOURCES / part}" for part in ("include", "ggml/include", "common", "vendor")]
        link = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lllama", "-lggml", "-lggml-base"]
        subprocess.run(["g++", "-std=c++17", "-O1", *include, *files, folder / "rest.cpp", "-o", folder / name, *link], check=True)


def save_imatrix(folder, model):
    """A value for each column of each matrix in a layer, as llama-imatrix leaves the embedding and the output out."""
    random = numpy.random.default_rng(7)
    entries = {}
    for tensor in gguf.GGUFReader(model).tensors:
        if tensor.name.startswith("blk.") and len(tensor.shape) > 1:
            cols, experts = int(tensor.shape[0]), int(tensor.shape[2]) if len(tensor.shape) > 2 else 1
            sums = (random.lognormal(0, 2, (experts, cols)) * 100).astype(numpy.float32)
            # Of several experts the last one was never chosen.
            counts = numpy.array([[37 + 5 * i if i < max(experts - 1, 1) else 0] for i in range(experts)], numpy.float32)
            entries[tensor.name] = (sums, counts)
    # A column that nothing ever reached, and a matrix that nothing reached.
    first, *_, last = entries
    entries[first][0][0, 5] = 0
    entries[last] = (entries[last][0] * 0, entries[last][1] * 0)

    writer = gguf.GGUFWriter(folder / "imatrix.gguf", "")
    writer.kv_data[0].clear()
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["some-text-" + "x" * 140, "another"])
    writer.add_uint32("imatrix.chunk_count", 11)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, (sums, counts) in sorted(entries.items()):
        writer.add_tensor(f"{name}.in_sum2", sums)
        writer.add_tensor(f"{name}.counts", counts)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with open(folder / "imatrix.dat", "wb") as file:
        text = lambda s: file.write(struct.pack("<i", len(s)) + s.encode())
        file.write(struct.pack("<i", len(entries)))
        for name, (sums, counts) in entries.items():
            text(name)
            file.write(struct.pack("<ii", int(counts[0, 0]), sums.size) + sums.tobytes())
        file.write(struct.pack("<i", 11))
        text("some-text.txt")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    with tempfile.TemporaryDirectory() as temporary:
        tools = Path(temporary)
        build(tools)
        for name, pre in gguf_fixtures.PRE.items():
            folder = ROOT / name
            source = tools / f"{name}.gguf"
            gguf_fixtures.convert(SOURCES, folder, source, "f32", pre)
            save_imatrix(folder, source)
            made = {}
            for options in [*(m for m in MIXES if m != "Q2_K_S"), *(f"--imatrix imatrix.gguf {m}" for m in MIXES), *OPTIONS]:
                *flags, mix = options.split()
                out = tools / "out.gguf"
                # In the folder, so that the file says imatrix.gguf and no path.
                command = [tools / "llama-quantize", *flags, source, out, mix, "1"]
                result = subprocess.run(command, cwd=folder, capture_output=True)
                if result.returncode < 0 and "-type" in options:
                    print(f"{name}: llama-quantize {options} aborts: the type does not fit the rows")
                    continue
                result.check_returncode()
                made[options] = digest(out)
            splits = {}
            largest = max(int(tensor.n_bytes) for tensor in gguf.GGUFReader(source).tensors)
            # A first tensor that is larger than the limit ends the splitter.
            for limit in (largest + 31, 2 * largest + 1000):
                subprocess.run([tools / "llama-gguf-split", "--split-max-size", f"{limit}M", source, tools / f"s{limit}"], check=True, capture_output=True)
                splits[str(limit)] = {path.name.removeprefix(f"s{limit}"): digest(path) for path in sorted(tools.glob(f"s{limit}-*"))}
            (folder / "quantized.json").write_text(json.dumps({"quantized": made, "split F32": splits}, indent=1) + "\n")


if __name__ == "__main__":
    main()
