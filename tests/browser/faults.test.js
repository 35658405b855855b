// The GPU is lost, or wrong, in the middle of the work: the CPU goes on, says so, and the result is the same.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { files, json, start } from "./api.js";

const FAULTS = "/tests/gpu-faults.js";

let t;
before(async () => {
  t = await start("webgpu", { "/engine/worker.js": FAULTS, "/engine/quantizer.js": FAULTS });
  // Slow enough that the fault comes while there is work to do.
  t.hub.add("phi/demo", await files("www/models/demo"), { bytesPerSecond: 3e6 });
});
after(() => t?.close());

/** Converts; the GPU gets the fault when a quarter is done. */
const quantize = (fault) =>
  t.run(
    async ({ fault, hub }) => {
      const { openCheckpoint, sha256 } = await import("/tests/in-page.js");
      const checkpoint = await openCheckpoint("phi/demo", { hub });
      const channel = new BroadcastChannel("gpu-faults");
      const events = [];
      let sent = false;
      const onProgress = (event) => {
        events.push(event);
        if (!fault || sent || event.bytes === 0 || event.bytes < event.totalBytes / 4) return;
        sent = true;
        channel.postMessage(fault);
      };
      const backend = fault ? "webgpu" : "simd";
      const result = await checkpoint.quantize({ scheme: "Q8_0", backend, sink: "memory", workers: 1, onProgress });
      checkpoint.close();
      channel.close();
      const [{ name, sha256: own }] = result.files;
      return { made: [own, await sha256(await result.blob(name))], report: result.report, events };
    },
    { fault, hub: t.hub.url },
  );

test("a GPU that is lost, or wrong, while it quantizes", async () => {
  const { made: expected } = await quantize(null);
  for (const [fault, pattern] of [
    ["lose", /GPU was lost/],
    ["wrong", /differs from the CPU's/],
  ]) {
    const { made, report, events } = await quantize(fault);
    assert.deepEqual(made, expected, fault);
    assert.equal(report.backend, "simd128");
    assert.match(report.reason, /given up/);
    assert.equal(report.notices.filter((notice) => pattern.test(notice)).length, 1, String(report.notices));
    assert.ok(events.some(({ notice }) => pattern.test(notice ?? "")));
    const backends = report.tensors.map(({ tensor, backend }) => `${tensor} ${backend}`);
    assert.ok(
      backends.some((text) => text.endsWith(" simd128")),
      `the rest is done on the CPU: ${backends}`,
    );
    assert.ok(
      backends.some((text) => text.includes(" webgpu")),
      `what was whole before stays: ${backends}`,
    );
    assert.deepEqual([events.at(-1).backend, events.at(-1).bytes], ["simd128", events.at(-1).totalBytes]);
  }
});

test("a GPU that is lost while a model answers", async () => {
  const { cases } = await json("tests/fixtures/phi/demo/cases.json");
  const prompts = await json("www/models/demo/prompts.json");
  const { messages } = prompts.find(({ task }) => task === "definitions");
  const outcome = await t.run(async (messages) => {
    const { collect, loadModel } = await import("/tests/in-page.js");
    const events = [];
    const options = { backend: "webgpu", onProgress: (event) => events.push(event) };
    const model = await loadModel("/models/demo/", options);
    const before = model.backend;
    const channel = new BroadcastChannel("gpu-faults");
    const tokens = [];
    let text = "";
    for await (const piece of model.generate(messages, { temperature: 0 })) {
      text += piece.text;
      if (piece.token !== null) tokens.push(piece.token);
      if (tokens.length === 3) channel.postMessage("lose");
    }
    channel.close();
    const { usage, backend, reason, notices } = model;
    const again = await collect(model, messages, { temperature: 0 });
    await model.close();
    return { before, tokens, text, usage, backend, reason, notices, again, told: events.map(({ notice }) => notice) };
  }, messages);
  const { tokens } = cases.definitions;
  assert.equal(outcome.before, "webgpu");
  assert.deepEqual(outcome.tokens, tokens);
  assert.deepEqual([outcome.again.tokens, outcome.again.text], [tokens, outcome.text]);
  assert.deepEqual([outcome.usage.tokens, outcome.usage.finish], [tokens.length, "stop"]);
  assert.equal(outcome.backend, "simd128");
  assert.match(outcome.reason, /given up/);
  assert.match(outcome.notices.join(), /GPU was lost/);
  assert.ok(outcome.told.some((notice) => /GPU was lost/.test(notice ?? "")));
});

test("a GPU that is lost between two answers", async () => {
  const outcome = await t.run(async () => {
    const { collect, loadModel } = await import("/tests/in-page.js");
    const model = await loadModel("/models/demo/", { backend: "webgpu" });
    const first = await collect(model, "The model", { temperature: 0, maxTokens: 5 });
    new BroadcastChannel("gpu-faults").postMessage("lose");
    const second = await collect(model, "The model", { temperature: 0, maxTokens: 5 });
    const { backend } = model;
    await model.close();
    return { first: first.tokens, second: second.tokens, backend };
  });
  assert.deepEqual(outcome.second, outcome.first);
  assert.equal(outcome.backend, "simd128");
});

test("a GPU that computes wrongly is not taken for a model", async () => {
  const outcome = await t.run(async () => {
    const { loadModel } = await import("/tests/in-page.js");
    const channel = new BroadcastChannel("gpu-faults");
    // The worker that will load the model imports the faults before all else; ask until it has.
    const timer = setInterval(() => channel.postMessage("wrong"), 5);
    const model = await loadModel("/models/demo/", { backend: "webgpu" });
    clearInterval(timer);
    const { backend, reason, notices } = model;
    await model.close();
    return { backend, reason, notices };
  });
  assert.equal(outcome.backend, "simd128");
  assert.match(outcome.notices.join(), /The CPU runs the model/);
});
