// What happens when a worker stops, when the browser is too old, and when the module comes from another origin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { files, start } from "./api.js";
import { blank } from "./chromium.js";

const FAULTS = "/tests/worker-faults.js";

let t;
before(async () => {
  t = await start("no-webgpu", { "/engine/worker.js": FAULTS, "/engine/quantizer.js": FAULTS });
  t.hub.add("phi/demo", await files("www/models/demo"));
});
after(() => t?.close());

/** Converts while workers stop: `times` of them, each at its call number `after`. */
const quantize = (times, after = 0) =>
  t.attempt(
    async ({ hub, times, after }) => {
      const { listStorage, openCheckpoint } = await import("/tests/in-page.js");
      const name = "phiquant quantizer";
      const channel = new BroadcastChannel("worker-faults");
      channel.onmessage = ({ data }) => {
        if (data.started === name && times-- > 0) channel.postMessage({ name, after });
      };
      const checkpoint = await openCheckpoint("phi/demo", { hub });
      try {
        const result = await checkpoint.quantize({ scheme: "Q8_0", backend: "simd", workers: 1 });
        const { report, files } = result;
        await result.delete();
        return { sha256: files[0].sha256, notices: report.notices, tensors: report.tensors.length };
      } catch (error) {
        error.message += ` left: ${Object.keys(await listStorage())}`;
        throw error;
      } finally {
        channel.close();
        checkpoint.close();
      }
    },
    { hub: t.hub.url, times, after },
  );

test("a quantizer that stops is replaced, and its tensor is done again", async () => {
  const { value: expected } = await quantize(0);
  assert.deepEqual(expected.notices, []);
  const { value, error } = await quantize(1, 9);
  assert.equal(error, undefined, error?.message);
  assert.deepEqual([value.sha256, value.tensors], [expected.sha256, expected.tensors]);
  // A worker has two chunks at a time, which may be of two tensors.
  assert.ok([1, 2].includes(value.notices.length), String(value.notices));
  for (const notice of value.notices) assert.match(notice, /worker stopped at .+; the tensor is quantized again/);
});

test("quantizers that keep stopping: worker-failed, and nothing is left", async () => {
  const { error } = await quantize(100, 9);
  assert.equal(error?.code, "worker-failed");
  assert.match(error.message, /left: $/);
});

test("a checkpoint's own worker stops: its calls are worker-failed", async () => {
  const outcome = await t.attempt(async (hub) => {
    const { openCheckpoint } = await import("/phiquant.js");
    const checkpoint = await openCheckpoint("phi/demo", { hub });
    const channel = new BroadcastChannel("worker-faults");
    channel.postMessage({ name: "phiquant checkpoint", after: 0 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    channel.close();
    await checkpoint.quantize({ scheme: "Q8_0" });
  }, t.hub.url);
  assert.equal(outcome.error?.code, "worker-failed");
  assert.match(outcome.error.message, /stopped by the test/);
});

test("a closed checkpoint says so", async () => {
  const codes = await t.run(async (hub) => {
    const { openCheckpoint } = await import("/phiquant.js");
    const checkpoint = await openCheckpoint("phi/demo", { hub });
    const running = checkpoint.quantize({ scheme: "Q8_0" }).catch(({ code }) => code);
    checkpoint.close();
    const later = await checkpoint.quantize({ scheme: "Q8_0" }).catch(({ code }) => code);
    let estimate;
    try {
      checkpoint.estimate({ scheme: "Q8_0" });
    } catch ({ code }) {
      estimate = code;
    }
    checkpoint.close();
    return [await running, later, estimate];
  }, t.hub.url);
  assert.deepEqual(codes, ["aborted", "aborted", "aborted"]);
});

test("a browser without WebAssembly SIMD is told so", async () => {
  const page = await blank(t.browser, t.server);
  const code = await page.evaluate(async () => {
    WebAssembly.validate = () => false;
    const { openCheckpoint, probe } = await import("/phiquant.js");
    const { simd, relaxedSimd } = await probe();
    if (simd || relaxedSimd) return "probe";
    return openCheckpoint("/models/demo/").then(
      () => "opened",
      ({ code }) => code,
    );
  });
  await page.context().close();
  assert.equal(code, "no-wasm-simd");
});

test("probe says what there is", async () => {
  const found = await t.run(async () => (await import("/phiquant.js")).probe());
  assert.deepEqual([found.webgpu, found.simd, found.relaxedSimd], [null, true, true]);
  assert.ok(found.threads >= 1 && found.storageBytes > 0);
});

test("a page of another origin may use the module", async () => {
  const page = await t.browser.newContext().then((context) => context.newPage());
  // Another origin than the module's: the same server by its other name.
  await page.goto(`${t.server.url.replace("127.0.0.1", "localhost")}/blank`);
  const outcome = await page.evaluate(
    async ({ module, hub }) => {
      const { openCheckpoint, loadModel, schemes } = await import(`${module}/phiquant.js`);
      const checkpoint = await openCheckpoint("phi/demo", { hub });
      const result = await checkpoint.quantize({ scheme: "Q8_0", workers: 2 });
      checkpoint.close();
      const model = await loadModel(result);
      let text = "";
      for await (const piece of model.generate([{ role: "user", content: "What is GGUF?" }], { maxTokens: 8 }))
        text += piece.text;
      await model.close();
      return { origin: location.origin, schemes: (await schemes()).length, text };
    },
    { module: t.server.url, hub: t.hub.url },
  );
  await page.context().close();
  assert.notEqual(outcome.origin, t.server.url);
  assert.ok(outcome.schemes > 3 && outcome.text.length > 0);
});
