// Bad input, in Chromium: each fault has its stable code, a sentence that names the place, and loses nothing.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { files, readSafetensors, start, writeSafetensors } from "./api.js";
import { fromBytes } from "./hub.js";

const REPO = "phi/bad";
const WEIGHTS = "model.safetensors";

let t;
/** A whole checkpoint of the fixtures. @type {Record<string, Buffer>} */
let good;
before(async () => {
  t = await start("no-webgpu");
  good = await files("tests/fixtures/gguf/phi4");
});
after(() => t?.close());

const jsonFile = (value) => Buffer.from(JSON.stringify(value));
const config = (changes) => jsonFile({ ...JSON.parse(good["config.json"].toString()), ...changes });
const without = (...names) => Object.fromEntries(Object.entries(good).filter(([name]) => !names.includes(name)));

/** Opens and converts; gives the error as plain data, or the result's files. */
async function convert(repository, { behaviour, source = REPO, ...options } = {}) {
  if (repository) t.hub.add(REPO, repository, behaviour);
  const outcome = await t.attempt(
    async ({ source, hub, options: { token, ...options } }) => {
      const { openCheckpoint, listStorage, folder } = await import("/tests/in-page.js");
      const checkpoint = await openCheckpoint(source, { hub, token });
      try {
        const result = await checkpoint.quantize({ scheme: "Q4_0", workers: 1, ...options });
        await result.delete();
        return result.files;
      } catch (error) {
        const left = Object.keys(await listStorage(await folder("phiquant")));
        if (left.length > 0) throw new Error(`left behind: ${left}`);
        throw error;
      } finally {
        checkpoint.close();
      }
    },
    { source, hub: t.hub.url, options },
  );
  if (outcome.value) assert.equal(outcome.value.length, 1);
  return outcome;
}

/** The error has this code, names these places, and its message says more than the code. */
async function assertFails(outcome, code, { file, tensor, status, message } = {}) {
  const { error, value } = await outcome;
  assert.equal(error?.code, code, `${JSON.stringify(error)} ${JSON.stringify(value)}`);
  assert.equal(error.name, "PhiquantError");
  assert.match(error.message, /^\S.{20,}\.$/s);
  if (message) assert.match(error.message, message);
  if (file) assert.equal(error.file, file, error.message);
  if (tensor) assert.equal(error.tensor, tensor, error.message);
  if (status) assert.equal(error.status, status);
}

test("the checkpoint that is spoiled below is good", async () => {
  const { error, value } = await convert(good);
  assert.equal(error, undefined);
  assert.equal(value[0].name, "bad-Q4_0.gguf");
});

test("no Phi, or one that is not supported", async () => {
  const change = (changes) => convert({ ...good, "config.json": config(changes) });
  const llama = { architectures: ["LlamaForCausalLM"], model_type: "llama" };
  await assertFails(change(llama), "not-a-phi", { message: /[Ll]lama/, file: "config.json" });
  await assertFails(change({ num_hidden_layers: 3 }), "missing-tensor", { message: /layers\.1\./ });
  await assertFails(change({ intermediate_size: 96 }), "bad-shape");
  await assertFails(change({ hidden_size: "many" }), "bad-config", { file: "config.json" });
  const broken = { ...good, "config.json": Buffer.from('{"model_type": ') };
  await assertFails(convert(broken), "bad-config", { file: "config.json" });
});

test("files that are not there", async () => {
  await assertFails(convert(without("config.json")), "not-found", { file: "config.json", status: 404 });
  await assertFails(convert(without(WEIGHTS)), "not-found", { file: WEIGHTS, status: 404 });
  await assertFails(convert({}), "not-found");
  const index = { weight_map: { "model.embed_tokens.weight": "model-00001-of-00002.safetensors" } };
  await assertFails(convert({ ...without(WEIGHTS), "model.safetensors.index.json": jsonFile(index) }), "not-found", {
    file: "model-00001-of-00002.safetensors",
  });
  const local = await t.attempt(async () => {
    const { openCheckpoint } = await import("/phiquant.js");
    await openCheckpoint([new File(["{}"], "model.safetensors")]);
  });
  await assertFails(local, "missing-file", { file: "config.json" });
});

test("without a tokenizer there is no chat, and no GGUF that could be used", async () => {
  t.hub.add(REPO, without("tokenizer.json", "tokenizer.model"));
  const model = await t.attempt(async (hub) => {
    const { loadModel } = await import("/phiquant.js");
    await loadModel("phi/bad", { hub });
  }, t.hub.url);
  await assertFails(model, "missing-file", { file: "tokenizer.json" });
  await assertFails(convert(null), "missing-file", { message: /tokenizer/ });
});

test("without a chat template messages are refused, and a plain prompt is answered", async () => {
  const tokenizer = { ...JSON.parse(good["tokenizer_config.json"].toString()) };
  delete tokenizer.chat_template;
  t.hub.add(REPO, { ...without("chat_template.jinja"), "tokenizer_config.json": jsonFile(tokenizer) });
  const outcome = await t.run(async (hub) => {
    const { collect, loadModel } = await import("/tests/in-page.js");
    const model = await loadModel("phi/bad", { hub });
    const messages = [{ role: "user", content: "a" }];
    const code = await collect(model, messages).catch(({ code }) => code);
    const { tokens } = await collect(model, "a", { temperature: 0, maxTokens: 2 });
    await model.close();
    return [code, tokens.length > 0];
  }, t.hub.url);
  assert.deepEqual(outcome, ["unsupported", true]);
});

test("truncated and hostile safetensors", async () => {
  const { header, data } = readSafetensors(good[WEIGHTS]);
  const [name] = Object.keys(header).filter((name) => name !== "__metadata__");
  const entry = (changes) => writeSafetensors({ ...header, [name]: { ...header[name], ...changes } }, data);
  const length = (value) => {
    const bytes = Buffer.from(good[WEIGHTS]);
    bytes.writeBigUInt64LE(value);
    return bytes;
  };
  const [, end] = header[name].data_offsets;
  const cases = [
    ["cut within its length", good[WEIGHTS].subarray(0, 5), "truncated"],
    ["cut within its header", good[WEIGHTS].subarray(0, 100), "truncated"],
    ["cut within its weights", good[WEIGHTS].subarray(0, -1), "truncated"],
    ["empty", Buffer.alloc(0), "truncated"],
    ["a gigantic header", length(2n ** 63n), "bad-header"],
    ["a header of 1 TB", length(10n ** 12n), "bad-header"],
    ["a header that is no JSON", length(16n), "bad-header"],
    ["an overlap", entry({ data_offsets: [2, end + 2] }), "bad-header"],
    ["past the end", entry({ data_offsets: [data.length, data.length + end] }), "bad-header"],
    ["a wrong count", entry({ shape: [1, 1] }), "bad-header"],
    ["a gigantic shape", entry({ shape: [2 ** 52, 2 ** 52] }), "bad-header"],
    ["an unknown type", entry({ dtype: "F4" }), null],
    ["HTML", Buffer.from("<!doctype html><title>Sign in</title>".repeat(20)), "bad-header"],
  ];
  for (const [what, bytes, code] of cases) {
    const { error } = await convert({ ...good, [WEIGHTS]: bytes });
    assert.ok(
      code ? error?.code === code : ["unsupported", "bad-header"].includes(error?.code),
      `${what}: ${JSON.stringify(error)}`,
    );
    assert.ok(error.file === WEIGHTS || error.message.includes(WEIGHTS), `${what}: ${error.message}`);
  }
});

test("truncated and hostile GGUF", async () => {
  const head = await t.run(async () => {
    const { openCheckpoint } = await import("/phiquant.js");
    const checkpoint = await openCheckpoint("/fixtures/gguf/phi4/");
    const result = await checkpoint.quantize({ scheme: "F16", sink: "memory" });
    checkpoint.close();
    return [...new Uint8Array(await (await result.blob(result.files[0].name)).arrayBuffer())];
  });
  const gguf = Buffer.from(head);
  const url = `${t.hub.url}/${REPO}/resolve/main/tiny.gguf`;
  const open = (bytes) => convert({ "tiny.gguf": bytes }, { source: url });
  const edit = (offset, value) => {
    const bytes = Buffer.from(gguf);
    bytes.writeBigUInt64LE(value, offset);
    return bytes;
  };
  assert.equal((await open(gguf)).error, undefined);
  const version = Buffer.from(gguf);
  version.writeUInt32LE(99, 4);
  for (const [what, bytes, codes] of [
    ["cut within its magic", gguf.subarray(0, 3), ["truncated"]],
    ["cut within its header", gguf.subarray(0, 2000), ["truncated"]],
    ["cut within its weights", gguf.subarray(0, gguf.length - 40), ["truncated"]],
    ["another magic", Buffer.concat([Buffer.from("GGML"), gguf.subarray(4)]), ["bad-header"]],
    ["a version to come", version, ["unsupported", "bad-header"]],
    ["2^60 tensors", edit(8, 2n ** 60n), ["bad-header", "truncated"]],
    ["2^60 keys", edit(16, 2n ** 60n), ["bad-header", "truncated"]],
    ["a key of 2^60 bytes", edit(24, 2n ** 60n), ["bad-header", "truncated"]],
  ]) {
    const { error } = await open(bytes);
    assert.ok(codes.includes(error?.code), `${what}: ${JSON.stringify(error)}`);
    assert.ok(error.file === "tiny.gguf" || error.message.includes("tiny.gguf"), `${what}: ${error.message}`);
  }
});

test("a weight that is no number names its tensor, and nothing is left behind", async () => {
  const { header } = readSafetensors(good[WEIGHTS]);
  const begin = good[WEIGHTS].length - readSafetensors(good[WEIGHTS]).data.length;
  const name = "model.layers.0.mlp.down_proj.weight";
  assert.equal(header[name].dtype, "F32");
  const offset = begin + header[name].data_offsets[0] + 400;
  for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    const bytes = Buffer.from(good[WEIGHTS]);
    bytes.writeFloatLE(value, offset);
    for (const sink of ["opfs", "memory"]) {
      await assertFails(convert({ ...good, [WEIGHTS]: bytes }, { sink }), "not-finite", {
        file: WEIGHTS,
        tensor: name,
      });
    }
  }
});

test("HTTP statuses", async () => {
  for (const [status, code] of [
    [401, "unauthorized"],
    [403, "forbidden"],
    [404, "not-found"],
    [410, "not-found"],
    [416, "range-refused"],
    [418, "http"],
    [500, "server-error"],
    [503, "server-error"],
  ]) {
    await assertFails(convert(good, { behaviour: { status } }), code, { file: "config.json", status });
    const weights = { ...fromBytes(good[WEIGHTS]), behaviour: { status } };
    await assertFails(convert({ ...good, [WEIGHTS]: weights }), code, { file: WEIGHTS, status });
  }
  const gated = convert(good, { behaviour: { token: "hf_right" }, token: "hf_wrong" });
  await assertFails(gated, "unauthorized", { status: 401, message: /access token/ });
  assert.equal((await convert(good, { behaviour: { token: "hf_right" }, token: "hf_right" })).error, undefined);
});

test("connections that drop are taken up again, with and without Range", async () => {
  const expected = (await convert(good)).value;
  const { length } = good[WEIGHTS];
  for (const range of [true, false]) {
    const behaviour = { range, drops: [length, Math.floor(length / 3), Math.floor((length * 2) / 3)] };
    const weights = { ...fromBytes(good[WEIGHTS]), behaviour };
    const { value, error } = await convert({ ...good, [WEIGHTS]: weights });
    assert.equal(error, undefined);
    assert.deepEqual(value, expected, `range: ${range}`);
  }
});

test("a server without CORS, none at all, a wrong Content-Length", async () => {
  await assertFails(convert(good, { behaviour: { cors: false } }), "cors", { message: /CORS/ });
  await assertFails(convert(null, { source: "http://127.0.0.1:9/model/" }), "network", { message: /127\.0\.0\.1:9/ });
  const length = good[WEIGHTS].length;
  for (const range of [true, false]) {
    const longer = { ...fromBytes(good[WEIGHTS]), behaviour: { announce: length + 1000, range } };
    const { error } = await convert({ ...good, [WEIGHTS]: longer });
    // The header may already tell; where it does not, the stream's end does.
    assert.ok(
      ["length-mismatch", "bad-header", "range-refused", "source-changed"].includes(error?.code),
      `${range}: ${JSON.stringify(error)}`,
    );
  }
  const shorter = { ...fromBytes(good[WEIGHTS]), behaviour: { announce: length - 1000 } };
  await assertFails(convert({ ...good, [WEIGHTS]: shorter }), "truncated", { file: WEIGHTS });
});

test("full storage", async () => {
  const session = await t.page.context().newCDPSession(t.page);
  const origin = t.server.url;
  await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 20_000 });
  try {
    await assertFails(convert(good, { sink: "opfs" }), "quota-exceeded", { message: /storage/ });
    // A folder of the user's is given straight to `quantize`.
    const folder = await t.attempt(async (hub) => {
      const { folder, openCheckpoint } = await import("/tests/in-page.js");
      const checkpoint = await openCheckpoint("phi/bad", { hub });
      try {
        await checkpoint.quantize({ scheme: "F32", sink: await folder("full") });
      } finally {
        checkpoint.close();
      }
    }, t.hub.url);
    await assertFails(folder, "quota-exceeded");
    const saved = await t.attempt(async (hub) => {
      const { folder, openCheckpoint } = await import("/tests/in-page.js");
      const checkpoint = await openCheckpoint("phi/bad", { hub });
      const result = await checkpoint.quantize({ scheme: "F32", sink: "memory" });
      checkpoint.close();
      await result.saveAs(await folder("full"));
    }, t.hub.url);
    await assertFails(saved, "quota-exceeded", { file: "bad-F32.gguf" });
    // Memory is not storage.
    assert.equal((await convert(good, { sink: "memory" })).error, undefined);
  } finally {
    await session.send("Storage.overrideQuotaForOrigin", { origin });
  }
  const left = await t.run(async () => {
    const { folder, listStorage } = await import("/tests/in-page.js");
    return Object.keys(await listStorage(await folder("full")));
  });
  assert.deepEqual(left, []);
  assert.equal((await convert(good, { sink: "opfs" })).error, undefined);
});

test("options that are none", async () => {
  t.hub.add(REPO, good);
  for (const options of [
    { scheme: "Q3_X" },
    { scheme: "" },
    { format: "onyx" },
    { backend: "cuda" },
    { workers: 0 },
    { workers: 1.5 },
    { sink: "disk" },
    { overrides: [{ match: "(", scheme: "F16" }] },
    { overrides: [{ match: "lm_head", scheme: "Q9" }] },
    { overrides: [{ scheme: "F16" }] },
    { colour: "blue" },
  ]) {
    await assertFails(convert(null, options), "bad-option");
  }
  const estimates = await t.run(async (hub) => {
    const { openCheckpoint } = await import("/phiquant.js");
    const checkpoint = await openCheckpoint("phi/bad", { hub });
    const codes = [{ scheme: "Q3_X" }, {}, { scheme: "Q4_0", format: "onyx" }].map((options) => {
      try {
        return checkpoint.estimate(options).bytes;
      } catch ({ code }) {
        return code;
      }
    });
    checkpoint.close();
    return codes;
  }, t.hub.url);
  assert.deepEqual(estimates, ["bad-option", "bad-option", "bad-option"]);
});
