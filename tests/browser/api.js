// What the tests of the API share: Chromium, the server with the fixtures, the hub, and code that runs in the page.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { attempt, blank, launch } from "./chromium.js";
import { startHub } from "./hub.js";
import { ROOT, startServer } from "./server.js";

/** @param {"webgpu" | "no-webgpu"} mode @param {Parameters<typeof startServer>[1]} [preludes] */
export async function start(mode, preludes) {
  const mounts = {
    "/tests/": "tests/browser",
    "/fixtures/": "tests/fixtures",
    "/wllama/": "node_modules/@wllama/wllama",
  };
  const [hub, server, browser] = [await startHub(), await startServer(mounts, preludes), await launch(mode)];
  const page = await blank(browser, server);
  // Results lie in OPFS, whose quota in a fresh profile follows the disk.
  const result = (outcome) => {
    if (!outcome.error) return outcome.value;
    const { code, message, stack } = outcome.error;
    throw new Error(`in the page: ${code ?? ""} ${message}\n${stack ?? ""}`);
  };
  return {
    hub,
    server,
    browser,
    page,
    /** Runs `action` in the page; its errors are the test's. */
    run: async (action, argument) => result(await attempt(page, action, argument)),
    /** … or are given back as plain data: `{ value }` or `{ error }`. */
    attempt: (action, argument) => attempt(page, action, argument),
    async close() {
      await browser.close();
      await Promise.all([hub.close(), server.close()]);
    },
  };
}

/** A checkpoint's files, as the hub takes them. @param {string} folder from the project's root */
export async function files(folder) {
  const path = join(ROOT, folder);
  const names = (await readdir(path)).filter((name) => /\.(json|jinja|safetensors|model)$/.test(name));
  const wanted = names.filter((name) => !["expected.json", "cases.json", "prompts.json"].includes(name));
  return Object.fromEntries(await Promise.all(wanted.map(async (name) => [name, await readFile(join(path, name))])));
}

export const json = async (path) => JSON.parse(await readFile(join(ROOT, path), "utf8"));

/** A safetensors file taken apart. */
export function readSafetensors(bytes) {
  const length = Number(bytes.readBigUInt64LE(0));
  return { header: JSON.parse(bytes.toString("utf8", 8, 8 + length)), data: bytes.subarray(8 + length) };
}

/** … and put together, with the header padded as the format's own writer does. */
export function writeSafetensors(header, data) {
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(text.length / 8) * 8, 0x20);
  text.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, data]);
}
