// The proof that the files are what people run: a GGUF made in this Chromium is loaded there by llama.cpp itself
// (@wllama/wllama) and answers with the same greedy text as in our engine.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { json, start } from "./api.js";

/** Tokens of an answer: beyond the answers' lengths. */
const MAX_TOKENS = 48;

let t;
let prompts;
before(async () => {
  t = await start("no-webgpu");
  const all = await json("www/models/demo/prompts.json");
  // One of each kind, as the chat template writes it.
  const kinds = new Map(all.map((prompt) => [prompt.task, prompt]));
  const text = ({ messages }) =>
    `${messages.map(({ role, content }) => `<|${role}|>\n${content}<|end|>\n`).join("")}<|assistant|>\n`;
  prompts = [...new Set([...kinds.values(), ...all])].slice(0, Math.max(5, kinds.size)).map(text);
  assert.ok(prompts.length >= 5);
});
after(() => t?.close());

for (const scheme of ["F32", "F16", "Q8_0", "Q4_0"]) {
  test(`llama.cpp answers from a ${scheme} file as we do`, async (context) => {
    const { ours, theirs, speed } = await t.run(
      async ({ scheme, prompts, maxTokens }) => {
        const { openCheckpoint, loadModel, collect } = await import("/tests/in-page.js");
        const { Wllama, LoggerWithoutDebug } = await import("/wllama/esm/index.js");
        const checkpoint = await openCheckpoint("/models/demo/");
        const result = await checkpoint.quantize({ scheme, backend: "simd", sink: "memory" });
        checkpoint.close();
        const blob = await result.blob(result.files[0].name);

        const model = await loadModel(result, { backend: "simd" });
        const ours = [];
        for (const prompt of prompts) {
          const { text, tokens, usage } = await collect(model, prompt, { maxTokens, temperature: 0 });
          ours.push({ text, tokens: tokens.length, prompt: usage.promptTokens });
        }
        const speed = model.usage.decodeTokensPerSecond;
        await model.close();

        const wllama = new Wllama(
          { default: "/wllama/esm/wasm/wllama.wasm" },
          { suppressNativeLog: true, logger: LoggerWithoutDebug },
        );
        await wllama.loadModel([blob], { n_ctx: 512, n_threads: 1, n_gpu_layers: 0, warmup: false });
        const theirs = [];
        for (const prompt of prompts) {
          const made = await wllama.createCompletion({
            prompt,
            max_tokens: maxTokens,
            temperature: 0,
            top_k: 1,
            cache_prompt: false,
          });
          const [{ text, finish_reason: finish }] = made.choices;
          // llama.cpp counts the token that ends the answer.
          theirs.push({
            text,
            tokens: made.usage.completion_tokens - (finish === "stop" ? 1 : 0),
            prompt: made.usage.prompt_tokens,
          });
        }
        await wllama.exit();
        return { ours, theirs, speed };
      },
      { scheme, prompts, maxTokens: MAX_TOKENS },
    );
    assert.ok(ours.every(({ text }) => text.length > 0));
    assert.deepEqual(ours, theirs);
    context.diagnostic(`${prompts.length} prompts, ${speed.toFixed(0)} tokens/s here`);
  });
}
