// Conversions through the API in Chromium: the files are those of llama.cpp's own tools, wherever and however they are made.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { files, json, start } from "./api.js";

const CHECKPOINTS = ["tiny-phi3-spm", "Phi-4-mini-tiny", "phi4", "phi-2-tiny", "Phi-3.5-MoE-tiny"];

let t;
before(async () => {
  t = await start("webgpu");
  t.hub.add("phi/demo", await files("www/models/demo"));
});
after(() => t?.close());

/** Converts in the page; gives the files with the browser's own sha256, the report, the estimate and what progress said. */
const quantize = (source, options, more = {}) =>
  t.run(
    async ({ source, options, more }) => {
      const { openCheckpoint, sha256, folder } = await import("/tests/in-page.js");
      const checkpoint = await openCheckpoint(source, more.open);
      const events = [];
      try {
        const estimate = checkpoint.estimate(options);
        const sink = more.directory ? await folder(more.directory) : (more.sink ?? "memory");
        const onProgress = (progress) => events.push(progress);
        const result = await checkpoint.quantize({ backend: "simd", workers: 1, ...options, sink, onProgress });
        const made = [];
        for (const { name } of result.files) {
          const blob = await result.blob(name);
          made.push({ name, bytes: blob.size, sha256: await sha256(blob) });
        }
        const tensors = checkpoint.tensors.map(({ name }) => name);
        return { files: result.files, made, report: result.report, estimate, events, tensors };
      } finally {
        checkpoint.close();
      }
    },
    { source, options, more },
  );

/** The estimate, the result's own figures and the bytes agree; gives the only file. */
function only({ files, made, estimate }) {
  assert.equal(files.length, 1);
  assert.deepEqual(files, made);
  assert.deepEqual(estimate.files, [{ name: files[0].name, bytes: files[0].bytes }]);
  assert.equal(estimate.bytes, files[0].bytes);
  return files[0];
}

for (const name of CHECKPOINTS) {
  test(`${name}: every scheme gives llama.cpp's file`, async () => {
    const expected = await json(`tests/fixtures/gguf/${name}/expected.json`);
    const schemes = await t.run(async () => (await import("/phiquant.js")).schemes());
    assert.deepEqual(
      // Q2_K_S asks for an importance matrix, which these fixtures are made without.
      schemes.filter(({ scheme }) => !expected[scheme] && scheme !== "Q2_K_S"),
      [],
      "a scheme without a fixture",
    );
    for (const [kind, facts] of Object.entries(expected)) {
      const options = { scheme: kind.replace("-pure", ""), pure: kind.endsWith("-pure") };
      const { bytes, sha256 } = only(await quantize(`${t.server.url}/fixtures/gguf/${name}/`, options));
      assert.deepEqual({ bytes, sha256 }, facts, kind);
    }
  });
}

test("schemes are described, and are the caller's own copy", async () => {
  const [first, second] = await t.run(async () => {
    const { schemes } = await import("/phiquant.js");
    const first = await schemes();
    first[0].scheme = "changed";
    return [first, await schemes()];
  });
  assert.equal(first.length, second.length);
  assert.ok(
    second.every(
      ({ format, scheme, bits, summary }) => format === "gguf" && /^\w+$/.test(scheme) && bits > 0 && summary,
    ),
  );
  assert.ok(["F32", "F16", "BF16", "Q8_0", "Q4_0"].every((name) => second.some(({ scheme }) => scheme === name)));
});

test("WebGPU and any number of workers give the same bytes as one on the CPU", async () => {
  for (const scheme of ["Q4_0", "Q8_0", "F16"]) {
    const one = await quantize("/models/demo/", { scheme });
    const { sha256 } = only(one);
    assert.deepEqual([one.report.backend, one.report.workers], ["simd128", 1]);
    const three = await quantize("/models/demo/", { scheme, workers: 3 });
    assert.equal(only(three).sha256, sha256);
    assert.equal(three.report.workers, 3);
    const gpu = await quantize("/models/demo/", { scheme, backend: "webgpu", workers: 2 });
    assert.equal(only(gpu).sha256, sha256, `${scheme} on WebGPU`);
    assert.equal(gpu.report.backend, "webgpu");
    assert.ok(
      gpu.report.tensors.some(({ backend }) => backend === "webgpu"),
      "the GPU did something",
    );
    // The errors are measured by whoever computes; sums of squares may differ in their last bits.
    for (const [i, { tensor, rmse, max }] of gpu.report.tensors.entries()) {
      assert.equal(tensor, one.report.tensors[i].tensor);
      assert.ok(Math.abs(rmse - one.report.tensors[i].rmse) <= 1e-5 * rmse, tensor);
      assert.ok(Math.abs(max - one.report.tensors[i].max) <= 1e-5 * max, tensor);
    }
  }
});

test("auto passes over a software adapter, and says why", async () => {
  const { report } = await quantize("/models/demo/", { scheme: "Q8_0", backend: "auto" });
  assert.equal(report.backend, "simd128");
  assert.match(report.reason, /software|fallback|adapter/i);
});

test("the report has every tensor, with its error; a plain type has none", async () => {
  const { report, tensors, events } = await quantize("/models/demo/", { scheme: "Q4_0" });
  assert.deepEqual(report.tensors.map(({ tensor }) => tensor).sort(), tensors.sort());
  for (const { tensor, output, scheme, shape, rmse, relative, max, backend } of report.tensors) {
    assert.ok(output && shape.length > 0 && backend === "simd128", tensor);
    if (scheme === "F32") assert.deepEqual([rmse, relative, max], [0, 0, 0], tensor);
    // Rounding to 16 levels is off by a few hundredths of a weight's size; Q6_K and Q8_0 by less.
    else assert.ok(rmse > 0 && max > rmse && relative > 1e-4 && relative < 0.2, `${tensor} ${scheme} ${relative}`);
  }
  const told = events.filter(({ report }) => report).map(({ report }) => report);
  assert.deepEqual(told.map(({ tensor }) => tensor).sort(), tensors, "each tensor's figures come once while it runs");
  assert.deepEqual(
    told.find(({ scheme }) => scheme === "Q4_0"),
    report.tensors.find(({ tensor }) => tensor === told.find(({ scheme }) => scheme === "Q4_0").tensor),
  );
  assert.ok(report.seconds > 0 && report.peakMemoryBytes > 1e6 && report.peakMemoryBytes < 256e6);
});

test("progress only grows, and ends with everything done", async () => {
  t.hub.add("phi/slow", await files("www/models/demo"), { bytesPerSecond: 6e6 });
  const { events } = await quantize("phi/slow", { scheme: "Q8_0" }, { open: { hub: t.hub.url } });
  const running = events.filter(({ phase }) => phase === "quantize" || phase === "finish");
  assert.ok(running.length > 5);
  for (const [i, now] of running.entries()) {
    const before = running[Math.max(0, i - 1)];
    assert.ok(now.bytes >= before.bytes && now.tensors >= before.tensors, `event ${i}`);
    assert.ok(now.totalBytes === null || now.bytes <= now.totalBytes);
  }
  const last = running.at(-1);
  assert.deepEqual([last.bytes, last.tensors, last.phase], [last.totalBytes, last.totalTensors, "finish"]);
  assert.ok(running.some(({ bytesPerSecond, secondsLeft }) => bytesPerSecond > 1e5 && secondsLeft !== null));
});

test("overrides choose a scheme by name, of the checkpoint or of the output; the first match counts", async () => {
  const overrides = [
    { match: "^lm_head", scheme: "Q8_0" },
    { match: "blk\\.0\\.ffn_down", scheme: "F16" },
    { match: "lm_head|layers\\.1\\.", scheme: "BF16" },
  ];
  const result = await quantize("/models/demo/", { scheme: "Q4_0", pure: true, overrides, name: "mine" });
  assert.equal(only(result).name, "mine.gguf");
  const scheme = Object.fromEntries(result.report.tensors.map(({ output, scheme }) => [output, scheme]));
  assert.equal(scheme["output.weight"], "Q8_0");
  assert.equal(scheme["blk.0.ffn_down.weight"], "F16");
  assert.equal(scheme["blk.1.ffn_down.weight"], "BF16");
  assert.equal(scheme["blk.2.ffn_down.weight"], "Q4_0");
});

test("a GGUF becomes another one", async () => {
  const sha256 = await t.run(async () => {
    const { openCheckpoint, sha256 } = await import("/tests/in-page.js");
    const convert = async (source, scheme) => {
      const checkpoint = await openCheckpoint(source);
      const result = await checkpoint.quantize({ scheme, sink: "memory", workers: 1, backend: "simd" });
      checkpoint.close();
      return result;
    };
    const full = await convert("/fixtures/gguf/phi4/", "F32");
    const blob = await full.blob(full.files[0].name);
    // Once from what quantize gave, once from the file.
    const results = [await convert(full, "Q4_0"), await convert(new File([blob], "phi4-F32.gguf"), "Q4_0")];
    return Promise.all(results.map(async (result) => sha256(await result.blob(result.files[0].name))));
  });
  const expected = await json("tests/fixtures/gguf/phi4/expected.json");
  assert.deepEqual(sha256, [expected.Q4_0.sha256, expected.Q4_0.sha256]);
});
