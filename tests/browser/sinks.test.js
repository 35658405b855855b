// Where results go, in Chromium: OPFS, memory, a folder. Nothing half-written ever stands under a final name.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { files, json, start } from "./api.js";

let t;
let expected;
before(async () => {
  t = await start("no-webgpu");
  expected = (await json("tests/fixtures/gguf/phi4/expected.json")).Q4_0;
  t.hub.add("phi/demo", await files("www/models/demo"), { bytesPerSecond: 4e6 });
});
after(() => t?.close());

test("OPFS, memory and a folder are given the same bytes", async () => {
  for (const kind of [undefined, "opfs", "memory", "folder"]) {
    const { made, name, inFolder, stored } = await t.run(async (kind) => {
      const { openCheckpoint, sha256, folder, listStorage } = await import("/tests/in-page.js");
      const sink = kind === "folder" ? await folder("results") : kind;
      const checkpoint = await openCheckpoint("/fixtures/gguf/phi4/");
      const result = await checkpoint.quantize({ scheme: "Q4_0", sink });
      checkpoint.close();
      const [{ name, bytes, sha256: own }] = result.files;
      // The result outlives the checkpoint.
      const blob = await result.blob(name);
      const made = [bytes, blob.size, own, await sha256(blob)];
      const inFolder = Object.keys(await listStorage(await folder("results")));
      const stored = Object.entries(await listStorage(await folder("phiquant")));
      await result.delete();
      return { made, name, inFolder, stored };
    }, kind);
    assert.deepEqual(made, [expected.bytes, expected.bytes, expected.sha256, expected.sha256], String(kind));
    assert.deepEqual(inFolder, kind === "folder" ? [name] : []);
    const inOpfs = kind === undefined || kind === "opfs";
    assert.deepEqual(
      stored.map(([path, bytes]) => [path.split("/").pop(), bytes]),
      inOpfs ? [[name, expected.bytes]] : [],
    );
  }
});

test("saveAs writes into a folder; delete frees the storage, and is not needed twice", async () => {
  const { saved, before, after, gone } = await t.run(async () => {
    const { openCheckpoint, sha256, folder, listStorage } = await import("/tests/in-page.js");
    const checkpoint = await openCheckpoint("/fixtures/gguf/phi4/");
    const result = await checkpoint.quantize({ scheme: "Q4_0" });
    checkpoint.close();
    const [{ name }] = result.files;
    const target = await folder("saved");
    await result.saveAs(target);
    const saved = await sha256(await (await target.getFileHandle(name)).getFile());
    const before = Object.keys(await listStorage(await folder("phiquant"))).length;
    await result.delete();
    await result.delete();
    const after = Object.keys(await listStorage(await folder("phiquant"))).length;
    const gone = await result.blob(name).then(
      () => "still there",
      ({ code }) => code,
    );
    return { saved, before, after, gone };
  });
  assert.deepEqual([saved, before, after, gone], [expected.sha256, 1, 0, "bad-option"]);
});

test("results of two conversions stand side by side", async () => {
  const names = await t.run(async () => {
    const { openCheckpoint, sha256 } = await import("/tests/in-page.js");
    const checkpoint = await openCheckpoint("/fixtures/gguf/phi4/");
    const results = [];
    // The same file name twice.
    for (let i = 0; i < 2; i++) results.push(await checkpoint.quantize({ scheme: "Q4_0" }));
    checkpoint.close();
    const [first, second] = results;
    const [{ name }] = first.files;
    await second.delete();
    const whole = await sha256(await first.blob(name));
    await first.delete();
    return [name, second.files[0].name, whole];
  });
  assert.deepEqual(names, [names[0], names[0], expected.sha256]);
});

/** Aborts when a third is done. Gives the error, and what is left where. */
const abortIn = (kind, name) =>
  t.run(
    async ({ kind, name, hub }) => {
      const { openCheckpoint, folder, listStorage } = await import("/tests/in-page.js");
      const target = await folder("aborted");
      const existing = await (await target.getFileHandle("demo-Q8_0.gguf", { create: true })).createWritable();
      await existing.write("an earlier result");
      await existing.close();
      const sink = kind === "folder" ? target : kind;
      const checkpoint = await openCheckpoint("phi/demo", { hub });
      const controller = new AbortController();
      let during = null;
      let aborted = 0;
      const onProgress = ({ phase, bytes, totalBytes }) => {
        if (aborted || phase !== "quantize" || bytes === 0 || bytes < totalBytes / 3) return;
        aborted = performance.now();
        during = listStorage().then((all) => {
          controller.abort();
          return all;
        });
      };
      const options = { scheme: "Q8_0", backend: "simd", name, signal: controller.signal, onProgress, sink };
      const error = await checkpoint.quantize(options).then(
        () => null,
        ({ code, message, name }) => ({ code, message, name }),
      );
      const waited = performance.now() - aborted;
      // The checkpoint is as good as before.
      const again = await checkpoint.quantize({ scheme: "Q8_0", pure: true, sink: "memory", name: "again" });
      checkpoint.close();
      const left = await listStorage();
      const text = await (await (await target.getFileHandle("demo-Q8_0.gguf")).getFile()).text();
      return { error, during: await during, left, text, waited, again: again.files[0].name };
    },
    { kind, name, hub: t.hub.url },
  );

for (const [what, kind, name] of [
  ["OPFS", "opfs"],
  ["memory", "memory"],
  ["a folder that has such a file", "folder"],
  ["a folder that has none", "folder", "fresh"],
]) {
  test(`an abort leaves nothing behind: ${what}`, async () => {
    const { error, during, left, text, waited, again } = await abortIn(kind, name);
    const others = (path) => /^(results|saved)\//.test(path);
    assert.equal(error?.code, "aborted");
    assert.ok(waited < 5000, `${waited} ms until it stopped`);
    // While it ran, nothing of it had a final name either; a folder's new file is empty until it is whole.
    const finals = Object.keys(during).filter((path) => path.endsWith(".gguf") && !others(path) && during[path] > 0);
    assert.deepEqual(finals, ["aborted/demo-Q8_0.gguf"]);
    if (kind === "opfs") assert.ok(Object.keys(during).some((path) => path.endsWith(".gguf.part")));
    assert.deepEqual(
      Object.keys(left).filter((path) => !others(path)),
      ["aborted/demo-Q8_0.gguf"],
    );
    assert.equal(text, "an earlier result");
    assert.equal(again, "again.gguf");
  });
}

test("an aborted signal stops opening and converting before they begin", async () => {
  const codes = await t.run(async (hub) => {
    const { openCheckpoint } = await import("/tests/in-page.js");
    const code = (promise) =>
      promise.then(
        () => null,
        ({ code }) => code,
      );
    const signal = AbortSignal.abort();
    const checkpoint = await openCheckpoint("/fixtures/gguf/phi4/");
    const controller = new AbortController();
    const opening = code(openCheckpoint("phi/demo", { hub, signal: controller.signal }));
    controller.abort();
    const codes = [
      await code(openCheckpoint("/fixtures/gguf/phi4/", { signal })),
      await code(checkpoint.quantize({ scheme: "Q4_0", signal })),
      await opening,
    ];
    const running = code(checkpoint.quantize({ scheme: "Q4_0", sink: "memory" }));
    checkpoint.close();
    return [...codes, await running];
  }, t.hub.url);
  assert.deepEqual(codes, ["aborted", "aborted", "aborted", "aborted"]);
});

test("what a page that is gone left in OPFS is swept up; what another page uses stays", async () => {
  const quantize = async () => {
    const { openCheckpoint } = await import("/tests/in-page.js");
    const checkpoint = await openCheckpoint("/fixtures/gguf/phi4/");
    globalThis.kept = await checkpoint.quantize({ scheme: "Q8_0", sink: "opfs" });
    checkpoint.close();
  };
  const context = t.page.context();
  const open = async () => {
    const page = await context.newPage();
    await page.goto(`${t.server.url}/blank`);
    await page.evaluate(quantize);
    return page;
  };
  const count = () =>
    t.run(async () => {
      const { folder, listStorage } = await import("/tests/in-page.js");
      return Object.keys(await listStorage(await folder("phiquant"))).length;
    });
  const gone = await open();
  assert.equal(await count(), 1);
  await gone.close();
  const stays = await open();
  assert.equal(await count(), 1, "only the page that is open");
  const third = await open();
  assert.equal(await count(), 2);
  await Promise.all([stays.close(), third.close()]);
});
