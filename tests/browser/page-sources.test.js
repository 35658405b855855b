// Where checkpoints come from, what goes wrong on the way, and that nothing is lost.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { fromBytes, startHub } from "./hub.js";
import { ask, DEMO_FILES, demo, openPage, quantize } from "./page-harness.js";
import { startServer } from "./server.js";

let browser;
let hub;
let server;
let files;
before(async () => {
  [browser, hub, server, files] = await Promise.all([launch(), startHub(), startServer(), demo()]);
});
after(async () => {
  await browser.close();
  await Promise.all([hub.close(), server.close()]);
});

/** The page, with the test hub as its hub. */
async function openOnHub() {
  const opened = await openPage(browser, server, { allow: [hub.url, hub.cdn] });
  await opened.page.locator("#open-form details summary").click();
  await opened.page.locator("#hub").fill(hub.url);
  await opened.page.locator("#hub").blur();
  return opened;
}

async function open(page, name) {
  await page.locator("#repo").fill(name);
  await page.locator("#repo").press("Enter");
}

const opened = (page, name) => page.locator("#checkpoint-name", { hasText: name }).waitFor();

test("opens a repository of the hub, with its token, and converts it", async () => {
  hub.add("phi/gated", files, { token: "secret" });
  const { page, close } = await openOnHub();
  await open(page, "phi/gated");
  await page.locator("#source-error .error[data-code=unauthorized]").waitFor();
  assert.match(await page.locator("#source-error").textContent(), /Token and hub/);
  assert.equal(await page.locator("#checkpoint-name").textContent(), "The bundled demo");
  await page.locator("#token").fill("secret");
  await page.locator("#source-error button", { hasText: "Try again" }).click();
  await opened(page, "gated");
  await quantize(page, "Q4_0");
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.doesNotMatch(kept, /secret/, "a token stays in memory");
  await close();
});

test("says what is wrong with a repository that is not there, and keeps what was", async () => {
  const { page, close } = await openOnHub();
  await quantize(page, "Q8_0");
  await open(page, "phi/nobody");
  const error = page.locator("#source-error .error");
  await error.waitFor();
  assert.equal(await error.getAttribute("data-code"), "not-found");
  assert.match(await error.textContent(), /Could not open phi\/nobody.*not-found/s);
  assert.equal(await page.locator("#repo").inputValue(), "phi/nobody");
  assert.ok(await page.locator("#save").isVisible(), "the result is still there");
  await error.locator("button", { hasText: "Dismiss" }).click();
  assert.equal(await error.count(), 0);
  await close();
});

test("says so where a checkpoint is no Phi", async () => {
  const config = JSON.parse(new TextDecoder().decode(files["config.json"]));
  const other = { ...config, architectures: ["LlamaForCausalLM"], model_type: "llama" };
  hub.add("other/llama", { ...files, "config.json": JSON.stringify(other) });
  const { page, close } = await openOnHub();
  await open(page, "other/llama");
  await page.locator("#source-error .error[data-code=not-a-phi]").waitFor();
  await close();
});

test("shows progress, cancels at once, and converts after that", async () => {
  const weights = fromBytes(files["model.safetensors"]);
  hub.add("phi/slow", { ...files, "model.safetensors": { ...weights, behaviour: { bytesPerSecond: 2e6 } } });
  const { page, close } = await openOnHub();
  await open(page, "phi/slow");
  await opened(page, "slow");
  await page.locator('#schemes input[value="Q8_0"]').check();
  await page.locator("#quantize").click();
  await page.waitForFunction(() => /[1-9]\d* %/.test(document.getElementById("percent").textContent));
  assert.match(await page.locator("#rates").textContent(), /Read.*of.*Speed.*\/s.*Weights.*M\/s/);
  assert.ok((await page.locator("#tensor").textContent()).trim().length > 3);
  await page.locator("#cancel").click();
  await page.locator("#quantize").waitFor({ timeout: 2000 });
  assert.equal(await page.evaluate(() => document.activeElement.id), "quantize");
  assert.equal(await page.locator("#output-error .error").count(), 0);
  assert.equal(await page.locator("#schemes input:checked").getAttribute("value"), "Q8_0");
  assert.equal(await page.locator("#repo").inputValue(), "phi/slow");
  hub.add("phi/slow", files);
  await page.locator("#quantize").click();
  await page.locator("#save").waitFor();
  await close();
});

test("a conversion that fails says so in place and can be tried again", async () => {
  const weights = fromBytes(files["model.safetensors"]);
  hub.add("phi/broken", {
    ...files,
    "model.safetensors": { ...weights, behaviour: { dropAlways: 300_000, range: false } },
  });
  const { page, close } = await openOnHub();
  await open(page, "phi/broken");
  await opened(page, "broken");
  await page.locator("#quantize").click();
  await page.locator("#output-error .error").waitFor({ timeout: 60_000 });
  hub.add("phi/broken", files);
  await page.locator("#output-error button", { hasText: "Try again" }).click();
  await page.locator("#save").waitFor();
  assert.equal(await page.locator("#output-error .error").count(), 0);
  await close();
});

test("takes files that are dropped on the page", async () => {
  const { page, close } = await openPage(browser, server);
  await page.evaluate(async (names) => {
    const transfer = new DataTransfer();
    for (const name of names) {
      const response = await fetch(`/models/demo/${name}`);
      transfer.items.add(new File([await response.blob()], name));
    }
    const send = (type) =>
      document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    send("dragenter");
    if (document.getElementById("drop").hidden) throw new Error("nothing says that files may be dropped");
    send("dragover");
    send("drop");
  }, DEMO_FILES);
  await page.waitForFunction(() => document.getElementById("checkpoint-name").textContent !== "The bundled demo");
  assert.ok(await page.locator("#drop").isHidden());
  await quantize(page, "Q4_0");
  await page.locator("#open-demo").click();
  await opened(page, "The bundled demo");
  await close();
});

test("takes a folder from the picker", async () => {
  const folder = await mkdtemp(join(tmpdir(), "phiquant-page-"));
  try {
    for (const [name, bytes] of Object.entries(files)) await writeFile(join(folder, name), bytes);
    await writeFile(join(folder, "README.md"), "not needed");
    const { page, close } = await openPage(browser, server);
    await page.locator("#folder").setInputFiles(folder);
    await page.waitForFunction(() => document.getElementById("checkpoint-name").textContent !== "The bundled demo");
    await quantize(page, "Q8_0");
    await close();
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("chats with a GGUF file from the disk", async () => {
  const { page, close } = await openPage(browser, server);
  await quantize(page, "Q8_0");
  const [download] = await Promise.all([page.waitForEvent("download"), page.locator("#save").click()]);
  const buffer = await readFile(await download.path());
  await page.locator("#files").setInputFiles({ name: "mine.gguf", mimeType: "application/octet-stream", buffer });
  await opened(page, "mine");
  assert.match(await page.locator("#checkpoint-figures").textContent(), /TypeQ8_0/);
  await page.locator("#model").selectOption("original");
  assert.match(await ask(page, "What is GGUF?"), /file format/);
  await close();
});

test("files without a config.json are refused with a sentence", async () => {
  const { page, close } = await openPage(browser, server);
  await page
    .locator("#files")
    .setInputFiles({ name: "model.safetensors", mimeType: "application/octet-stream", buffer: Buffer.from("{}") });
  await page.locator("#source-error .error").waitFor();
  assert.match(await page.locator("#source-error .code").textContent(), /missing-file|bad-header|truncated/);
  await close();
});
