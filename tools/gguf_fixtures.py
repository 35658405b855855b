"""Makes tests/fixtures/gguf: tiny Phi checkpoints, and what llama.cpp's own tools make of them.

    python tools/gguf_fixtures.py LLAMA_CPP_SOURCES             # all
    python tools/gguf_fixtures.py LLAMA_CPP_SOURCES phi-2-tiny  # one of them
    python tools/gguf_fixtures.py LLAMA_CPP_SOURCES --keep      # from the checkpoints that are there

LLAMA_CPP_SOURCES holds convert_hf_to_gguf.py (vendor/llama.cpp in llama-cpp-python's sdist). Needs torch, transformers,
tokenizers, sentencepiece, gguf and llama-cpp-python; made with 2.15.0, 5.23.0, 0.23.3, 0.2.3, 0.19.0 and 0.3.36.

For each checkpoint NAME: the checkpoint's files; F16.head and Q4_0.head, the bytes before the first tensor, so that a
difference can be seen; and expected.json with the size and the SHA-256 of every file, weights included.
"""

import contextlib
import ctypes
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import llama_cpp
import sentencepiece
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "gguf"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
CORPUS = [
    "The quick brown fox jumps over the lazy dog while seven wizards quietly brew tea.",
    "Numbers such as 7, 42 and 1234567 are split into groups; so are 3.14 and 2,718.",
    "A tokenizer's job isn't glamorous: it'll cut \"text\" into pieces, and we've all seen it fail.",
    "Quantize the weights, keep the scales, measure the error, and write the file.",
    "for (let i = 0; i < 10; i++) {\n    total += values[i] * 2;\n}\n\n",
    "Größe, façade, naïve, ελληνικά, кириллица, 日本語, emoji 🚀.",
] * 4

def byte_level(regex, tokens):
    """A byte-level BPE with about `tokens` tokens, Phi-4's kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(regex), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=tokens, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(["<tool▁call>"])
    return tokenizer


def save_codegen(folder, tokens):
    """A tokenizer of Phi-2's kind: GPT-2's rule, then runs of spaces and tabs as added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=tokens, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    runs = [" " * n for n in range(7, 1, -1)] + ["\t" * n for n in range(4, 1, -1)]
    tokenizer.add_tokens([AddedToken(run, normalized=True, special=False) for run in runs])
    tokenizer.save(str(folder / "tokenizer.json"))
    made = json.loads((folder / "tokenizer.json").read_text())
    (folder / "added_tokens.json").write_text(
        json.dumps({token["content"]: token["id"] for token in made["added_tokens"] if not token["special"]}, indent=2)
    )
    decoder = {
        str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in made["added_tokens"]
    }
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": decoder,
        "bos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|endoftext|>",
        "model_max_length": 2048,
        "tokenizer_class": "CodeGenTokenizer",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    return tokenizer


def save_byte_level(folder, regex, tokens):
    tokenizer = byte_level(regex, tokens)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "bos_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": {
            "__type": "AddedToken", "content": "<|end|>", "lstrip": False, "normalized": False, "rstrip": False,
            "single_word": False,
        },
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return tokenizer


def save_sentencepiece(folder, tokens):
    """A SentencePiece BPE as Phi-3 has it, with tokens added after it."""
    text = "\n".join(line for chunk in CORPUS for line in chunk.splitlines() if line)
    # The model keeps the names of its files: they are relative, so that it is the same wherever it is made.
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        Path("text").write_text(text)
        sentencepiece.SentencePieceTrainer.train(
            input="text", model_prefix="tokenizer", vocab_size=tokens, model_type="bpe", byte_fallback=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
            character_coverage=0.99, split_digits=True,
        )
        shutil.copy("tokenizer.model", folder)
    added = {
        str(i): {"content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": special}
        for i, (text, special) in enumerate(
            [("<unk>", True), ("<s>", True), ("</s>", False)]
        )
    }
    for i, text in enumerate(SPECIAL):
        added[str(tokens + i)] = {
            "content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True,
        }
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": added,
        "bos_token": "<s>",
        "chat_template": TEMPLATE,
        "eos_token": "<|endoftext|>",
        "legacy": False,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    (folder / "tokenizer.json").write_text(json.dumps(sentencepiece_json(folder, added), ensure_ascii=False))


def sentencepiece_json(folder, added):
    """tokenizer.json for a SentencePiece model, with the merges that transformers' converter finds."""
    from transformers.convert_slow_tokenizer import generate_merges

    processor = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(processor.vocab_size())]
    vocab = {piece: i for i, (piece, _) in enumerate(pieces)}
    merges = generate_merges(vocab, dict(pieces))
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": int(i), **token} for i, token in added.items()],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": vocab, "merges": [list(merge) for merge in merges],
        },
    }


def save_model(folder, dtype, shard="1GB", kind="Phi3", **fields):
    torch.manual_seed(sum(folder.name.encode()))
    config = getattr(transformers, f"{kind}Config")(**fields)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype)
    for name, parameter in model.named_parameters():
        # transformers begins with biases of zero and small weights, by which a model says one token for ever.
        if name.endswith("bias"):
            parameter.data = (0.1 * torch.randn(parameter.shape)).to(dtype)
        elif kind != "Phi3" and parameter.dim() > 1:
            scale = 1 if "embed" in name else parameter.shape[-1] ** -0.5
            parameter.data = (scale * torch.randn(parameter.shape)).to(dtype)
    model.save_pretrained(folder, max_shard_size=shard)
    return config


def hub_spelling(folder):
    """Rewrites config.json as the Hub's Phi files spell it: rope_theta, rope_scaling, torch_dtype."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["partial_rotary_factor"] = rope.pop("partial_rotary_factor", 1.0)
    kind = rope.pop("rope_type")
    rope.pop("original_max_position_embeddings", None)
    config["rope_scaling"] = {"type": kind, **rope} if kind != "default" else None
    config["torch_dtype"] = config.pop("dtype")
    if config["architectures"] == ["Phi3ForCausalLM"]:
        config["_name_or_path"] = "someone/Phi-3-tiny-4k-instruct"
    if config["architectures"] == ["PhimoeForCausalLM"]:
        config["architectures"] = ["PhiMoEForCausalLM"]
    path.write_text(json.dumps(config, indent=2))


def make_checkpoints(work):
    """As Phi-3-mini (heads of their own, SentencePiece), as Phi-4-mini (shared heads, partial rotation, LongRoPE, tied,
    byte-level, two shards) and as Phi-4 (cl100k)."""
    spm = work / "tiny-phi3-spm"
    spm.mkdir()
    save_sentencepiece(spm, 420)
    save_model(
        spm, torch.bfloat16, vocab_size=440, hidden_size=32, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=512, original_max_position_embeddings=512, sliding_window=200,
        bos_token_id=1, eos_token_id=420, pad_token_id=420, rms_norm_eps=1e-5,
    )
    hub_spelling(spm)

    factors = [round(1.0 + 0.05 * i, 3) for i in range(6)]
    mini = work / "Phi-4-mini-tiny"
    mini.mkdir()
    tokenizer = save_byte_level(mini, O200K, 300)
    last = tokenizer.token_to_id("<|end|>")
    save_model(
        mini, torch.float16, shard="60KB", vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096,
        original_max_position_embeddings=128, tie_word_embeddings=True, sliding_window=262144, rms_norm_eps=1e-6,
        bos_token_id=300, eos_token_id=last, pad_token_id=300,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "short_factor": factors, "long_factor": [4 * f + 0.1 for f in factors],
            "original_max_position_embeddings": 128,
        },
    )
    generation = json.loads((mini / "generation_config.json").read_text())
    generation |= {"eos_token_id": [last, 300], "temperature": 0.7, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.05, "do_sample": True}
    (mini / "generation_config.json").write_text(json.dumps(generation, indent=2))

    phi4 = work / "phi4"
    phi4.mkdir()
    tokenizer = save_byte_level(phi4, CL100K, 290)
    save_model(
        phi4, torch.float32, vocab_size=300, hidden_size=48, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=3, max_position_embeddings=256, original_max_position_embeddings=256,
        bos_token_id=290, eos_token_id=tokenizer.token_to_id("<|end|>"), pad_token_id=290,
    )


    phi2 = work / "phi-2-tiny"
    phi2.mkdir()
    tokenizer = save_codegen(phi2, 285)
    end = tokenizer.token_to_id("<|endoftext|>")
    save_model(
        phi2, torch.float16, kind="Phi", vocab_size=300, hidden_size=64, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=128, bos_token_id=end, eos_token_id=end,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
    )
    hub_spelling(phi2)

    moe = work / "Phi-3.5-MoE-tiny"
    moe.mkdir()
    save_sentencepiece(moe, 420)
    factors = [round(1.0 + 0.1 * i, 3) for i in range(4)]
    save_model(
        moe, torch.bfloat16, kind="Phimoe", vocab_size=430, hidden_size=32, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=4, max_position_embeddings=512,
        original_max_position_embeddings=128, sliding_window=512, attention_bias=True, lm_head_bias=True,
        bos_token_id=1, eos_token_id=420, pad_token_id=420,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 128,
            "short_factor": factors, "long_factor": [2 * f for f in factors], "short_mscale": 1.2, "long_mscale": 1.2,
        },
    )
    hub_spelling(moe)
    config = json.loads((moe / "config.json").read_text())
    config["rope_scaling"]["original_max_position_embeddings"] = 128
    (moe / "config.json").write_text(json.dumps(config, indent=2))


def convert(sources, checkpoint, out, kind, pre):
    """convert_hf_to_gguf.py. It knows tokenizers by a hash over ids, which no tiny vocabulary can have."""
    import conversion.base
    import convert_hf_to_gguf

    conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    sys.argv = ["convert_hf_to_gguf.py", str(checkpoint), "--outtype", kind, "--outfile", str(out)]
    convert_hf_to_gguf.main()


def quantize(source, out, file_type, pure):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = file_type
    params.pure = pure
    params.nthread = 1
    result = llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params))
    assert result == 0, f"llama_model_quantize said {result}"


def head(path):
    """The bytes before the first tensor."""
    import gguf

    return path.read_bytes()[: gguf.GGUFReader(path).data_offset]


PLAIN = ["f32", "f16", "bf16"]
# `enum llama_ftype`; Q2_K_S is not among them, since it asks for an importance matrix.
QUANTIZED = {
    "Q8_0": 7, "Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13,
    "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30, "TQ1_0": 36,
    "TQ2_0": 37, "MXFP4_MOE": 38,
}  # fmt: skip
# One of either tool; the others differ in a number or two.
HEADS = ["F16", "Q4_0"]
PRE = {"tiny-phi3-spm": "default", "Phi-4-mini-tiny": "gpt-4o", "phi4": "dbrx", "phi-2-tiny": "phi-2", "Phi-3.5-MoE-tiny": "default"}


def main():
    sources = Path(sys.argv[1])
    sys.path[:0] = [str(sources), str(sources / "gguf-py")]
    names = [name for name in sys.argv[2:] if name != "--keep"] or list(PRE)
    if "--keep" not in sys.argv:
        with tempfile.TemporaryDirectory() as temporary:
            make_checkpoints(Path(temporary))
            for name in names:
                shutil.rmtree(ROOT / name, ignore_errors=True)
                shutil.copytree(Path(temporary) / name, ROOT / name)
    for name in names:
        folder, pre = ROOT / name, PRE[name]
        for path in folder.iterdir():
            path.chmod(0o644)
        expected = {}
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            for kind in PLAIN:
                convert(sources, folder, work / f"{kind.upper()}.gguf", kind, pre)
            # From F32, which holds every checkpoint's weights exactly.
            for kind, number in QUANTIZED.items():
                quantize(work / "F32.gguf", work / f"{kind}.gguf", number, False)
                quantize(work / "F32.gguf", work / f"{kind}-pure.gguf", number, True)
            for path in sorted(work.glob("*.gguf")):
                data = path.read_bytes()
                if path.stem in HEADS:
                    (folder / f"{path.stem}.head").write_bytes(head(path))
                expected[path.stem] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
