// Memory is bounded by a few chunks, whatever the model's size: a checkpoint of several shards, made while it is served.
// PHIQUANT_BIG_GB=2.2 (or more) sets the size; by default it is small enough for every run.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { start } from "./api.js";
import { syntheticPhi3 } from "./synthetic.js";

const GIGABYTES = Number(process.env.PHIQUANT_BIG_GB ?? 0.4);
/** What the project promises, and what is expected: chunks of 3 MB, and the texts of the checkpoint. */
const LIMIT = 256e6;
const EXPECTED = 64e6;

let t;
before(async () => {
  t = await start("no-webgpu");
});
after(() => t?.close());

test(`a checkpoint of ${GIGABYTES} GB in shards is converted in bounded memory`, async (context) => {
  const shape = { vocab: 32064, hidden: 2048, ffn: 5632, layers: 0, heads: 16, kvHeads: 16 };
  const perLayer = 2 * (4 * shape.hidden ** 2 + 3 * shape.hidden * shape.ffn);
  shape.layers = Math.max(1, Math.ceil((GIGABYTES * 1e9 - 4 * shape.vocab * shape.hidden) / perLayer));
  const made = await syntheticPhi3(shape, (GIGABYTES * 1e9) / 4);
  assert.ok(made.bytes >= GIGABYTES * 1e9 && made.shards >= 4);
  t.hub.add("phi/big", made.files);

  const outcome = await t.run(async (hub) => {
    const { openCheckpoint } = await import("/tests/in-page.js");
    const checkpoint = await openCheckpoint("phi/big", { hub });
    const estimate = checkpoint.estimate({ scheme: "Q8_0" });
    const notices = [];
    const result = await checkpoint.quantize({
      scheme: "Q8_0",
      backend: "simd",
      workers: 2,
      onProgress: ({ notice }) => notice && notices.push(notice),
    });
    checkpoint.close();
    const [file] = result.files;
    // The end of the file, far past what was ever in memory at once, says that it is whole.
    const tail = await (await result.blob(file.name)).slice(-64).arrayBuffer();
    await result.delete();
    return { estimate, file, report: result.report, notices, tail: [...new Uint8Array(tail)] };
  }, t.hub.url);

  const { report, file } = outcome;
  assert.equal(file.bytes, outcome.estimate.bytes);
  assert.equal(report.tensors.length, made.tensors);
  assert.deepEqual(outcome.notices, []);
  assert.ok(outcome.tail.some((byte) => byte !== 0));
  // Each weight file was asked for twice: its header, then all of it.
  for (const name of Object.keys(made.files).filter((name) => name.endsWith(".safetensors"))) {
    assert.equal(t.hub.requests(name).filter(({ origin }) => origin === "cdn").length, 2, name);
  }
  context.diagnostic(
    `${(made.bytes / 1e9).toFixed(2)} GB in ${made.shards} shards: ${report.seconds.toFixed(1)} s, ` +
      `${(made.bytes / 1e6 / report.seconds).toFixed(0)} MB/s, peak wasm memory of a worker ${(report.peakMemoryBytes / 1e6).toFixed(1)} MB`,
  );
  assert.ok(report.peakMemoryBytes < LIMIT, `${report.peakMemoryBytes} bytes`);
  assert.ok(report.peakMemoryBytes < EXPECTED, `${report.peakMemoryBytes} bytes`);
});
