"""Count the exact answers of a checkpoint folder on held-out prompts.

The folder is loaded by transformers in bfloat16 and answers greedily. An answer
counts when its text is exact and it is ended by <|end|>.
"""

import argparse
import json
from itertools import groupby
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from data import test_prompts

LONGEST = 64  # tokens; the longest right answer is shorter


def encode(tok, prompt):
    return tok.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)


@torch.no_grad()
def answers(model, tok, prompts):
    """Prompts of one length go together, so that none is padded."""
    encoded = [encode(tok, p) for p in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    end = tok.convert_tokens_to_ids("<|end|>")
    said = [""] * len(prompts)
    for length, group in groupby(order, key=lambda i: len(encoded[i])):
        group = list(group)
        ids = torch.tensor([encoded[i] for i in group])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=LONGEST)
        for i, row in zip(group, out[:, length:].tolist()):
            said[i] = tok.decode(row[: row.index(end)]) if end in row else None
    return said


def score(items, said):
    tasks = {}
    for (task, _, answer), text in zip(items, said):
        entry = tasks.setdefault(task, {"prompts": 0, "exact": 0})
        entry["prompts"] += 1
        entry["exact"] += text == answer
    total = {key: sum(t[key] for t in tasks.values()) for key in ("prompts", "exact")}
    for entry in [*tasks.values(), total]:
        entry["share"] = round(entry["exact"] / entry["prompts"], 4)
    return {"tasks": tasks, "total": total}


def examples(items, said, per_task):
    """Short held-out prompts that were answered exactly, per_task of each task."""
    chosen = {}
    for (task, messages, answer), text in zip(items, said):
        few = chosen.setdefault(task, [])
        if text == answer and len(few) < per_task and sum(len(m["content"]) for m in messages) < 240:
            few.append({"task": task, "messages": messages, "answer": answer})
    return [e for few in chosen.values() for e in few]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("folder")
    p.add_argument("--per-task", type=int, default=200)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--json", help="write the counts here")
    p.add_argument("--prompts", help="write some exactly answered prompts here")
    p.add_argument("--misses", type=int, default=0, help="show so many wrong answers per task")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    tok = AutoTokenizer.from_pretrained(args.folder)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.bfloat16).eval()
    room = model.config.max_position_embeddings - LONGEST
    items = test_prompts(args.per_task, lambda prompt: len(encode(tok, prompt)) <= room)
    said = answers(model, tok, [messages for _, messages, _ in items])
    result = score(items, said)
    print(json.dumps(result, indent=1))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    if args.prompts:
        Path(args.prompts).write_text(json.dumps(examples(items, said, 2), indent=1) + "\n")
    shown = {}
    for (task, messages, answer), text in zip(items, said):
        if text != answer and shown.setdefault(task, 0) < args.misses:
            shown[task] += 1
            print(f"{task}: {messages[-1]['content']!r}\n   right: {answer}\n   said:  {text}")


if __name__ == "__main__":
    main()
