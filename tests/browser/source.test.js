// Reading from the network and the disk, in Chromium against the test hub: no wasm needed.

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { attempt, blank, launch } from "./chromium.js";
import { fromBytes, startHub } from "./hub.js";
import { startServer } from "./server.js";

const SIZE = 3 * (1 << 20) + 123;
const content = new Uint8Array(SIZE).map((_, i) => (i * 31 + (i >> 8) * 7 + (i >> 16)) & 255);
const checksum = (bytes) => bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0);

let hub;
let server;
let browser;
let page;
before(async () => {
  [hub, server, browser] = [await startHub(), await startServer(), await launch()];
});
after(async () => {
  await browser.close();
  await Promise.all([hub.close(), server.close()]);
});
beforeEach(async () => {
  await page?.context().close();
  page = await blank(browser, server);
  hub.log.length = 0;
});

/** Reads one file of a source in the page. */
function read(options) {
  return attempt(
    page,
    async ({ source, file, start = 0, ...options }) => {
      const { describe, openPlace } = await import("/io/source.js");
      const notices = [];
      const place = await openPlace(describe(source, options), (notice) => notices.push(notice));
      const reader = await place.open(file, { start });
      let sum = 0;
      let bytes = 0;
      for (let piece = await reader.read(); piece; piece = await reader.read()) {
        bytes += piece.length;
        for (const byte of piece) sum = (Math.imul(sum, 31) + byte) >>> 0;
      }
      return { sum, bytes, size: reader.size, notices, name: place.name };
    },
    options,
  );
}

const whole = { sum: checksum(content), bytes: SIZE };
function assertWhole({ value, error }, expected = whole) {
  assert.equal(error, undefined);
  assert.deepEqual({ sum: value.sum, bytes: value.bytes }, expected);
}

function offer(behaviour, repo = "phi/test") {
  hub.add(repo, { "model.safetensors": fromBytes(content, behaviour) });
}
const fromHub = (more = {}) => read({ source: "phi/test", hub: hub.url, file: "model.safetensors", ...more });

test("a repository streams through a redirect with a plain GET", async () => {
  offer({});
  const result = await fromHub();
  assertWhole(result);
  assert.equal(result.value.size, SIZE);
  assert.equal(result.value.name, "test");
  assert.deepEqual(
    hub.log.map(({ origin, method }) => `${origin} ${method}`),
    ["hub GET", "cdn GET"],
    "no preflight",
  );
});

test("a revision is part of the address", async () => {
  offer({}, "phi/test@refs/pr/1");
  hub.add("phi/test@refs", { "pr/1/model.safetensors": fromBytes(content) });
  await fromHub({ source: "phi/test@refs/pr/1" });
  assert.equal(hub.log[0].path, "/phi/test/resolve/refs%2Fpr%2F1/model.safetensors");
});

test("a page address on the hub, a folder URL and a file URL", async () => {
  offer({ redirect: false });
  assertWhole(await fromHub({ source: `${hub.url}/phi/test/tree/main` }));
  assertWhole(await read({ source: `${hub.url}/phi/test/resolve/main`, file: "model.safetensors" }));
  const result = await read({
    source: `${hub.url}/phi/test/resolve/main/model.safetensors?sig=1`,
    file: "model.safetensors",
  });
  assertWhole(result);
  assert.equal(result.value.name, "model");
});

test("a dropped connection resumes with Range and If-Range", async () => {
  offer({ drops: [1_000_000, 2_000_000] });
  const result = await fromHub();
  assertWhole(result);
  assert.equal(result.value.notices.length, 2);
  const asked = hub.requests("model.safetensors").filter(({ origin }) => origin === "cdn");
  assert.deepEqual(
    asked.map(({ headers, status }) => [headers["if-range"], status]),
    [
      [undefined, 200],
      ['"one"', 206],
      ['"one"', 206],
    ],
  );
  // What was on its way when the connection broke may be lost, nothing else is asked for twice.
  const [first, second] = asked.slice(1).map(({ headers }) => Number(/^bytes=(\d+)-$/.exec(headers.range)[1]));
  assert.ok(first > 0 && first <= 1_000_000 && second > first && second <= 2_000_000, `${first}, ${second}`);
});

test("a refused preflight degrades from If-Range to Range", async () => {
  offer({ drops: [1_000_000], preflight: false });
  assertWhole(await fromHub());
  const last = hub.requests("model.safetensors").at(-1);
  assert.match(last.headers.range, /^bytes=\d+-$/);
  assert.deepEqual([last.headers["if-range"], last.status], [undefined, 206]);
});

test("hidden headers still resume with Range", async () => {
  offer({ drops: [1_000_000], expose: false });
  assertWhole(await fromHub());
});

test("a server without Range is read again from its start", async () => {
  offer({ drops: [1_000_000, 1_500_000], range: false });
  const result = await fromHub();
  assertWhole(result);
  assert.match(result.value.notices[0], /started again/);
});

test("reading from the middle", async () => {
  offer({});
  const tail = content.subarray(5000);
  assertWhole(await fromHub({ start: 5000 }), { sum: checksum(tail), bytes: tail.length });
});

test("a length that is not announced", async () => {
  offer({ chunked: true });
  const result = await fromHub();
  assertWhole(result);
  assert.equal(result.value.size, null);
});

test("a file that changes during the download is an error", async () => {
  let requests = 0;
  offer({
    drops: [1_000_000],
    redirect: false,
    etag: () => (requests++ === 0 ? '"one"' : '"two"'),
  });
  assert.equal((await fromHub()).error.code, "source-changed");
});

test("a connection that breaks at the same byte each time: length-mismatch", async () => {
  offer({ announce: SIZE + 1000, range: false });
  const { error } = await fromHub();
  assert.equal(error.code, "length-mismatch");
  assert.equal(error.file, "model.safetensors");
  assert.match(error.message, new RegExp(`${SIZE + 1000} bytes`));
});

test("a server that goes away mid-file: interrupted", async () => {
  const gone = await startHub();
  gone.add("phi/test", { "model.safetensors": fromBytes(content, { redirect: false, drops: [1_000_000] }) });
  const reading = fromHub({ hub: gone.url });
  while (!gone.log.some(({ status }) => status === 200)) await new Promise((resolve) => setTimeout(resolve, 20));
  await gone.close();
  assert.equal((await reading).error.code, "interrupted");
});

for (const [status, code] of [
  [401, "unauthorized"],
  [403, "forbidden"],
  [404, "not-found"],
  [416, "range-refused"],
  [500, "server-error"],
  [418, "http"],
]) {
  test(`HTTP ${status} is ${code}`, async () => {
    offer({ status });
    const { error } = await fromHub();
    assert.deepEqual(
      [error.name, error.code, error.status, error.file],
      ["PhiquantError", code, status, "model.safetensors"],
    );
  });
}

test("a server error that passes is tried again", async () => {
  offer({ statuses: [503] });
  assertWhole(await fromHub());
});

test("a server without CORS is told from one that is not there", async () => {
  offer({ cors: false });
  assert.equal((await fromHub()).error.code, "cors");
  const gone = await startHub();
  await gone.close();
  assert.equal((await fromHub({ hub: gone.url })).error.code, "network");
});

test("the token goes to the first origin and to no other", async () => {
  offer({ token: "secret" });
  assert.equal((await fromHub()).error.code, "unauthorized");
  assert.equal((await fromHub({ token: "wrong" })).error.code, "unauthorized");
  hub.log.length = 0;
  assertWhole(await fromHub({ token: "secret" }));
  const gets = hub.log.filter(({ method }) => method === "GET");
  assert.deepEqual(
    gets.map(({ origin, headers }) => [origin, headers.authorization]),
    [
      ["hub", "Bearer secret"],
      ["cdn", undefined],
    ],
  );
});

test("the token stays home when a download resumes", async () => {
  offer({ token: "secret", drops: [1_000_000] });
  assertWhole(await fromHub({ token: "secret" }));
  assert.ok(
    hub.log.filter(({ origin }) => origin === "cdn").every(({ headers }) => headers.authorization === undefined),
  );
});

test("a browser that might send the token on does not follow redirects with it", async () => {
  offer({ token: "secret" });
  await page.evaluate(() => {
    delete Promise.withResolvers;
  });
  const { error } = await fromHub({ token: "secret" });
  assert.equal(error.code, "unsupported");
  assert.ok(hub.log.every(({ origin }) => origin === "hub"));
});

test("abort ends a download at once", async () => {
  offer({ bytesPerSecond: 500_000 });
  const { error } = await attempt(
    page,
    async (url) => {
      const { describe, openPlace } = await import("/io/source.js");
      const controller = new AbortController();
      const place = await openPlace(describe("phi/test", { hub: url }));
      const reader = await place.open("model.safetensors", { signal: controller.signal });
      setTimeout(() => controller.abort(), 200);
      while (await reader.read());
    },
    hub.url,
  );
  assert.equal(error.code, "aborted");
});

test("optional files may be absent, forbidden, or answered with a page", async () => {
  hub.add("phi/test", {
    "tokenizer_config.json": fromBytes("x", { status: 403 }),
    "generation_config.json": "<!doctype html><title>Home</title>",
    "config.json": "{}",
  });
  const { value } = await attempt(
    page,
    async (url) => {
      const { describe, openPlace } = await import("/io/source.js");
      const place = await openPlace(describe("phi/test", { hub: url }));
      const names = ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"];
      return Promise.all(names.map(async (name) => (await place.bytes(name, { optional: true }))?.length ?? null));
    },
    hub.url,
  );
  assert.deepEqual(value, [null, null, null, 2]);
});

test("local files: the folder with a config.json is the checkpoint", async () => {
  const { value } = await attempt(page, async () => {
    const { describe, openPlace } = await import("/io/source.js");
    const file = (path, text) => {
      const made = new File([text], path.split("/").pop());
      Object.defineProperty(made, "webkitRelativePath", { value: path });
      return made;
    };
    const files = [
      file("phi/onnx/config.json", "no"),
      file("phi/config.json", "yes"),
      file("phi/model.safetensors", "weights"),
    ];
    const place = await openPlace(describe(files));
    const reader = await place.open("model.safetensors", { start: 2 });
    return [
      place.name,
      new TextDecoder().decode(await place.bytes("config.json")),
      new TextDecoder().decode(await reader.read()),
      await reader.read(),
      (await openPlace(describe(new File(["x"], "tiny.Q4_0.gguf")))).weights,
      (await openPlace(describe([new File(["{}"], "config.json"), new File(["x"], "one.gguf")]))).weights,
      (await openPlace(describe(["config.json", "model.safetensors", "one.gguf"].map((name) => new File(["x"], name)))))
        .weights ?? null,
    ];
  });
  assert.deepEqual(value, ["phi", "yes", "ights", null, "tiny.Q4_0.gguf", "one.gguf", null]);
});

test("a directory handle", async () => {
  const { value } = await attempt(page, async () => {
    const { describe, openPlace } = await import("/io/source.js");
    const folder = await (await navigator.storage.getDirectory()).getDirectoryHandle("phi", { create: true });
    const out = await (await folder.getFileHandle("config.json", { create: true })).createWritable();
    await out.write("{}");
    await out.close();
    const place = await openPlace(describe(folder));
    return [place.name, (await place.bytes("config.json")).length, await place.bytes("none", { optional: true })];
  });
  assert.deepEqual(value, ["phi", 2, null]);
});

test("sources that are none", async () => {
  for (const source of ["", "  ", 7, null, [], ["a"], "ftp://host/model", "http://["]) {
    const { error } = await read({ source, file: "config.json" });
    assert.equal(error?.code, "bad-option", String(source));
  }
});
