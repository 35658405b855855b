"""Tiny random Phi checkpoints and what transformers computes with them: tests/fixtures/phi.

    python tools/phi_fixtures.py tests/fixtures/phi                      # mha, gqa, phi2, phimoe
    python tools/phi_fixtures.py tests/fixtures/phi phi2                 # one of them
    python tools/phi_fixtures.py tests/fixtures/phi www/models/demo      # demo: cases for the demo checkpoint alone

Made with torch 2.15.0 and transformers 5.23.0 on a CPU, in f32. Each folder is a checkpoint as save_pretrained writes it,
and cases.json beside it: prompts, 64 greedy tokens each, and the smallest gap between the two best logits on the way.
<case>.logits holds the logits at every position of the prompt, f32 little-endian, [positions, vocab].

Random models say the same token forever, or choose by a coin's toss. So seeds are tried until every case has a variety of
tokens and gaps that no rounding crosses; experts must be chosen as clearly.

transformers 5.23 never takes Phi-3.5-MoE's long factors (its rotary embedding does not hand on the length), although
Microsoft's own code, transformers before 5 and llama.cpp do: here it is handed on.
"""

import hashlib
import json
import pathlib
import sys

import torch
from transformers import (
    AutoTokenizer,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.phimoe import modeling_phimoe

TOKENS = 64
GAP = 0.02  # against 1e-3, which the tests allow
VARIETY = 24  # different tokens among the 64
CHOICE = 2e-4  # between an expert's score and what would change the choice or its weights


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
    # As Phi-2: attention and feed-forward side by side, biases everywhere, 0.4 of a head rotates; F16.
    "phi2": dict(
        classes=(PhiConfig, PhiForCausalLM),
        dtype=torch.float16,
        config=dict(
            vocab_size=304, hidden_size=40, intermediate_size=160, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=128, layer_norm_eps=1e-5, hidden_act="gelu_new", tie_word_embeddings=False,
            bos_token_id=303, eos_token_id=303, pad_token_id=None,
            rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.4),
        ),
        cases={"short": 18},
    ),
    # As Phi-3.5-MoE: two of sixteen experts, two heads share keys, LongRoPE with its own scales, biases; BF16.
    "phimoe": dict(
        classes=(PhimoeConfig, PhimoeForCausalLM),
        dtype=torch.bfloat16,
        config=dict(
            vocab_size=280, hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=192, original_max_position_embeddings=24,
            sliding_window=None, tie_word_embeddings=False, rms_norm_eps=1e-5, attention_bias=True, lm_head_bias=True,
            bos_token_id=1, eos_token_id=279, pad_token_id=279,
            rope_parameters=dict(
                rope_type="longrope", rope_theta=10000.0, original_max_position_embeddings=24,
                short_factor=[1.0, 1.1, 1.3, 1.6], long_factor=[1.2, 2.0, 3.0, 4.5], short_mscale=1.1, long_mscale=1.25,
            ),
        ),
        cases={"crossing": 10, "long": 30},
    ),
}


class Router:
    """transformers' sparsemixer, and how clear its choices were."""

    sparsemixer = staticmethod(modeling_phimoe.sparsemixer)
    margin = float("inf")

    @classmethod
    def note(cls, scores, jitter_eps, training, top_k=2):
        best = scores.topk(3).values
        for rest in (scores, scores.scatter(-1, scores.argmax(-1, keepdim=True), -torch.inf)):
            most = rest.max(-1, keepdim=True).values
            distance = (most - rest) / scores.abs().clamp(min=most) - 2 * jitter_eps
            cls.margin = min(cls.margin, distance.abs().min().item())
        cls.margin = min(cls.margin, (best[..., :-1] - best[..., 1:]).min().item())
        return cls.sparsemixer(scores, jitter_eps, training, top_k)


def hand_on_length(model):
    """Lets Phi-3.5-MoE's rotary embedding choose LongRoPE's factors by the length."""
    rotary = model.model.rotary_emb
    forward = rotary.forward

    def with_length(x, position_ids=None):
        length = int(position_ids.max()) + 1
        rotary.rope_init_fn = lambda config: ROPE_INIT_FUNCTIONS["longrope"](config, seq_len=length)
        return forward(x, position_ids)

    rotary.forward = with_length


def randomize(model, generator):
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
        elif parameter.dim() == 1:
            parameter.data = 1 + 0.2 * torch.randn(parameter.shape, generator=generator)
        else:
            scale = 1.0 if "embed" in name else 1.6 / parameter.shape[-1] ** 0.5
            if "embed" in name and model.config.tie_word_embeddings:
                scale = 3.0 / parameter.shape[-1] ** 0.5
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def greedy(model, prompt, ends=()):
    """Each token from a fresh pass over all tokens so far, up to an end; with the smallest gap."""
    tokens, gap = list(prompt), float("inf")
    for _ in range(TOKENS):
        logits = model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
        best = logits.topk(2).values
        gap = min(gap, (best[0] - best[1]).item())
        if gap < GAP and not ends or Router.margin < CHOICE:
            break  # this seed will not do
        token = int(logits.argmax())
        if token in ends:
            break
        tokens.append(token)
    return tokens[len(prompt) :], gap


def attempt(spec, seed):
    generator = torch.Generator().manual_seed(seed)
    config_class, model_class = spec.get("classes", (Phi3Config, Phi3ForCausalLM))
    config = config_class(**spec["config"])
    model = model_class._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    Router.margin = float("inf")
    if model_class is PhimoeForCausalLM:
        hand_on_length(model)
        modeling_phimoe.sparsemixer = Router.note
    randomize(model, generator)
    model.tie_weights()
    for parameter in model.parameters():  # not model.to(): that would round the rotary frequencies too
        parameter.data = parameter.data.to(spec["dtype"]).to(torch.float32)
    cases = {}
    for name, length in spec["cases"].items():
        prompt = torch.randint(2, config.vocab_size - 1, (length,), generator=generator).tolist()
        tokens, gap = greedy(model, prompt)
        if gap < GAP or len(set(tokens)) < VARIETY or config.eos_token_id in tokens or Router.margin < CHOICE:
            return None
        cases[name] = dict(prompt=prompt, tokens=tokens, gap=round(gap, 4))
    return model, cases


@torch.no_grad()
def main(out, names):
    for name, spec in MODELS.items():
        if names and name not in names:
            continue
        for seed in range(10000):
            if found := attempt(spec, seed):
                break
        model, cases = found
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for case, expected in cases.items():
            prompt = torch.tensor([expected["prompt"]])
            if name != "phimoe":  # its cache outlives the switch
                made = model.generate(prompt, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None)
                assert made[0, prompt.shape[1] :].tolist() == expected["tokens"], "generate() and fresh passes differ"
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


if len(sys.argv) > 2 and pathlib.Path(sys.argv[2]).is_dir():
    demo(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
else:
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
