// Phi-3 checkpoints of any size, made while they are served: no disk, no memory, the same bytes each time.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ROOT } from "./server.js";

/** Elements of the pattern that weights repeat: a prime, so that no two rows are alike. */
const PATTERN = 999_983;

/** bf16 weights, spread as a model's are, twice over: any span shorter than the pattern is one slice. */
function makePattern() {
  const bytes = new Uint8Array(PATTERN * 4);
  const view = new DataView(bytes.buffer);
  const float = new DataView(new ArrayBuffer(4));
  let state = 1;
  const uniform = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  for (let i = 0; i < PATTERN; i++) {
    float.setFloat32(0, (uniform() + uniform() + uniform() + uniform() - 2) * 0.04);
    view.setUint16(i * 2, float.getUint16(0), true);
  }
  bytes.copyWithin(PATTERN * 2, 0, PATTERN * 2);
  return bytes;
}

/** The tensors of a Phi3ForCausalLM in the order of its layers. */
function tensorsOf({ vocab, hidden, ffn, layers, heads, kvHeads }) {
  const qkv = ((heads + 2 * kvHeads) * hidden) / heads;
  const list = [["model.embed_tokens.weight", [vocab, hidden]]];
  for (let n = 0; n < layers; n++) {
    const layer = `model.layers.${n}`;
    list.push(
      [`${layer}.input_layernorm.weight`, [hidden]],
      [`${layer}.mlp.down_proj.weight`, [hidden, ffn]],
      [`${layer}.mlp.gate_up_proj.weight`, [2 * ffn, hidden]],
      [`${layer}.post_attention_layernorm.weight`, [hidden]],
      [`${layer}.self_attn.o_proj.weight`, [hidden, hidden]],
      [`${layer}.self_attn.qkv_proj.weight`, [qkv, hidden]],
    );
  }
  list.push(["model.norm.weight", [hidden]], ["lm_head.weight", [vocab, hidden]]);
  return list.map(([name, shape], i) => ({ name, shape, bytes: 2 * shape.reduce((a, b) => a * b), seed: i * 7919 }));
}

/** One safetensors file of these tensors, as the hub takes it. */
function shard(tensors, pattern) {
  const header = { __metadata__: { format: "pt" } };
  let end = 0;
  for (const { name, shape, bytes } of tensors) {
    header[name] = { dtype: "BF16", shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const text = Buffer.from(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8;
  const head = Buffer.alloc(8 + padded, 0x20);
  head.writeBigUInt64LE(BigInt(padded));
  text.copy(head, 8);
  const spans = tensors.map(({ name, seed }) => {
    const [start, end] = header[name].data_offsets;
    return { start: head.length + start, end: head.length + end, seed };
  });
  return {
    size: head.length + end,
    read(from, to) {
      const out = Buffer.alloc(to - from);
      if (from < head.length) head.copy(out, 0, from, Math.min(to, head.length));
      for (const { start, end, seed } of spans) {
        let at = Math.max(from, start);
        const stop = Math.min(to, end);
        while (at < stop) {
          const first = (at - start + 2 * seed) % (PATTERN * 2);
          const count = Math.min(stop - at, PATTERN * 4 - first);
          out.set(pattern.subarray(first, first + count), at - from);
          at += count;
        }
      }
      return out;
    },
  };
}

/**
 * @param {{ vocab: number, hidden: number, ffn: number, layers: number, heads: number, kvHeads: number }} shape
 * @param {number} shardBytes about the size of each file
 * @returns {Promise<{ files: Record<string, any>, bytes: number, tensors: number, shards: number }>} `files` for `hub.add`
 */
export async function syntheticPhi3(shape, shardBytes = Number.POSITIVE_INFINITY) {
  const demo = (name) => readFile(join(ROOT, "www/models/demo", name));
  const config = {
    ...JSON.parse(await demo("config.json")),
    vocab_size: shape.vocab,
    hidden_size: shape.hidden,
    intermediate_size: shape.ffn,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.kvHeads,
    tie_word_embeddings: false,
  };
  const tensors = tensorsOf(shape);
  const groups = [[]];
  let inGroup = 0;
  for (const tensor of tensors) {
    if (inGroup > 0 && inGroup + tensor.bytes > shardBytes) {
      groups.push([]);
      inGroup = 0;
    }
    groups.at(-1).push(tensor);
    inGroup += tensor.bytes;
  }
  const pattern = makePattern();
  const number = (n) => String(n).padStart(5, "0");
  const name = (i) =>
    groups.length === 1 ? "model.safetensors" : `model-${number(i + 1)}-of-${number(groups.length)}.safetensors`;
  const files = Object.fromEntries(groups.map((group, i) => [name(i), shard(group, pattern)]));
  const bytes = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  if (groups.length > 1) {
    const map = groups.flatMap((group, i) => group.map((tensor) => [tensor.name, name(i)]));
    files["model.safetensors.index.json"] = JSON.stringify({
      metadata: { total_size: bytes },
      weight_map: Object.fromEntries(map),
    });
  }
  files["config.json"] = JSON.stringify(config);
  for (const text of ["generation_config.json", "tokenizer.json", "tokenizer_config.json"])
    files[text] = await demo(text);
  return { files, bytes, tensors: tensors.length, shards: groups.length };
}
