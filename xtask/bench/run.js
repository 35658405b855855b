// Measures in headless Chromium and prints a page of Markdown: `node xtask/bench/run.js FOLDER SECTION…`, where FOLDER is
// what `cargo xtask bench` has made: native.json, small/ (a checkpoint) and GGUF files. PHIQUANT_PYTHON adds llama.cpp.

import { readFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { relative } from "node:path";
import { ROOT, startServer } from "../../tests/browser/server.js";
import { big } from "./big.js";
import { convert } from "./convert.js";
import { decode } from "./decode.js";
import { quantize } from "./quantize.js";
import { fixed, openPage, say, startLlama } from "./tools.js";

const SECTIONS = { quantize, convert, decode, big };

const [folder, ...wanted] = process.argv.slice(2);
const native = await readFile(`${folder}/native.json`, "utf8").then(JSON.parse, () => null);
const server = await startServer({
  "/bench/": "xtask/bench",
  "/models/bench/": relative(ROOT, folder),
  "/wllama/": "node_modules/@wllama/wllama",
});
const llama = startLlama(folder);
if (!llama) say("PHIQUANT_PYTHON is not set: no figures of native llama.cpp");
const page = await openPage(server);
const { version } = page;
await page.close();

const lines = [
  `Measured ${new Date().toISOString().slice(0, 10)} on ${cpus().length} × ${cpus()[0].model}, ` +
    `${fixed(totalmem() / 2 ** 30)} GiB, Chromium ${version}.`,
  "",
];
for (const name of wanted) {
  console.error(`${name}:`);
  lines.push(...(await SECTIONS[name]({ server, llama, native, folder })));
}
lines.push(
  "¹ WebGPU here is SwiftShader, which computes on the CPU: it shows that the path works, not how fast a GPU is.",
);
llama?.close();
await server.close();
console.log(lines.join("\n"));
