// Measures in headless Chromium and prints a page of Markdown: `node xtask/bench/run.js FOLDER`, where FOLDER is what
// `cargo xtask bench` has made: native.json, small/ (a checkpoint) and small-Q4_0.gguf, small-Q8_0.gguf; llama.json is optional.

import { readFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { relative } from "node:path";
import { attempt, blank, launch } from "../../tests/browser/chromium.js";
import { ROOT, startServer } from "../../tests/browser/server.js";

const [folder] = process.argv.slice(2);
const data = (name) => readFile(`${folder}/${name}`, "utf8").then(JSON.parse, () => null);
const [native, llama] = [await data("native.json"), await data("llama.json")];

const server = await startServer({
  "/bench/": "xtask/bench",
  "/models/bench/": relative(ROOT, folder),
  "/wllama/": "node_modules/@wllama/wllama",
});

/** Runs an exported function of page.js in a fresh browser, so that no measurement inherits another's memory or heat. */
async function measure(mode, name, argument) {
  const browser = await launch(mode);
  try {
    const page = await blank(browser, server);
    const action = async ({ name, argument }) => (await import("/bench/page.js"))[name](argument);
    const { value, error } = await attempt(page, action, { name, argument });
    if (error) throw new Error(`${name}(${JSON.stringify(argument)}): ${error.code ?? ""} ${error.message}`);
    console.error(`  ${name} ${JSON.stringify(argument)}: ${JSON.stringify(value)}`);
    return { ...value, browser: browser.version() };
  } finally {
    await browser.close();
  }
}

const lines = [];
const table = (head, rows) => {
  lines.push(`| ${head.join(" | ")} |`, `| ${head.map((_, i) => (i ? "---:" : "---")).join(" | ")} |`);
  for (const row of rows) lines.push(`| ${row.join(" | ")} |`);
  lines.push("");
};
const fixed = (number, digits = 0) => (number == null ? "–" : number.toFixed(digits));

const SCHEMES = ["Q4_0", "Q8_0", "Q6_K", "F16"];
const kernels = [];
for (const scheme of SCHEMES) {
  const [one, two] = [
    await measure("no-webgpu", "kernel", { scheme, workers: 1 }),
    await measure("no-webgpu", "kernel", { scheme, workers: 2 }),
  ];
  const gpu = scheme === "Q6_K" ? null : await measure("webgpu", "kernel", { scheme, workers: 1, gpu: true });
  const plain = (threads) => native.quantize.find((row) => row.scheme === scheme && row.threads === threads);
  const rate = (row) => fixed(row && row.weightsPerSecond / 1e6);
  const bytes = fixed(one.weightsPerSecond * 2e-6);
  kernels.push([scheme, rate(one), bytes, rate(two), rate(gpu), rate(plain(1)), rate(plain(2))]);
}
const whole = [];
for (const scheme of ["Q4_0", "Q8_0"]) {
  const [one, two] = [
    await measure("no-webgpu", "convert", { scheme, workers: 1 }),
    await measure("no-webgpu", "convert", { scheme, workers: 2 }),
  ];
  const theirs = llama?.quantize[scheme];
  const rate = (seconds) => fixed(seconds && one.weights / seconds / 1e6);
  whole.push([scheme, rate(one.seconds), rate(two.seconds), rate(theirs?.["1"]), rate(theirs?.["2"])]);
}
const models = [];
for (const name of ["small-Q4_0", "small-Q8_0", "demo"]) {
  const url = `/models/bench/${name}.gguf`;
  const ours = await measure("no-webgpu", "ours", { url, backend: "simd" });
  const theirs = await measure("no-webgpu", "wllama", { url });
  const key = name.split("-")[1] ?? name;
  const plain = native.models.find(({ model }) => model === key);
  const peer = llama?.models[name];
  const pair = (it) => (it ? `${fixed(it.prefill)} / ${fixed(it.decode, 1)}` : "–");
  const ratio = `${fixed(ours.prefill / theirs.prefill, 1)} / ${fixed(ours.decode / theirs.decode, 1)}`;
  const ours2 = plain && { prefill: plain.prefillTokensPerSecond, decode: plain.decodeTokensPerSecond };
  models.push([name, pair(ours), pair(theirs), ratio, pair(ours2), pair(peer)]);
}
const gpu = await measure("webgpu", "ours", { url: "/models/bench/demo.gguf", backend: "webgpu" });
const first = await measure("no-webgpu", "firstToken", { url: "/models/demo/" });
await server.close();

lines.push(
  `Measured ${new Date().toISOString().slice(0, 10)} on ${cpus().length} × ${cpus()[0].model}, ` +
    `${fixed(totalmem() / 2 ** 30)} GiB, Chromium ${first.browser}.`,
  "",
  "## Quantizing in memory: million weights per second",
  "",
  "bf16 rows in, blocks out, errors measured on the way, as in a conversion. MB/s count the bf16 bytes read.",
  "",
);
table(["scheme", "SIMD128, 1 worker", "MB/s", "2 workers", "WebGPU¹", "native, 1 thread", "2 threads"], kernels);
lines.push("## Whole conversions of S: million weights per second", "");
lines.push(
  "From a local server to a file in memory, through the public API; llama-quantize: from an F16 file to a file.",
  "",
);
table(["scheme", "Chromium, 1 worker", "2 workers", "llama-quantize, 1 thread", "2 threads"], whole);
lines.push("## Prefill / decode: tokens per second", "");
lines.push("The same GGUF file, greedy, one thread each; wllama 3.8.1 in the same Chromium.", "");
table(["model", "phiquant", "wllama", "ratio", "phiquant, native", "llama.cpp, native"], models);
lines.push(
  `Demo on WebGPU¹: ${fixed(gpu.prefill)} / ${fixed(gpu.decode, 1)}. First token of the demo after a warm load: ` +
    `${fixed(first.seconds, 2)} s (${fixed(first.load, 2)} s of it loading).`,
  "",
  "S is a random Phi-3: hidden 512, ffn 2048, 8 layers, 8 heads, vocabulary 32064; 66 million parameters.",
  "¹ WebGPU here is SwiftShader, which computes on the CPU: it shows that the path works, not how fast a GPU is.",
);
console.log(lines.join("\n"));
