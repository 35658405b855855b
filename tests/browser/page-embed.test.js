// <phi-quant> in somebody else's page: another origin, a strict policy, no cross-origin isolation.

import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./chromium.js";
import { listen, ROOT, startServer } from "./server.js";

let browser;
let engine;
let cdn;
let site;
/** The page that the site shows. */
let markup = "";
before(async () => {
  [browser, engine] = await Promise.all([launch(), startServer()]);
  // What a CDN is to a module: the same files on another origin, readable from everywhere.
  cdn = await listen(async (request, response) => {
    const answer = await fetch(engine.url + request.url);
    response.writeHead(answer.status, {
      "content-type": answer.headers.get("content-type") ?? "",
      "access-control-allow-origin": "*",
    });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  site = await listen((request, response) => {
    if (request.url !== "/") return response.writeHead(404).end();
    response.writeHead(200, {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": `default-src 'none'; script-src ${cdn.url} 'wasm-unsafe-eval'; worker-src blob: ${cdn.url}; connect-src ${cdn.url} blob:`,
    });
    response.end(
      `<!doctype html><title>site</title><script type="module" src="${cdn.url}/embed/phi-quant.js"></script>${markup}`,
    );
  });
});
after(async () => {
  await browser.close();
  await Promise.all([site.close(), cdn.close()]);
  await engine.close();
});

async function openSite(html) {
  markup = html;
  const context = await browser.newContext({ acceptDownloads: true });
  const page = await context.newPage();
  const faults = [];
  const requests = [];
  page.on("pageerror", (error) => faults.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => requests.push(request.url()));
  await page.addInitScript(() => {
    globalThis.told = [];
    for (const type of ["progress", "done", "error"]) {
      addEventListener(`phiquant-${type}`, ({ detail }) =>
        globalThis.told.push([type, detail.code ?? detail.files ?? detail.phase]),
      );
    }
  });
  await page.goto(`${site.url}/`);
  await page.locator("phi-quant button").waitFor();
  return {
    page,
    requests,
    told: () => page.evaluate(() => globalThis.told),
    async close() {
      await context.close();
      assert.deepEqual(faults, []);
    },
  };
}

test("the face is under 5 kB and loads nothing else until it is used", async () => {
  assert.ok((await stat(join(ROOT, "www/embed/phi-quant.js"))).size < 5000);
  const { page, requests, close } = await openSite('<phi-quant src="owner/name" scheme="Q8_0"></phi-quant>');
  assert.match(await page.locator("phi-quant").locator(".title").textContent(), /owner\/name → Q8_0/);
  await page.waitForTimeout(300);
  const loaded = requests.filter((url) => url.startsWith(cdn.url));
  assert.deepEqual(loaded, [`${cdn.url}/embed/phi-quant.js`]);
  await close();
});

test("converts from another origin under a strict policy, saves, and chats", async () => {
  const { page, told, close } = await openSite('<phi-quant scheme="Q8_0" prompt="What is GGUF?"></phi-quant>');
  assert.equal(await page.evaluate(() => crossOriginIsolated), false);
  await page.locator("phi-quant button").click();
  const save = page.locator("phi-quant button", { hasText: "Save GGUF" });
  await save.waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), save.click()]);
  assert.match(download.suggestedFilename(), /\.gguf$/);
  const events = await told();
  assert.ok(events.some(([type, phase]) => type === "progress" && phase === "quantize"));
  const [, files] = events.find(([type]) => type === "done");
  assert.equal(files[0].bytes, (await stat(await download.path())).size);
  await page.locator("phi-quant button", { hasText: "Send" }).click();
  await page.locator("phi-quant .stats:not(:empty)").waitFor();
  assert.match(await page.locator("phi-quant .stats").textContent(), /tok\/s/);
  assert.equal(await page.evaluate(() => document.querySelector("phi-quant").result.files.length), 1);
  await close();
});

test("says what went wrong, tells the page, and can be tried again", async () => {
  const { page, told, close } = await openSite(`<phi-quant src="${cdn.url}/nowhere/"></phi-quant>`);
  await page.locator("phi-quant button").click();
  await page.locator("phi-quant .error").waitFor();
  const code = await page.locator("phi-quant .error code").textContent();
  assert.match(code, /^(not-found|missing-file)$/);
  assert.deepEqual((await told()).at(-1), ["error", code]);
  await page.locator("phi-quant button", { hasText: "Try again" }).click();
  await page.locator("phi-quant .error").waitFor();
  await close();
});

test("no-chat leaves the chat out; cancel goes back to the beginning", async () => {
  const { page, close } = await openSite('<phi-quant no-chat scheme="Q4_0"></phi-quant>');
  await page.evaluate(() => document.querySelector("phi-quant").start());
  await page.locator("phi-quant button", { hasText: "Save GGUF" }).waitFor();
  assert.equal(await page.locator("phi-quant form").count(), 0);
  await page.evaluate(() => document.querySelector("phi-quant").cancel());
  assert.equal(await page.evaluate(() => document.querySelector("phi-quant").result), null);
  await page.locator("phi-quant button", { hasText: "Quantize in this tab" }).waitFor();
  await close();
});
