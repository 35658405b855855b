"""Train the demo on chats that data.py invents while training goes on.

Several processes of one thread share a batch on a CPU: on a busy machine they
wait for each other once a step, threads would do so in every operation.

The weights are float32; the matrix products run in bfloat16. The learning rate
follows the clock, so the run ends decayed after --minutes on any machine.
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import Phi3ForCausalLM

from data import make_chat, messages
from make_tokenizer import make_tokenizer
from model import CONTEXT, export, make_config

# ------------------------------------------------------------------- batches


def encode_chat(tok, ids, turns):
    """Token ids, and for each the number of the assistant turn that it answers
    (0: not part of an answer). An answer includes its <|end|>."""
    text = "".join(f"<|{m['role']}|>\n{m['content']}<|end|>\n" for m in messages(turns))
    tokens = tok.encode(text).ids
    marks, answer, inside, i = [], 0, False, 0
    while i < len(tokens):
        if tokens[i] == ids["assistant"]:
            answer, inside = answer + 1, True
            marks += [0, 0]  # the role token and its newline
            i += 2
            continue
        marks.append(answer if inside else 0)
        inside = inside and tokens[i] != ids["end"]
        i += 1
    return tokens, marks


class Packer:
    """Fills rows of CONTEXT tokens with whole chats, so that little is padding."""

    def __init__(self, tok, split, seed, mix=None):
        self.tok, self.split, self.mix = tok, split, mix
        self.rng = random.Random(seed)
        self.ids = {k: tok.token_to_id(f"<|{k}|>") for k in ("assistant", "end", "endoftext")}
        self.pool = []

    def refill(self, size=256):
        while len(self.pool) < size:
            turns = make_chat(self.rng, self.split, self.mix)
            tokens, marks = encode_chat(self.tok, self.ids, turns)
            if len(tokens) <= CONTEXT:
                tasks = [t.task for t in turns if t.role == "assistant"]
                self.pool.append((tokens, marks, tasks))

    def row(self):
        """Chats in the order of the pool, skipping those that no longer fit."""
        self.refill()
        room, row, rest = CONTEXT, [], []
        for chat in self.pool:
            if len(chat[0]) <= room:
                row.append(chat)
                room -= len(chat[0])
            else:
                rest.append(chat)
        self.pool = rest
        return row

    def batch(self, rows):
        """Tensors of rows x CONTEXT, and the task of every answer.

        doc numbers the chats of a row (0: padding), answer the answers of the
        batch (0: none)."""
        shape = (rows, CONTEXT)
        tokens = torch.full(shape, self.ids["endoftext"])
        place, doc, answer = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        tasks = [""]
        for r in range(rows):
            at = 0
            for d, (ids, marks, names) in enumerate(self.row(), 1):
                end = at + len(ids)
                tokens[r, at:end] = torch.tensor(ids)
                place[r, at:end] = torch.arange(len(ids))
                doc[r, at:end] = d
                answer[r, at:end] = torch.tensor([m and m + len(tasks) - 1 for m in marks])
                tasks += names
                at = end
        return tokens, place, doc, answer, tasks


def told_twice(rng, ids):
    """Random token ids told twice, and which of the second telling count as an
    answer. Either one run in which a few ids recur, or "facts" of one form (all
    ids but a key and its value are common to them), shuffled the second time;
    there the ids after the key can be known."""
    if rng.random() < 0.5:
        half = rng.randint(12, 40)
        glue = rng.sample(ids, 3)
        run = [rng.choice(glue) if rng.random() < 0.3 else i for i in rng.sample(ids, half)]
        return run * 2, [0] * (half + 2) + [1] * (half - 2)
    n, before, middle, length = rng.randint(2, 5), rng.randint(0, 2), rng.randint(0, 3), rng.randint(1, 2)
    glue, after = rng.sample(ids, before + middle), rng.sample(ids, 1)
    own = rng.sample(ids, n * (1 + length))
    facts = [
        glue[:before] + own[i:i + 1] + glue[before:] + own[i + 1:i + 1 + length] + after
        for i in range(0, len(own), 1 + length)
    ]
    again = rng.sample(facts, n)
    known = [0] * (before + 1) + [1] * (middle + length + 1)
    return sum(facts + again, []), [0] * (n * len(known)) + known * n


def copies(rng, rows, ids):
    """A batch like Packer's of random tokens told twice: copying is all that
    can be learnt from it."""
    shape = (rows, CONTEXT)
    tokens = torch.full(shape, ids[0])
    place, doc, answer = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for r in range(rows):
        at = d = 0
        while True:
            run, known = told_twice(rng, ids)
            end, d = at + len(run), d + 1
            if end > CONTEXT:
                break
            tokens[r, at:end] = torch.tensor(run)
            place[r, at:end] = torch.arange(len(run))
            doc[r, at:end] = d
            answer[r, at:end] = torch.tensor(known)
            at = end
    return tokens, place, doc, answer


def attention_mask(doc, dtype):
    """Additive mask: a token sees itself and the earlier tokens of its own chat."""
    see = (doc[:, :, None] == doc[:, None, :]) & torch.ones(CONTEXT, CONTEXT, dtype=torch.bool, device=doc.device).tril()
    return torch.zeros(see.shape, dtype=dtype, device=doc.device).masked_fill_(~see, -1e9)[:, None]


# ----------------------------------------------------------------- optimizer


def orthogonal(g, steps=5):
    """The nearest (nearly) orthogonal matrix, by Newton and Schulz's iteration."""
    x = g.bfloat16()
    flip = x.shape[-2] > x.shape[-1]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
    return (x.mT if flip else x).float()


class Muon:
    """Momentum whose step is made orthogonal; for the matrices of the layers.

    Phi-3 stores query, key and value (and gate and up) as one matrix; each part
    is made orthogonal by itself."""

    def __init__(self, named, parts, momentum=0.95, decay=0.01):
        self.items = [(p, parts(name, p), torch.zeros_like(p)) for name, p in named]
        self.momentum, self.decay = momentum, decay

    @torch.no_grad()
    def step(self, lr):
        """Each process makes the steps of some of the matrices."""
        rank, procs = dist.get_rank(), dist.get_world_size()
        for p, sizes, m in self.items[rank::procs]:
            m.lerp_(p.grad, 1 - self.momentum)
            g = p.grad.lerp(m, self.momentum)
            p.mul_(1 - lr * self.decay)
            for rows, part in zip(p.split(sizes), g.split(sizes)):
                scale = max(1, part.shape[0] / part.shape[1]) ** 0.5
                rows.add_(orthogonal(part), alpha=-lr * scale)
        for i, (p, _, _) in enumerate(self.items):
            p.grad = None
            if procs > 1:
                dist.broadcast(p.data, i % procs)


def fused_parts(config):
    head = config.hidden_size // config.num_attention_heads
    kv = head * config.num_key_value_heads

    def parts(name, p):
        if "qkv_proj" in name:
            return [p.shape[0] - 2 * kv, kv, kv]
        if "gate_up_proj" in name:
            return [p.shape[0] // 2] * 2
        return [p.shape[0]]
    return parts


def optimizers(model):
    matrices = [(n, p) for n, p in model.named_parameters() if "layers" in n and p.ndim == 2]
    chosen = {id(p) for _, p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=0.0, betas=(0.9, 0.95), weight_decay=0.0)
    return Muon(matrices, fused_parts(model.config)), adam


def rate(done):
    """Share of the full learning rate: short warm-up, level, then down to zero."""
    return max(0.01, min(1.0, done / 0.01, (1 - done) / 0.8))


# ------------------------------------------------------------------ training


class Trainer:
    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)  # all processes begin with the same weights
        start = torch.load(args.start) if args.start else None
        self.tok = Tokenizer.from_str(start["tokenizer"]) if start else make_tokenizer()
        self.model = Phi3ForCausalLM(make_config(self.tok)).to(args.device)
        self.model.set_attn_implementation("sdpa")
        if start:
            self.model.load_state_dict(start["state"])
        self.body = torch.compile(self.model.model) if args.compile else self.model.model
        self.muon, self.adam = optimizers(self.model)
        self.train_data = Packer(self.tok, "train", 1000 * args.seed + dist.get_rank(), args.mix)
        test = Packer(self.tok, "test", 5)
        self.test_batches = [test.batch(args.rows) for _ in range(args.test_batches)]
        special = set(self.tok.get_added_tokens_decoder())
        self.ordinary = [i for i in range(self.tok.get_vocab_size()) if i not in special]
        self.best = -1.0

    def logits(self, batch):
        """Logits where the next token is part of a chat, that token, and the
        number of its answer (0: none)."""
        tokens, place, doc, answer = (t.to(self.args.device) for t in batch[:4])
        with torch.autocast(self.args.device, dtype=torch.bfloat16):
            hidden = self.body(
                input_ids=tokens, position_ids=place, use_cache=False,
                attention_mask=attention_mask(doc, torch.bfloat16),
            ).last_hidden_state
            wanted = doc[:, 1:] > 0
            out = self.model.lm_head(hidden[:, :-1][wanted])
        return out.float(), tokens[:, 1:][wanted], answer[:, 1:][wanted]

    def loss(self, batch, context):
        """Mean loss, in which a token outside of answers weighs `context`."""
        out, target, answer = self.logits(batch)
        weight = torch.where(answer > 0, 1.0, context)
        return (F.cross_entropy(out, target, reduction="none") * weight).sum() / weight.sum()

    def warm_up(self):
        """Compile, outside of the time that --minutes counts."""
        self.loss(self.train_data.batch(self.args.rows), 1.0).backward()
        self.model.zero_grad(set_to_none=True)

    def next_batch(self, steps):
        """While warming up, half of the rows are copies, without context loss."""
        rows = self.args.rows
        if steps >= self.args.warm_up_copies:
            return self.train_data.batch(rows), self.args.context_loss
        chats = self.train_data.batch(rows - rows // 2)
        both = zip(chats, copies(self.train_data.rng, rows // 2, self.ordinary))
        return [torch.cat(pair) for pair in both], 0.0

    def step(self, done, steps):
        if done > 2 / 3 and self.args.late_mix:
            self.train_data.mix = self.args.late_mix
        batch, context = self.next_batch(steps)
        loss = self.loss(batch, context)
        loss.backward()
        self.average_gradients()
        self.muon.step(self.args.lr * rate(done))
        for group in self.adam.param_groups:
            group["lr"] = self.args.adam_lr * rate(done)
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        return loss.item(), int((batch[2] > 0).sum())

    def average_gradients(self):
        procs = dist.get_world_size()
        if procs > 1:
            grads = [p.grad for p in self.model.parameters()]
            flat = torch.cat([g.flatten() for g in grads]).div_(procs)
            dist.all_reduce(flat)
            for g, mean in zip(grads, flat.split([g.numel() for g in grads])):
                g.copy_(mean.view_as(g))

    def test(self):
        """Share of exact answers per task. Greedy decoding writes an answer
        exactly when each of its tokens is the likeliest after the right ones.

        Gradients stay on: without them torch.compile would compile once more."""
        right, count = {}, {}
        for batch in self.test_batches:
            out, target, answer = self.logits(batch)
            wrong = set(answer[out.argmax(-1) != target].tolist())
            for i, task in enumerate(batch[4]):
                if task:
                    count[task] = count.get(task, 0) + 1
                    right[task] = right.get(task, 0) + (i not in wrong)
        return {task: right[task] / count[task] for task in sorted(count)}

    def snapshot(self, scores, line):
        mean = sum(scores.values()) / len(scores)
        state = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        if mean >= self.best:
            self.best = mean
            torch.save({"state": state, "tokenizer": self.tok.to_str(), "log": line}, Path(self.args.work) / "best.pt")
        with open(Path(self.args.work) / "log.jsonl", "a") as f:
            f.write(json.dumps(line) + "\n")

    def report(self, minutes, steps, seen, loss):
        scores = self.test()
        line = {"minutes": round(minutes, 1), "steps": steps, "tokens": seen, "loss": round(loss, 4),
                "scores": {k: round(v, 3) for k, v in scores.items()}}
        print(json.dumps(line), flush=True)
        self.snapshot(scores, line)

    def run(self):
        first, procs = dist.get_rank() == 0, dist.get_world_size()
        start = last_test = time.time()
        seen, steps, losses = 0, 0, []
        while True:
            clock = torch.tensor([(time.time() - start) / 60])
            dist.broadcast(clock, 0)  # one clock for all
            minutes = clock.item()
            done = minutes / self.args.minutes
            if first and losses and (done >= 1 or time.time() - last_test > 60 * self.args.test_minutes):
                self.report(minutes, steps, seen, sum(losses) / len(losses))
                losses, last_test = [], time.time()
            if done >= 1:
                break
            loss, tokens = self.step(done, steps)
            seen, steps, losses = seen + procs * tokens, steps + 1, losses + [loss]
        if first:
            best = torch.load(Path(self.args.work) / "best.pt")
            export(best["state"], self.tok, self.args.out)


def worker(rank, args):
    torch.set_num_threads(args.threads)
    dist.init_process_group("gloo", init_method=f"file://{Path(args.work).resolve()}/meet", rank=rank, world_size=args.procs)
    trainer = Trainer(args)
    if rank:
        dist.barrier()  # the first process compiles, the others find that in the cache
    trainer.warm_up()
    if not rank:
        dist.barrier()
    trainer.run()
    dist.destroy_process_group()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--procs", type=int, default=2)
    p.add_argument("--threads", type=int, default=1, help="of each process")
    p.add_argument("--rows", type=int, default=4, help="of each process")
    p.add_argument("--lr", type=float, default=0.02)
    p.add_argument("--adam-lr", type=float, default=0.003)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--test-minutes", type=float, default=2)
    p.add_argument("--test-batches", type=int, default=4)
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--start", help="a snapshot to go on from")
    p.add_argument("--mix", type=json.loads, help='shares of the subjects, as {"facts": 0.7, "sum": 0.3}')
    p.add_argument("--late-mix", type=json.loads, help="the shares of the last third")
    p.add_argument("--context-loss", type=float, default=0.2, help="weight of a token outside of answers")
    p.add_argument("--warm-up-copies", type=int, default=200, help="steps with copies of random tokens in half of the rows")
    p.add_argument("--work", default="work", help="snapshots and log")
    p.add_argument("--out", default="work/demo", help="the checkpoint folder")
    args = p.parse_args()
    Path(args.work).mkdir(parents=True, exist_ok=True)
    (Path(args.work) / "meet").unlink(missing_ok=True)
    torch.multiprocessing.spawn(worker, (args,), nprocs=args.procs)


if __name__ == "__main__":
    main()
