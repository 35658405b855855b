// What the page's tests share: a page that is watched, and the demo checkpoint as files.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ROOT } from "./server.js";

const DEMO = join(ROOT, "www", "models", "demo");
/** What a conversion needs of the demo's folder. */
export const DEMO_FILES = (await readdir(DEMO)).filter((name) => /^(?!prompts).*\.(json|safetensors)$/.test(name));
export const demoFile = (name) => readFile(join(DEMO, name));
export const demo = async () =>
  Object.fromEntries(await Promise.all(DEMO_FILES.map(async (name) => [name, new Uint8Array(await demoFile(name))])));

/**
 * The page, opened on the demo. `faults` gathers what must not happen: errors, refused policies, requests to strangers.
 * @param {import("playwright-core").Browser} browser
 * @param {{ url: string }} server
 * @param {{ allow?: string[], path?: string } & import("playwright-core").BrowserContextOptions} [options]
 */
export async function openPage(browser, server, { allow = [], path = "/", ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    acceptDownloads: true,
    ...options,
  });
  const page = await context.newPage();
  const faults = [];
  const requests = [];
  page.on("pageerror", (error) => faults.push(`page error: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text())) faults.push(message.text());
  });
  page.on("request", (request) => {
    requests.push(request);
    const { origin, protocol } = new URL(request.url());
    if (["blob:", "data:"].includes(protocol)) return;
    if (origin !== new URL(server.url).origin && !allow.includes(origin)) faults.push(`a stranger: ${request.url()}`);
    if (!["GET", "HEAD", "OPTIONS"].includes(request.method()))
      faults.push(`an upload: ${request.method()} ${request.url()}`);
  });
  await page.goto(server.url + path);
  await page.locator("#quantize:enabled").waitFor();
  return {
    page,
    faults,
    requests,
    async close() {
      await context.close();
      assert.deepEqual(faults, []);
    },
  };
}

/** Chooses a scheme, converts, and waits for the result. */
export async function quantize(page, scheme) {
  await page.locator(`#schemes input[value="${scheme}"]`).check();
  await page.locator("#quantize").click();
  await page.locator("#save").waitFor();
}

/** Sends a message and gives back the last answer when it is whole. */
export async function ask(page, text) {
  await page.locator("#prompt").fill(text);
  await page.locator("#prompt").press("Enter");
  await page.locator("#log .turn").last().locator(".stats:not(:empty)").last().waitFor();
  return page.locator("#log .turn").last().locator(".text").last().textContent();
}

/** Does anything stick out to the side? */
export async function assertNoSidewaysScroll(page) {
  const wide = await page.evaluate(() =>
    document.documentElement.scrollWidth <= innerWidth
      ? []
      : [...document.querySelectorAll("body *")]
          .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5)
          .map((element) => `${element.tagName}#${element.id}.${element.className}`),
  );
  assert.deepEqual(wide, []);
}
