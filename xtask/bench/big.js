// A checkpoint with the shape of Phi-3-mini, 7.6 GB in shards, to Q4_K_M in one tab: time, and all memory of the tab.

import { readdir, readFile } from "node:fs/promises";
import { startHub } from "../../tests/browser/hub.js";
import { syntheticPhi3 } from "../../tests/browser/synthetic.js";
import { fixed, openPage, say, table } from "./tools.js";

const SHAPE = { vocab: 32064, hidden: 3072, ffn: 8192, layers: 32, heads: 32, kvHeads: 32 };
const SHARD = 2.5e9;

/** Resident memory of the largest renderer process: everything that the tab holds, wasm, JavaScript and the browser's own. */
async function tabMemory() {
  let most = 0;
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const read = (name) => readFile(`/proc/${pid}/${name}`, "utf8").catch(() => "");
    if (!(await read("cmdline")).includes("--type=renderer")) continue;
    const kib = /VmRSS:\s+(\d+) kB/.exec(await read("status"))?.[1];
    most = Math.max(most, 1024 * Number(kib ?? 0));
  }
  return most;
}

export async function big({ server }) {
  const made = await syntheticPhi3(SHAPE, SHARD);
  const hub = await startHub();
  hub.add("phi/big", made.files);
  const page = await openPage(server);
  let [most, done] = [0, false];
  const watching = (async () => {
    while (!done) {
      most = Math.max(most, await tabMemory());
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  const rows = [];
  for (const scheme of ["Q4_K_M"]) {
    const { weights, seconds, bytes, wasmBytes } = await page.call("convert", {
      url: "phi/big",
      hub: hub.url,
      scheme,
      workers: 2,
    });
    const gigabytes = (bytes) => fixed(bytes / 1e9, 2);
    const row = [
      scheme,
      `${gigabytes(made.bytes)} → ${gigabytes(bytes)}`,
      fixed(seconds),
      fixed(weights / seconds / 1e6),
    ];
    row.push(fixed(wasmBytes / 1e6, 1), fixed(most / 1e6));
    say(row.join("  "));
    rows.push(row);
  }
  done = true;
  await watching;
  await page.close();
  await hub.close();
  return [
    "## A whole Phi-3-mini",
    "",
    `3.8 billion parameters (hidden 3072, ffn 8192, 32 layers) in ${made.shards} shards from a local server, two workers, into OPFS.`,
    "Memory of the tab is the resident size of its whole process, the browser's own part included.",
    "",
    ...table(["mix", "GB", "seconds", "million weights/s", "wasm memory of a worker, MB", "tab, MB"], rows),
  ];
}
