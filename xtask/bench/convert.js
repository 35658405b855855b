// Whole conversions: from a local server to a file in OPFS, beside llama_model_quantize from a file to a file.

import { existsSync } from "node:fs";
import { fixed, median, openPage, ratios, say, table } from "./tools.js";

const PAIRS = 3;
/** Models by folder, and how many workers and threads. */
const MODELS = [
  { name: "small", counts: [1, 2] },
  { name: "medium", counts: [2] },
];
/** With their numbers in `enum llama_ftype`. */
const FTYPES = { Q4_0: 2, Q8_0: 7, Q4_K_M: 15, Q5_K_M: 17, Q6_K: 18 };

export async function convert({ server, llama, folder }) {
  const page = await openPage(server);
  const rows = [];
  for (const { name, counts } of MODELS.filter(({ name }) => existsSync(`${folder}/${name}-F16.gguf`))) {
    for (const [scheme, ftype] of Object.entries(FTYPES)) {
      for (const workers of counts) {
        const pairs = [];
        let weights = 0;
        for (let round = 0; round < PAIRS; round++) {
          const ours = await page.call("convert", { url: `/models/bench/${name}/`, scheme, workers });
          weights = ours.weights;
          const peer = await llama?.call("quantize", { source: `${name}-F16.gguf`, ftype, threads: workers });
          pairs.push([ours.seconds, peer?.seconds ?? Number.NaN]);
        }
        const rate = (index) => fixed(weights / median(pairs.map((pair) => pair[index])) / 1e6);
        const row = [name, scheme, workers, rate(0), rate(1), llama ? ratios(pairs) : "–"];
        say(row.join("  "));
        rows.push(row);
      }
    }
  }
  await page.close();
  return [
    "## Whole conversions: million weights per second",
    "",
    "bf16 safetensors from a local server to a GGUF in OPFS, through the public API, sha256 included; llama_model_quantize: from a",
    `local F16 file to a file. ${PAIRS} pairs; ratio of the times: the median (least–largest), below 1 is sooner.`,
    "",
    ...table(["model", "mix", "workers, threads", "Chromium", "llama.cpp native", "time, ratio"], rows),
  ];
}
