// What is measured in the page. Each function is called in a fresh browser.

import { loadModel, openCheckpoint } from "/phiquant.js";

const TEXT = "A model keeps its weights in blocks; each block has one scale. ";
const PROMPT = 256;
const TOKENS = 48;

/** Weights per second of `workers` workers together, in memory. */
export async function kernel({ scheme, workers, gpu = false }) {
  const all = Array.from({ length: workers }, () => new Worker("/bench/kernel.js", { type: "module" }));
  const ask = (worker, message) =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
      worker.onerror = (event) => reject(new Error(event.message));
      worker.postMessage(message);
    });
  await Promise.all(all.map((worker) => ask(worker, { prepare: { scheme, gpu } })));
  const rates = await Promise.all(all.map((worker) => ask(worker, { seconds: gpu ? 4 : 1.5 })));
  return { weightsPerSecond: rates.reduce((sum, { rate }) => sum + rate, 0) };
}

/** A conversion of S through the API: the best of three. */
export async function convert({ scheme, workers }) {
  const checkpoint = await openCheckpoint("/models/bench/small/");
  const weights = checkpoint.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
  let seconds = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 3; round++) {
    const result = await checkpoint.quantize({ scheme, workers, backend: "simd", sink: "memory" });
    seconds = Math.min(seconds, result.report.seconds);
    await result.delete();
  }
  return { weights, seconds };
}

/** A prompt of about PROMPT tokens that shares no beginning with another round's. */
const prompt = (round, perToken) => `${round} ${TEXT.repeat(50)}`.slice(0, Math.round(PROMPT * perToken));

/** Prefill and decode, the better of two rounds. */
export async function ours({ url, backend }) {
  const model = await loadModel(url, { backend, contextLength: Math.min(512, 4096) });
  const perToken = TEXT.length / (await model.tokenize(TEXT)).length;
  let [prefill, decode, tokens] = [0, 0, 0];
  for (let round = 0; round < 3; round++) {
    for await (const _ of model.generate(prompt(round, perToken), { maxTokens: TOKENS }));
    if (round === 0) continue;
    prefill = Math.max(prefill, model.usage.prefillTokensPerSecond);
    decode = Math.max(decode, model.usage.decodeTokensPerSecond);
    tokens = model.usage.promptTokens;
  }
  await model.close();
  return { prefill, decode, tokens };
}

/** The same in llama.cpp. It reports no times, so that one token and many are asked for, and the difference is the decoding. */
export async function wllama({ url }) {
  const { Wllama, LoggerWithoutDebug } = await import("/wllama/esm/index.js");
  const blob = await (await fetch(url)).blob();
  const engine = new Wllama(
    { default: "/wllama/esm/wasm/wllama.wasm" },
    { suppressNativeLog: true, logger: LoggerWithoutDebug },
  );
  await engine.loadModel([blob], { n_ctx: 512, n_threads: 1, n_gpu_layers: 0, warmup: false });
  const ask = async (prompt, count) => {
    const begin = performance.now();
    const made = await engine.createCompletion({
      prompt,
      max_tokens: count,
      temperature: 0,
      top_k: 1,
      cache_prompt: false,
    });
    return { seconds: (performance.now() - begin) / 1e3, usage: made.usage };
  };
  const { usage } = await ask(TEXT, 1);
  const perToken = TEXT.length / usage.prompt_tokens;
  let [prefill, decode] = [0, 0];
  for (let round = 0; round < 2; round++) {
    const text = prompt(round, perToken);
    const one = await ask(text, 1);
    const many = await ask(text, TOKENS + 1);
    prefill = Math.max(prefill, one.usage.prompt_tokens / one.seconds);
    decode = Math.max(decode, (many.usage.completion_tokens - 1) / (many.seconds - one.seconds));
  }
  await engine.exit();
  return { prefill, decode };
}

/** From a warm start (the files are in the browser's cache) to the first piece of an answer. */
export async function firstToken({ url }) {
  const once = async () => {
    const begin = performance.now();
    const model = await loadModel(url, { backend: "simd" });
    const loaded = performance.now();
    for await (const { text } of model.generate([{ role: "user", content: "What is INT4?" }], { maxTokens: 4 })) {
      if (text) break;
    }
    const end = performance.now();
    await model.close();
    return { seconds: (end - begin) / 1e3, load: (loaded - begin) / 1e3 };
  };
  await once();
  return once();
}
