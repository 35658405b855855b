// Quantizing in memory: one worker in Chromium beside ggml's own function on one native core, in pairs.

import { fixed, median, openPage, ratios, say, table } from "./tools.js";

const COLS = 4096;
const ROWS = 256;
const PAIRS = 5;
const SECONDS = 0.6;

/** Every type, with its number in `enum ggml_type`. */
export const TYPES = {
  F16: 1,
  BF16: 30,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  IQ4_XS: 23,
  TQ1_0: 34,
  TQ2_0: 35,
  MXFP4: 39,
};

/** The rate of `what` alone. */
async function rate(page, scheme, what, count) {
  const { supported } = await page.call("startKernels", { scheme, cols: COLS, what, count });
  return supported ? (await page.call("kernels", { seconds: SECONDS })).rate : null;
}

export async function quantize({ server, llama, native }) {
  if (!llama) throw new Error("the section quantize needs PHIQUANT_PYTHON, a Python with llama-cpp-python");
  await llama.call("rows", { cols: COLS, count: ROWS });
  const page = await openPage(server);
  const gpu = await openPage(server, "webgpu");
  const rows = [];
  for (const [scheme, ggml_type] of Object.entries(TYPES)) {
    await page.call("startKernels", { scheme, cols: COLS, what: "kernel", count: 1 });
    const theirs = () => llama.call("kernel", { ggml_type, cols: COLS, seconds: SECONDS });
    const pairs = [];
    let sha256 = "";
    for (let round = 0; round < PAIRS; round++) {
      const ours = (await page.call("kernels", { seconds: SECONDS })).rate;
      const peer = await theirs();
      sha256 = peer.sha256;
      pairs.push([ours, peer.rate]);
    }
    const same = (await page.call("kernelBytes")).sha256 === sha256;
    const column = (index) => fixed(median(pairs.map((pair) => pair[index])) / 1e6, index && pairs[0][1] < 1e7 ? 1 : 0);
    const [one, two] = [await rate(page, scheme, "convert", 1), await rate(page, scheme, "convert", 2)];
    const onGpu = await rate(gpu, scheme, "webgpu", 1);
    const plain = native?.quantize.find((row) => row.scheme === scheme && row.threads === 1);
    const million = (rate) => fixed(rate === null || rate === undefined ? Number.NaN : rate / 1e6);
    const row = [scheme, column(0), column(1), ratios(pairs), same ? "yes" : "NO"];
    row.push(million(one), million(two), million(onGpu), million(plain?.weightsPerSecond));
    say(row.join("  "));
    rows.push(row);
  }
  await page.close();
  await gpu.close();
  return [
    "## Quantizing in memory: million weights per second",
    "",
    `The kernel alone: f32 rows in, blocks out, one worker in Chromium and ggml's own function on one native core in turn,`,
    `${PAIRS} pairs; ratio: the median (least–largest). "Same bytes" compares what both wrote. The columns on the right are a`,
    "chunk's whole way: bf16 in, blocks out, errors measured on the way, as in a conversion.",
    "",
    ...table(
      [
        "type",
        "Chromium",
        "ggml native",
        "ratio",
        "same bytes",
        "whole, 1 worker",
        "2 workers",
        "WebGPU¹",
        "native, 1 thread",
      ],
      rows,
    ),
  ];
}
