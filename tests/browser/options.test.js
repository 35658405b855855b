// What a conversion can be asked for besides its scheme, in Chromium: the files are those of llama-quantize and llama-gguf-split.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { files, json, start } from "./api.js";
import { ROOT } from "./server.js";

const fixture = (path) => readFile(join(ROOT, "tests/fixtures", path));

let t;
before(async () => {
  t = await start("no-webgpu");
});
after(() => t?.close());

/** Converts in the page, with an importance matrix from a URL where one is named. */
const quantize = (source, options) =>
  t.run(
    async ({ source, options }) => {
      const { openCheckpoint, openImatrix } = await import("/phiquant.js");
      const checkpoint = await openCheckpoint(source.at, source);
      try {
        if (options.imatrix) options.imatrix = await openImatrix(options.imatrix);
        const estimate = checkpoint.estimate(options);
        const result = await checkpoint.quantize({ sink: "memory", workers: 1, ...options });
        return { estimate, files: result.files, notices: result.report.notices };
      } finally {
        checkpoint.close();
      }
    },
    { source: typeof source === "string" ? { at: source } : source, options },
  );

const folder = (name) => `${t.server.url}/fixtures/gguf/${name}/`;

test("importance matrices and types: llama-quantize's files, and estimates that say their size", async () => {
  for (const name of ["tiny-phi3-spm", "Phi-3.5-MoE-tiny"]) {
    const { quantized } = await json(`tests/fixtures/gguf/${name}/quantized.json`);
    for (const [text, options] of [
      ["--imatrix imatrix.gguf Q4_K_M", { scheme: "Q4_K_M", imatrix: `${folder(name)}imatrix.gguf` }],
      ["--imatrix imatrix.gguf IQ4_XS", { scheme: "IQ4_XS", imatrix: `${folder(name)}imatrix.gguf` }],
      ["--imatrix imatrix.dat Q2_K_S", { scheme: "Q2_K_S", imatrix: `${folder(name)}imatrix.dat` }],
      ["--output-tensor-type Q8_0 Q4_0", { scheme: "Q4_0", outputType: "Q8_0" }],
      ["--token-embedding-type Q5_1 Q4_K_M", { scheme: "Q4_K_M", tokenEmbeddingType: "q5_1" }],
    ]) {
      const made = await quantize(folder(name), options);
      assert.equal(made.files[0].sha256, quantized[text], `${name} ${text}`);
      assert.equal(made.estimate.bytes, made.files[0].bytes);
    }
  }
});

test("files are cut as llama-gguf-split cuts them, and run and convert when they are opened again", async () => {
  const name = "Phi-4-mini-tiny";
  const [limit, expected] = Object.entries((await json(`tests/fixtures/gguf/${name}/quantized.json`))["split F32"])[0];
  const made = await t.run(
    async ({ source, splitBytes }) => {
      const { openCheckpoint, loadModel } = await import("/phiquant.js");
      const checkpoint = await openCheckpoint(source);
      const say = async (source) => {
        const model = await loadModel(source, { backend: "simd" });
        let text = "";
        for await (const piece of model.generate("The quick", { maxTokens: 8, temperature: 0 })) text += piece.text;
        await model.close();
        return text;
      };
      const split = await checkpoint.quantize({
        scheme: "F32",
        name: "m",
        splitBytes,
        sink: "memory",
        backend: "simd",
      });
      const whole = await checkpoint.quantize({ scheme: "Q4_K_M", sink: "memory", backend: "simd" });
      // As files of a person's own, in no order.
      const parts = await Promise.all(
        split.files.map(async ({ name }) => new File([await split.blob(name)], name)).reverse(),
      );
      const again = await openCheckpoint(parts);
      const second = await again.quantize({ scheme: "Q4_K_M", sink: "memory", backend: "simd" });
      const answers = [await say(source), await say(split), await say(parts)];
      const alone = await openCheckpoint([parts[0]]).catch(({ code }) => code);
      checkpoint.close();
      again.close();
      return {
        files: split.files,
        name: again.name,
        hashes: [whole, second].map((r) => r.files[0].sha256),
        answers,
        alone,
      };
    },
    { source: folder(name), splitBytes: Number(limit) },
  );
  assert.deepEqual(Object.fromEntries(made.files.map(({ name, sha256 }) => [name.slice(1), sha256])), expected);
  assert.equal(made.name, "m");
  assert.equal(made.hashes[0], made.hashes[1]);
  assert.ok(made.answers[0].length > 0 && made.answers.every((answer) => answer === made.answers[0]), made.answers);
  assert.equal(made.alone, "missing-file");
});

test("a size to stay under chooses the best that fits", async () => {
  const found = await t.run(async (source) => {
    const { openCheckpoint } = await import("/phiquant.js");
    const checkpoint = await openCheckpoint(source);
    const { candidates } = await checkpoint.fit({ targetBytes: 1e9 });
    const targetBytes = candidates.find(({ scheme }) => scheme === "Q5_K_M").bytes;
    const result = await checkpoint.quantize({ targetBytes, sink: "memory", backend: "simd" });
    const small = await checkpoint.fit({ targetBytes: 1000 }).catch(({ code, message }) => ({ code, message }));
    const both = await checkpoint.quantize({ targetBytes, scheme: "Q4_0" }).catch(({ code }) => code);
    checkpoint.close();
    return { candidates, targetBytes, bytes: result.files[0].bytes, small, both };
  }, folder("tiny-phi3-spm"));
  const fitting = found.candidates.filter(({ bytes }) => bytes <= found.targetBytes);
  assert.equal(found.bytes, fitting[0].bytes, "the first of the candidates has the least error");
  assert.equal(found.small.code, "target-too-small");
  assert.match(found.small.message, /smallest is/);
  assert.equal(found.both, "bad-option");
});

test("an importance matrix that does not fit, or is none, is an error before anything is written", async () => {
  const attempt = async (options) =>
    (
      await t.attempt(
        async ({ source, options }) => {
          const { openCheckpoint } = await import("/phiquant.js");
          const checkpoint = await openCheckpoint(source);
          await checkpoint.quantize({ sink: "memory", ...options });
        },
        { source: folder("tiny-phi3-spm"), options },
      )
    ).error?.code;
  assert.equal(await attempt({ scheme: "Q4_K_M", imatrix: `${folder("phi4")}imatrix.gguf` }), "wrong-importance");
  assert.equal(await attempt({ scheme: "Q4_K_M", imatrix: `${folder("phi4")}config.json` }), "bad-header");
  assert.equal(await attempt({ scheme: "Q4_K_M", imatrix: `${folder("phi4")}nothing.gguf` }), "not-found");
  assert.equal(await attempt({ scheme: "Q2_K_S" }), "needs-importance");
  assert.equal(await attempt({ scheme: "Q4_0", outputType: "Q9" }), "bad-option");
});

test("pytorch_model.bin, in shards and alone, over HTTP and as files", async () => {
  const spm = await files("tests/fixtures/gguf/tiny-phi3-spm");
  const expected = (await json("tests/fixtures/gguf/tiny-phi3-spm/expected.json")).Q4_0.sha256;
  const texts = Object.fromEntries(Object.entries(spm).filter(([name]) => !name.endsWith(".safetensors")));
  const shards = [
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
    "pytorch_model.bin.index.json",
  ];
  const torch = Object.fromEntries(
    await Promise.all(shards.map(async (name) => [name, await fixture(`pytorch/${name}`)])),
  );
  t.hub.add("phi/tiny-phi3-spm", { ...texts, ...torch });
  t.hub.add("phi/evil", { ...texts, "pytorch_model.bin": await fixture("pytorch/evil.bin") });
  const made = await quantize({ at: "phi/tiny-phi3-spm", hub: t.hub.url }, { scheme: "Q4_0" });
  assert.equal(made.files[0].sha256, expected);
  const evil = await t.attempt(async (hub) => {
    const { openCheckpoint } = await import("/phiquant.js");
    await openCheckpoint("phi/evil", { hub });
  }, t.hub.url);
  assert.equal(evil.error.code, "unsafe-pickle");

  const local = await t.run(
    async ({ at, names }) => {
      const { openCheckpoint } = await import("/phiquant.js");
      const get = async (url, name) => new File([await (await fetch(url)).blob()], name);
      const list = [];
      for (const name of names.texts) list.push(await get(`${at}gguf/tiny-phi3-spm/${name}`, name));
      for (const name of names.torch) list.push(await get(`${at}pytorch/${name}`, name));
      for (const file of list)
        Object.defineProperty(file, "webkitRelativePath", { value: `tiny-phi3-spm/${file.name}` });
      const checkpoint = await openCheckpoint(list);
      const result = await checkpoint.quantize({ scheme: "Q4_0", sink: "memory", backend: "simd" });
      checkpoint.close();
      return result.files[0].sha256;
    },
    { at: `${t.server.url}/fixtures/`, names: { texts: Object.keys(texts), torch: shards } },
  );
  assert.equal(local, expected);
});
