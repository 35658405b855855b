// What is measured in the page. State stays in the page between calls, so that rounds of it and of its peers can alternate.

import { loadModel, openCheckpoint } from "/phiquant.js";

const TEXT = "A model keeps its weights in blocks; each block has one scale. ";

const ask = (worker, message) =>
  new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(message);
  });

let workers = [];

/** Starts workers that quantize: `what` is "kernel" (f32 rows to blocks, nothing else), "convert" or "webgpu". */
export async function startKernels({ scheme, cols, what, count }) {
  for (const worker of workers) worker.terminate();
  workers = Array.from({ length: count }, () => new Worker("/bench/kernel.js", { type: "module" }));
  const ready = await Promise.all(workers.map((worker) => ask(worker, { prepare: { scheme, cols, what } })));
  return ready[0];
}

/** Weights per second of all workers together. */
export async function kernels({ seconds }) {
  const rates = await Promise.all(workers.map((worker) => ask(worker, { seconds })));
  return { rate: rates.reduce((sum, { rate }) => sum + rate, 0) };
}

export const kernelBytes = () => ask(workers[0], {});

/** A conversion through the API, into a file in OPFS. */
export async function convert({ url, hub, scheme, workers }) {
  const checkpoint = await openCheckpoint(url, hub ? { hub } : {});
  const weights = checkpoint.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b), 0);
  const began = performance.now();
  const result = await checkpoint.quantize({ scheme, workers, backend: "simd" });
  const seconds = (performance.now() - began) / 1e3;
  const [{ bytes }] = result.files;
  await result.delete();
  checkpoint.close();
  return { weights, seconds, bytes, wasmBytes: result.report.peakMemoryBytes };
}

let model;
let perToken;

/** A prompt of about `tokens` tokens that shares no beginning with another round's. */
const prompt = (round, tokens) => `${round} ${TEXT.repeat(50)}`.slice(0, Math.round(tokens * perToken));

export async function load({ url, backend, context }) {
  await model?.close();
  const began = performance.now();
  model = await loadModel(url, { backend, contextLength: context });
  const seconds = (performance.now() - began) / 1e3;
  perToken = TEXT.length / (await model.tokenize(TEXT)).length;
  return { seconds };
}

export async function run({ round, tokens, count }) {
  for await (const _ of model.generate(prompt(round, tokens), { maxTokens: count }));
  return { prefill: model.usage.prefillTokensPerSecond, decode: model.usage.decodeTokensPerSecond };
}

let engine;

const complete = async (text, count) => {
  const begin = performance.now();
  const made = await engine.createCompletion({
    prompt: text,
    max_tokens: count,
    temperature: 0,
    top_k: 1,
    cache_prompt: false,
  });
  return { seconds: (performance.now() - begin) / 1e3, usage: made.usage };
};

/** The same file in llama.cpp, compiled to wasm. */
export async function loadWllama({ url, context }) {
  await engine?.exit();
  const { Wllama, LoggerWithoutDebug } = await import("/wllama/esm/index.js");
  const blob = await (await fetch(url)).blob();
  engine = new Wllama(
    { default: "/wllama/esm/wasm/wllama.wasm" },
    { suppressNativeLog: true, logger: LoggerWithoutDebug },
  );
  await engine.loadModel([blob], { n_ctx: context, n_threads: 1, n_gpu_layers: 0, warmup: false });
  perToken = TEXT.length / (await complete(TEXT, 1)).usage.prompt_tokens;
  return {};
}

/** It reports no times, so that one token and many are asked for, and the difference is the decoding. */
export async function runWllama({ round, tokens, count }) {
  const text = prompt(round, tokens);
  const one = await complete(text, 1);
  const many = await complete(text, count + 1);
  return {
    prefill: one.usage.prompt_tokens / one.seconds,
    decode: (many.usage.completion_tokens - 1) / (many.seconds - one.seconds),
  };
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
