// Running models through the API in Chromium: transformers' tokens, from every source, and what a caller may ask for.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { files, json, start } from "./api.js";
import { ROOT } from "./server.js";

const DEMO = Object.keys(await files("www/models/demo"));

let t;
let demo;
before(async () => {
  t = await start("webgpu");
  const { cases } = await json("tests/fixtures/phi/demo/cases.json");
  const prompts = await json("www/models/demo/prompts.json");
  demo = Object.entries(cases).map(([name, { prompt, tokens }]) => {
    // The fixture has the first prompt of each kind.
    const { messages } = prompts.find(({ task }) => task.replaceAll(" ", "-") === name);
    return { name, messages, prompt, tokens };
  });
  for (const name of ["gqa", "mha"]) t.hub.add(`phi/${name}`, await withCharacters(name));
});
after(() => t?.close());

/** A character for each token: random models need text too. */
const character = (id) => String.fromCodePoint(0x4e00 + id);
const characters = (ids) => ids.map(character).join("");

/** The checkpoint of tests/fixtures/phi with a tokenizer of one character to a token. */
async function withCharacters(name) {
  const checkpoint = await files(`tests/fixtures/phi/${name}`);
  const { vocab_size: size } = JSON.parse(checkpoint["config.json"].toString());
  const vocab = Object.fromEntries(Array.from({ length: size }, (_, id) => [character(id), id]));
  const model = { type: "BPE", vocab, merges: [] };
  const edges = { normalizer: null, pre_tokenizer: null, post_processor: null, decoder: { type: "Fuse" } };
  const tokenizer = { version: "1.0", added_tokens: [], ...edges, model };
  return { ...checkpoint, "tokenizer.json": JSON.stringify(tokenizer), "tokenizer_config.json": "{}" };
}

/** Loads a model into the page's `model`; gives what it says of itself. */
const load = (source, options) =>
  t.run(
    async ({ source, options }) => {
      const { loadModel } = await import("/tests/in-page.js");
      await globalThis.model?.close();
      globalThis.progress = [];
      const onProgress = (event) => globalThis.progress.push(event);
      globalThis.model = await loadModel(source, { onProgress, ...options });
      const { name, backend, reason, contextLength, config, bytes, notices } = globalThis.model;
      return { name, backend, reason, contextLength, config, bytes, notices };
    },
    { source, options },
  );

const generate = (prompt, options) =>
  t.run(
    async ([prompt, options]) => {
      const { collect } = await import("/tests/in-page.js");
      return collect(globalThis.model, prompt, { temperature: 0, ...options });
    },
    [prompt, options],
  );

/** The demo in `model` answers as it does in transformers. */
async function assertAnswers(cases = demo) {
  for (const { name, messages, prompt, tokens } of cases) {
    const answer = await generate(messages, { maxTokens: 64 });
    assert.deepEqual(answer.tokens, tokens, name);
    assert.equal(answer.usage.promptTokens, prompt.length, name);
    assert.deepEqual([answer.usage.tokens, answer.usage.finish], [tokens.length, "stop"], name);
  }
}

for (const backend of ["simd", "webgpu"]) {
  for (const name of ["mha", "gqa"]) {
    test(`${name} on ${backend}: 64 greedy tokens and the logits of transformers`, async () => {
      const cases = await json(`tests/fixtures/phi/${name}/cases.json`);
      const about = await load(`phi/${name}`, { hub: t.hub.url, backend });
      assert.equal(about.backend, backend === "simd" ? "simd128" : "webgpu");
      assert.ok(about.reason && about.bytes > 1e5);
      for (const [key, { prompt, tokens }] of Object.entries(cases)) {
        const answer = await generate(characters(prompt), { maxTokens: 64 });
        assert.deepEqual(answer.tokens, tokens, key);
        assert.equal(answer.text, characters(tokens));
        assert.equal(answer.usage.finish, "length");

        const file = await readFile(join(ROOT, `tests/fixtures/phi/${name}/${key}.logits`));
        const all = new Float32Array(file.buffer, file.byteOffset, file.length / 4);
        const expected = all.subarray(all.length - about.config.vocab);
        const logits = await t.run(async (prompt) => [...(await globalThis.model.logits(prompt))], prompt);
        const difference = Math.max(...logits.map((value, i) => Math.abs(value - expected[i])));
        assert.equal(logits.length, about.config.vocab);
        assert.ok(difference <= (backend === "simd" ? 1e-3 : 5e-3), `${key}: ${difference}`);
      }
    });
  }
}

test("the demo from its folder's URL answers as in transformers, on the CPU and on WebGPU", async () => {
  for (const backend of ["webgpu", "simd"]) {
    const about = await load("/models/demo/", { backend });
    assert.equal(about.name, "demo");
    assert.equal(about.config.architecture, "Phi3ForCausalLM");
    await assertAnswers();
  }
});

test("loading tells its progress", async () => {
  await load("/models/demo/", { backend: "simd" });
  const events = await t.run(() => globalThis.progress.filter(({ phase }) => phase === "load"));
  const last = events.at(-1);
  assert.deepEqual([last.bytes, last.tensors], [last.totalBytes, last.totalTensors]);
  assert.ok(events.every((event, i) => i === 0 || event.bytes >= events[i - 1].bytes));
});

test("text streams in whole characters, and is what the tokens decode to", async () => {
  await load("/models/demo/", { backend: "simd" });
  const { pieces, whole } = await t.run(async (messages) => {
    const { Text } = await import("/text/text.js");
    const texts = {};
    for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
      texts[name] = await (await fetch(`/models/demo/${name}`)).text();
    }
    const text = new Text((name) => texts[name]);
    const pieces = [];
    // Hot enough to say anything, broken characters included.
    const options = { temperature: 30, seed: 5, maxTokens: 200 };
    for await (const piece of globalThis.model.generate(messages, options)) pieces.push(piece);
    return { pieces, whole: text.decode(pieces.flatMap(({ token }) => (token === null ? [] : [token]))) };
  }, demo[0].messages);
  assert.ok(pieces.length > 20);
  assert.equal(pieces.map(({ text }) => text).join(""), whole);
});

test("the demo from files, from what quantize gave, from a checkpoint and from a GGUF's URL", async () => {
  const opened = await t.run(async (names) => {
    const { fetchFiles, loadModel, openCheckpoint } = await import("/tests/in-page.js");
    const files = await fetchFiles("/models/demo/", names);
    const checkpoint = await openCheckpoint(files);
    const results = [];
    for (const scheme of ["F16", "Q8_0"])
      results.push(await checkpoint.quantize({ scheme, sink: "memory", workers: 1 }));
    const gguf = await results[1].blob(results[1].files[0].name);
    const load = (source) => loadModel(source, { backend: "simd" });
    globalThis.models = {
      files: await load(files),
      checkpoint: await load(checkpoint),
      F16: await load(results[0]),
      Q8_0: await load(results[1]),
      file: await load(new File([gguf], "some name.gguf")),
    };
    checkpoint.close();
    const reader = new FileReader();
    await new Promise((resolve) => {
      reader.onload = resolve;
      reader.readAsDataURL(gguf);
    });
    const bytes = Object.fromEntries(Object.entries(globalThis.models).map(([key, { bytes }]) => [key, bytes]));
    return { bytes, gguf: reader.result.slice(reader.result.indexOf(",") + 1) };
  }, DEMO);
  // Weights stay in their types.
  assert.ok(opened.bytes.Q8_0 < opened.bytes.F16 * 0.6);
  assert.equal(opened.bytes.files, opened.bytes.checkpoint);
  t.hub.add("phi/gguf", { "demo Q8_0.gguf": Buffer.from(opened.gguf, "base64") });
  await t.run(async (url) => {
    const { loadModel } = await import("/tests/in-page.js");
    globalThis.models.url = await loadModel(url, { backend: "simd" });
  }, `${t.hub.url}/phi/gguf/resolve/main/demo%20Q8_0.gguf`);
  for (const source of ["files", "checkpoint", "F16", "Q8_0", "file", "url"]) {
    await t.run(async (source) => {
      await globalThis.model?.close();
      globalThis.model = globalThis.models[source];
    }, source);
    await assertAnswers();
  }
});
