// Prefill and decode of the same files: phiquant and wllama in Chromium, phiquant and llama.cpp natively, in turn.

import { existsSync } from "node:fs";
import { fixed, median, openPage, ratios, say, table } from "./tools.js";

const PROMPT = 128;
const TOKENS = 48;
const CONTEXT = 512;
const ROUNDS = 3;

const FILES = ["small-Q4_0", "small-Q8_0", "small-Q4_K_M", "medium-Q4_0", "medium-Q8_0", "medium-Q4_K_M", "demo"];

export async function decode({ server, llama, native, folder }) {
  const rows = [];
  for (const name of FILES.filter((name) => existsSync(`${folder}/${name}.gguf`))) {
    const url = `/models/bench/${name}.gguf`;
    const [ours, theirs] = [await openPage(server), await openPage(server)];
    await ours.call("load", { url, backend: "simd", context: CONTEXT });
    await theirs.call("loadWllama", { url, context: CONTEXT });
    const all = { ours: [], wllama: [], llama: [] };
    // The first round warms all of them up.
    for (let round = 0; round <= ROUNDS; round++) {
      const task = { round, tokens: PROMPT, count: TOKENS };
      const one = await ours.call("run", task);
      const peer = await llama?.call("run", {
        model: `${name}.gguf`,
        threads: 1,
        prompt: PROMPT,
        tokens: TOKENS,
        round,
      });
      const two = await theirs.call("runWllama", task);
      if (round === 0) continue;
      all.ours.push(one);
      all.wllama.push(two);
      if (peer) all.llama.push(peer);
    }
    await ours.close();
    await theirs.close();
    const [size, key] = name.includes("-") ? name.split("-") : ["", name];
    const plain = size === "medium" ? null : native?.models.find(({ model }) => model === key);
    for (const phase of ["prefill", "decode"]) {
      const values = (who) => all[who].map((it) => it[phase]);
      const middle = (who) => (all[who].length ? fixed(median(values(who)), phase === "decode" ? 1 : 0) : "–");
      const against = (who) => (all[who].length ? ratios(values("ours").map((it, i) => [it, values(who)[i]])) : "–");
      const row = [name, phase, middle("ours"), middle("wllama"), against("wllama"), middle("llama"), against("llama")];
      row.push(fixed(plain?.[`${phase}TokensPerSecond`]));
      say(row.join("  "));
      rows.push(row);
    }
  }
  const gpu = await openPage(server, "webgpu");
  await gpu.call("load", { url: "/models/bench/demo.gguf", backend: "webgpu", context: CONTEXT });
  await gpu.call("run", { round: 0, tokens: PROMPT, count: TOKENS });
  const onGpu = await gpu.call("run", { round: 1, tokens: PROMPT, count: TOKENS });
  await gpu.close();
  const page = await openPage(server);
  const first = await page.call("firstToken", { url: "/models/demo/" });
  await page.close();
  return [
    "## Prefill and decode: tokens per second",
    "",
    `The same GGUF file, greedy, one thread each, ${PROMPT} tokens in and ${TOKENS} out, in turn; wllama 3.8.1 in the same Chromium. ${ROUNDS}`,
    "rounds; ratios of phiquant in Chromium: the median (least–largest).",
    "",
    ...table(["model", "phase", "phiquant", "wllama", "ratio", "llama.cpp native", "ratio", "phiquant native"], rows),
    `Demo on WebGPU¹: ${fixed(onGpu.prefill)} / ${fixed(onGpu.decode, 1)}. First token of the demo after a warm load: ` +
      `${fixed(first.seconds, 2)} s (${fixed(first.load, 2)} s of it loading).`,
    "",
    "S (small) is a random Phi-3: hidden 512, ffn 2048, 8 layers, 8 heads, vocabulary 32064; 66 million parameters. M (medium): hidden",
    "1536, ffn 4096, 16 layers, 16 heads; 552 million.",
    "",
  ];
}
