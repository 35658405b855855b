// Runs wasm-bindgen tests in headless Chromium: `node xtask/wasm-tests.js FOLDER NAME…`, where FOLDER holds the modules
// NAME.js and NAME_bg.wasm that `cargo xtask test` makes. Each runs in a dedicated worker, as phiquant does on the page,
// with WebGPU on SwiftShader. This needs no WebDriver, whose version would have to match the browser's.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { launch } from "../tests/browser/chromium.js";
import { listen } from "../tests/browser/server.js";

const WORKER = `
const say = (message) => postMessage(message);
// What the harness in the module expects of its host: where lines go, and a frame in which a test may throw.
globalThis.__wbg_test_output_writeln = (line) => say({ line });
globalThis.__wbg_test_invoke = (test) => test();
// The harness shows a test's console output if it fails; what comes outside of tests is shown at once.
addEventListener("message", async ({ data: name }) => {
  try {
    const glue = await import("/" + name + ".js");
    for (const level of ["debug", "log", "info", "warn", "error"]) {
      const original = console[level].bind(console);
      console[level] = (...words) => {
        original(...words);
        glue["__wbgtest_console_" + level]?.(words);
      };
    }
    const exports = await glue.default();
    const tests = Object.keys(exports).filter((key) => key.startsWith("__wbgt_"));
    if (tests.length === 0) throw new Error(name + " has no tests");
    const context = new glue.WasmBindgenTestContext(false);
    say({ passed: await context.run(tests.map((key) => exports[key])) });
  } catch (error) {
    say({ line: String(error?.stack ?? error), passed: false });
  }
});
`;

const [folder, ...names] = process.argv.slice(2);
const server = await listen(async (request, response) => {
  const path = new URL(request.url, "http://host").pathname.slice(1);
  const type = path.endsWith(".wasm") ? "application/wasm" : path.endsWith(".js") ? "text/javascript" : "text/html";
  try {
    if (path === "favicon.ico") return response.writeHead(204).end();
    const body = path === "" ? "<!doctype html>" : path === "worker.js" ? WORKER : await readFile(join(folder, path));
    response.writeHead(200, { "content-type": type });
    response.end(body);
  } catch {
    response.writeHead(404);
    response.end();
  }
});
const browser = await launch("webgpu");
let passed = true;
for (const name of names) {
  console.log(`\n     Running ${name} in Chromium ${browser.version()}`);
  const page = await browser.newPage();
  await page.exposeFunction("sayLine", (line) => console.log(line));
  page.on("console", (message) => message.type() === "error" && console.log(`[console] ${message.text()}`));
  await page.goto(server.url);
  const result = await page.evaluate(
    (name) =>
      new Promise((resolve) => {
        const worker = new Worker("/worker.js", { type: "module" });
        worker.onmessage = async ({ data }) => {
          if ("line" in data) await window.sayLine(data.line);
          if ("passed" in data) resolve(data.passed);
        };
        worker.onerror = async (event) => {
          await window.sayLine(`the worker failed: ${event.message}`);
          resolve(false);
        };
        worker.postMessage(name);
      }),
    name,
  );
  passed &&= result;
  await page.close();
}
await browser.close();
await server.close();
process.exitCode = passed ? 0 : 1;
