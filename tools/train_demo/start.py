"""Weights to begin with: random, but for two layers that already look up and copy.

    python start.py --tokenizer ../../www/models/demo/tokenizer.json work/start.pt

Copying "The cup is -> red" from an earlier "The cup is red" takes two layers of
attention (Olsson et al., In-context Learning and Induction Heads, 2022): one
that tells each token which tokens stand before it, one that finds the place
where the same tokens stood before. Training from random weights needs far more
chats to find this pair than to use it, so both layers begin as a solution:

- the first layer has heads that look 0 to 4 tokens back (rotary positions make
  that a matter of a constant query and key) and add a code of what they see;
- the last layer has heads whose query is the code of the latest four tokens,
  whose key is the code of the four tokens before, and whose value points to the
  token's own row of the output matrix; these are fitted by least squares to the
  states that the model has on chats.

Training is free to change all of it.
"""
import argparse

import torch
from tokenizers import Tokenizer
from transformers import Phi3ForCausalLM

from data import COLOURS, DAYS, FOODS, JOBS, NAMES, OBJECTS, PET_NAMES, PETS, PLACES
from make_tokenizer import make_tokenizer
from model import make_config
from train import Packer, attention_mask

HEAD, GROUPS, HEADS = 32, 4, 8
CODE, BACK, SLOW = 16, 4, 16  # width of a code, tokens looked back, slow dimensions of a head
PAIRS = HEAD // 2


def least_squares(x, y, strength=1e-9):
    """The matrix m with y ~ x @ m.T."""
    x, y = x.double(), y.double()
    gram = x.T @ x
    gram += strength * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, x.T @ y).T.float()


def normed(x, eps=1e-5):
    return x * (x.pow(2).mean(-1, keepdim=True) + eps).rsqrt()


def blank(state, layer):
    """An attention and a feed-forward part that add nothing yet but can learn."""
    pre = f"model.layers.{layer}."
    hidden = state["model.embed_tokens.weight"].shape[1]
    inner = state["model.layers.1.mlp.down_proj.weight"].shape[1]
    state[pre + "input_layernorm.weight"] = torch.ones(hidden)
    state[pre + "post_attention_layernorm.weight"] = torch.ones(hidden)
    state[pre + "self_attn.qkv_proj.weight"] = 0.02 * torch.randn((HEADS + 2 * GROUPS) * HEAD, hidden)
    state[pre + "self_attn.o_proj.weight"] = torch.zeros(hidden, HEADS * HEAD)
    state[pre + "mlp.gate_up_proj.weight"] = 0.02 * torch.randn(2 * inner, hidden)
    state[pre + "mlp.down_proj.weight"] = torch.zeros(hidden, inner)
    qkv = state[pre + "self_attn.qkv_proj.weight"]
    q, k, v = qkv.split([HEADS * HEAD, GROUPS * HEAD, GROUPS * HEAD])
    return q.view(HEADS, HEAD, -1), k.view(GROUPS, HEAD, -1), v.view(GROUPS, HEAD, -1), state[pre + "self_attn.o_proj.weight"]


def quiet(state, read):
    """Directions of the hidden space, those first that the embeddings and what the last layer reads use least."""
    both = sum(x.T @ x / x.pow(2).sum() for x in (state["model.embed_tokens.weight"], read))
    return torch.linalg.eigh(both)[1].T


def look_back(state, words, free, amount, sharp):
    """Fill layer 0; returns the code of every token of the vocabulary."""
    embedded = state["model.embed_tokens.weight"]
    size = embedded[words].norm(dim=-1).mean()
    one = free[0]  # a constant in every embedding; the last head takes it away again
    embedded -= (embedded @ one)[:, None] * one - size * one
    x = normed(embedded)
    level = (x @ one).median()
    mean = x[words].mean(0)
    _, sizes, axes = torch.linalg.svd(x[words] - mean, full_matrices=False)
    keep = min(64, len(words) - 1)
    codes = []
    for width in (CODE, HEAD):
        mix, _ = torch.linalg.qr(torch.randn(keep, width))
        code = mix.T @ (axes[:keep] / sizes[:keep, None]) * (len(words) / width) ** 0.5
        codes.append(code - (code @ mean)[:, None] * one / (mean @ one))  # the mean has the code 0
    code, wide_code = codes
    q, k, v, o = blank(state, 0)
    theta = 10000.0 ** (-torch.arange(PAIRS) / PAIRS)
    fast = torch.where(torch.arange(PAIRS) < 6, sharp**0.5 / level, 0.0)
    for group in range(3):
        k[group, :PAIRS], k[group, PAIRS:] = fast[:, None] * one, 0
        v[group, :CODE], v[group, CODE:] = code, 0
    v[2, CODE] = one / level
    v[3] = wide_code
    for back in range(BACK + 1):
        head = back  # heads 0 to 4 look 0 to 4 tokens back
        q[head, :PAIRS] = (fast * (back * theta).cos())[:, None] * one
        q[head, PAIRS:] = -(fast * (back * theta).sin())[:, None] * one
        basis = free[1 + back * CODE:1 + (back + 1) * CODE].T
        o[:, head * HEAD:head * HEAD + CODE] = amount * size * basis
    o[:, 4 * HEAD + CODE] = -size * one
    q[6] = q[0]
    used = 1 + (BACK + 1) * CODE
    o[:, 6 * HEAD:7 * HEAD] = amount * size * free[used:used + HEAD].T
    return x @ code.T


def states(state, config, batches):
    """What the last layer's attention reads, for chats."""
    model = Phi3ForCausalLM(config).eval()
    model.load_state_dict(state)
    model.set_attn_implementation("sdpa")
    read = []
    model.model.layers[-1].input_layernorm.register_forward_hook(lambda m, i, out: read.append(out))
    with torch.no_grad():
        for tokens, place, doc, _, _ in batches:
            model.model(input_ids=tokens, position_ids=place, use_cache=False, attention_mask=attention_mask(doc, torch.float32))
    return torch.cat(read)


def before(codes, place, back):
    """Codes of the token `back` earlier in the same chat (zero: none)."""
    moved = torch.roll(codes, back, dims=1)
    return torch.where((place >= back)[..., None], moved, 0.0)


def find_and_copy(state, config, batches, codes, strength, boost):
    """Fill the last layer, of which q, k, v and o are fitted to states."""
    last = config.num_hidden_layers - 1
    q, k, v, o = blank(state, last)
    read = states(state, config, batches)
    tokens, place, doc = (torch.cat([b[i] for b in batches]) for i in range(3))
    used = doc > 0
    x = read[used]
    seen = [before(codes[tokens], place, back)[used] for back in range(BACK + 1)]
    head = state["lm_head.weight"] * state["model.norm.weight"]
    values = torch.bincount(tokens[used], minlength=len(head)).float()
    rows = head - head.mean(0)
    rows = rows / rows.norm(dim=-1, keepdim=True)
    rows[values == 0] = 0
    wide = 2 * HEAD
    weight = (values > 0).float()[:, None]
    left, size, right = torch.linalg.svd(rows * weight, full_matrices=False)
    wanted_v = (left[:, :wide] * size[:wide])[tokens[used]]
    what = least_squares(x, wanted_v)
    slow = torch.cat([torch.arange(PAIRS - SLOW // 2, PAIRS), torch.arange(HEAD - SLOW // 2, HEAD)])
    for group in range(2):
        spread = [torch.linalg.qr(torch.randn(CODE, SLOW))[0] * (CODE / SLOW) ** 0.5 for _ in range(BACK)]
        wanted_q = sum(seen[i] @ spread[i] for i in range(BACK))
        wanted_k = sum(seen[i + 1] @ spread[i] for i in range(BACK))
        mq, mk = least_squares(x, wanted_q), least_squares(x, wanted_k)
        scale = (strength * HEAD**0.5) ** 0.5
        k[group] = 0
        k[group, slow] = scale * mk
        for h in (2 * group, 2 * group + 1):
            q[h] = 0
            q[h, slow] = scale * mq
            o[:, h * HEAD:(h + 1) * HEAD] = boost / 2 * right[group * HEAD:(group + 1) * HEAD].T
        v[group] = what[group * HEAD:(group + 1) * HEAD]


def random_state(config):
    """Embeddings of size 1 in every direction, so that later layers still see the token; parts that add nothing yet."""
    model = Phi3ForCausalLM(config)
    state = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
    for name, weight in state.items():
        if "norm" in name:
            weight.fill_(1)
        elif "embed" in name:
            weight.normal_(0, 1)
        elif name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
        else:
            weight.normal_(0, 0.06)
    return state


def start(tok, args):
    torch.manual_seed(args.seed)
    config = make_config(tok)
    state = random_state(config)
    data = Packer(tok, "train", 99)
    batches = [data.batch(8) for _ in range(args.batches)]
    lists = NAMES + OBJECTS + COLOURS + DAYS + FOODS + JOBS + PETS + PET_NAMES + [p.split()[-1] for p in PLACES]
    words = sorted({i for w in lists for i in tok.encode(" " + w).ids} | {i for w in NAMES for i in tok.encode(w).ids})
    for layer in (0, config.num_hidden_layers - 1):
        blank(state, layer)
    read = states(state, config, batches)[torch.cat([b[2] for b in batches]) > 0]
    codes = look_back(state, torch.tensor(words), quiet(state, read), args.amount, args.sharp)
    find_and_copy(state, config, batches, codes, args.strength, args.boost)
    return {"state": state, "tokenizer": tok.to_str()}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out", help="for train.py --start")
    p.add_argument("--tokenizer", help="a tokenizer.json; without it one is learnt on chats")
    p.add_argument("--seed", type=int, default=3)
    p.add_argument("--batches", type=int, default=6, help="of chats that the copying layer is fitted to")
    p.add_argument("--amount", type=float, default=0.3, help="size of a code beside the embedding's")
    p.add_argument("--sharp", type=float, default=90.0, help="of looking back: scores of one token beside the next")
    p.add_argument("--strength", type=float, default=6.0, help="of finding: score of a full match")
    p.add_argument("--boost", type=float, default=30.0, help="weight of what is copied")
    args = p.parse_args()
    tok = Tokenizer.from_file(args.tokenizer) if args.tokenizer else make_tokenizer()
    torch.save(start(tok, args), args.out)


if __name__ == "__main__":
    main()
