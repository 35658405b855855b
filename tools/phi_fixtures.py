"""Tiny random Phi-3 checkpoints and what transformers computes with them: tests/fixtures/phi.

    python tools/phi_fixtures.py tests/fixtures/phi                      # mha, gqa
    python tools/phi_fixtures.py tests/fixtures/phi www/models/demo      # demo: cases for the demo checkpoint alone

Made with torch 2.15.0 and transformers 5.23.0 on a CPU, in f32. Each folder is a checkpoint as save_pretrained writes it,
and cases.json beside it: prompts, 64 greedy tokens each, and the smallest gap between the two best logits on the way.
<case>.logits holds the logits at every position of the prompt, f32 little-endian, [positions, vocab].

Random models say the same token forever, or choose by a coin's toss. So seeds are tried until every case has a variety of
tokens and gaps that no rounding crosses.
"""

import hashlib
import json
import pathlib
import sys

import torch
from transformers import AutoTokenizer, Phi3Config, Phi3ForCausalLM

TOKENS = 64
GAP = 0.02  # against 1e-3, which the tests allow
VARIETY = 24  # different tokens among the 64


def longrope(pairs, original):
    return {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": original,
        "short_factor": [1.0 + 0.02 * i for i in range(pairs)],
        "long_factor": [1.1 + 0.5 * i for i in range(pairs)],
    }


# Sizes keep clear of rows of gate_up equal to the vocabulary (some exporters take those for the output matrix).
MODELS = {
    # As Phi-3-mini: every head has keys of its own, a sliding window (shorter than the prompt), an output matrix.
    "mha": dict(
        dtype=torch.float32,
        config=dict(
            vocab_size=320, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=256, original_max_position_embeddings=256, sliding_window=9,
            tie_word_embeddings=False, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=319, pad_token_id=319,
        ),
        cases={"window": 24},
    ),
    # As Phi-4-mini: two heads share keys, three quarters of a head rotate, LongRoPE, a tied output matrix.
    "gqa": dict(
        dtype=torch.bfloat16,
        config=dict(
            vocab_size=288, hidden_size=128, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=384, original_max_position_embeddings=96, sliding_window=None,
            tie_word_embeddings=True, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=287, pad_token_id=287,
            rope_parameters=longrope(12, 96),
        ),
        # Short throughout; crossing the original context while decoding; beyond it from the start.
        cases={"short": 20, "crossing": 70, "long": 110},
    ),
}


def randomize(model, generator):
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.data = 1 + 0.2 * torch.randn(parameter.shape, generator=generator)
        else:
            scale = 1.0 if "embed" in name else 1.6 / parameter.shape[1] ** 0.5
            if "embed" in name and model.config.tie_word_embeddings:
                scale = 3.0 / parameter.shape[1] ** 0.5
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def greedy(model, prompt, ends=()):
    """Each token from a fresh pass over all tokens so far, up to an end; with the smallest gap."""
    tokens, gap = list(prompt), float("inf")
    for _ in range(TOKENS):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
        best = logits.topk(2).values
        gap = min(gap, (best[0] - best[1]).item())
        token = int(logits.argmax())
        if token in ends:
            break
        tokens.append(token)
    return tokens[len(prompt) :], gap


def attempt(spec, seed):
    generator = torch.Generator().manual_seed(seed)
    config = Phi3Config(**spec["config"])
    model = Phi3ForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    randomize(model, generator)
    model.tie_weights()
    for parameter in model.parameters():  # not model.to(): that would round the rotary frequencies too
        parameter.data = parameter.data.to(spec["dtype"]).to(torch.float32)
    cases = {}
    for name, length in spec["cases"].items():
        prompt = torch.randint(2, config.vocab_size - 1, (length,), generator=generator).tolist()
        tokens, gap = greedy(model, prompt)
        if gap < GAP or len(set(tokens)) < VARIETY or config.eos_token_id in tokens:
            return None
        cases[name] = dict(prompt=prompt, tokens=tokens, gap=round(gap, 4))
    return model, cases


@torch.no_grad()
def main(out):
    for name, spec in MODELS.items():
        for seed in range(10000):
            if found := attempt(spec, seed):
                break
        model, cases = found
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for case, expected in cases.items():
            prompt = torch.tensor([expected["prompt"]])
            made = model.generate(prompt, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None)[0, prompt.shape[1] :]
            assert made.tolist() == expected["tokens"], "generate() and fresh passes differ"
            logits = model(prompt, use_cache=False).logits[0]
            (folder / f"{case}.logits").write_bytes(logits.numpy().astype("<f4").tobytes())
        (folder / "cases.json").write_text(json.dumps(cases) + "\n")
        model.to(spec["dtype"]).save_pretrained(folder)
        print(name, "seed", seed, {case: expected["gap"] for case, expected in cases.items()}, flush=True)


@torch.no_grad()
def demo(out, checkpoint):
    """The demo checkpoint's answers to the first of its own prompts of each kind, to their end."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = Phi3ForCausalLM.from_pretrained(checkpoint, attn_implementation="eager", dtype=torch.float32).eval()
    ends = model.generation_config.eos_token_id
    cases, kinds = {}, set()
    for example in json.loads((checkpoint / "prompts.json").read_text()):
        if example["task"] in kinds:
            continue
        kinds.add(example["task"])
        name = example["task"].replace(" ", "-")
        made = tokenizer.apply_chat_template(example["messages"], add_generation_prompt=True, return_dict=True)
        prompt = made["input_ids"]
        tokens, gap = greedy(model, prompt, ends)
        logits = model(torch.tensor([prompt]), use_cache=False).logits[0, -1]
        cases[name] = dict(
            prompt=prompt, tokens=tokens, gap=round(gap, 4), logits=[round(x, 5) for x in logits.tolist()]
        )
        print(name, gap, tokenizer.decode(tokens))
    sha256 = hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    (out / "demo").mkdir(parents=True, exist_ok=True)
    (out / "demo" / "cases.json").write_text(json.dumps(dict(sha256=sha256, cases=cases)) + "\n")


if len(sys.argv) > 2:
    demo(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
else:
    main(pathlib.Path(sys.argv[1]))
