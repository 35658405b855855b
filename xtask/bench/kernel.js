// One worker that quantizes the same weights again and again, with its own instance of the wasm.

import init, { convert, GpuQuantizer, KernelBench } from "/pkg/phiquant.js";

const ROWS = "/models/bench/rows.f32";

let work;
let weights = 0;
let bench = null;

/** What a checkpoint would hold: the rows' upper halves. */
function asBf16(rows) {
  const bits = new Uint32Array(rows.buffer);
  const halves = Uint16Array.from(bits, (bits) => bits >>> 16);
  return new Uint8Array(halves.buffer);
}

async function prepare({ scheme, cols, what }) {
  await init();
  const rows = new Float32Array(await (await fetch(ROWS)).arrayBuffer());
  weights = rows.length;
  if (what === "kernel") {
    bench = new KernelBench(scheme, cols, rows);
    work = () => bench.run();
  } else {
    const source = asBf16(rows);
    const device = what === "webgpu" ? await GpuQuantizer.create(true) : null;
    if (device && !device.supports("BF16", scheme)) return { supported: false };
    bench = new KernelBench(scheme, cols, rows);
    bench.run();
    const out = new Uint8Array(bench.bytes().length);
    work = () =>
      device
        ? device.convert("BF16", scheme, cols, source, out)
        : convert("BF16", scheme, cols, source, undefined, out);
  }
  await work();
  return { supported: true };
}

async function measure(seconds) {
  const begin = performance.now();
  let rounds = 0;
  do {
    await work();
    rounds++;
  } while (performance.now() - begin < seconds * 1e3);
  return { rate: (rounds * weights * 1e3) / (performance.now() - begin) };
}

async function sha256() {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bench.bytes()));
  return { sha256: Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") };
}

self.onmessage = async ({ data }) => {
  try {
    if (data.prepare) postMessage(await prepare(data.prepare));
    else postMessage(data.seconds ? await measure(data.seconds) : await sha256());
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};
