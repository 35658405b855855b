// One worker that quantizes the same weights again and again, with its own instance of the wasm.

import init, { convert, GpuQuantizer } from "/pkg/phiquant.js";

const COLS = 4096;
const ROWS = 384; // 3 MB of bf16: what the engine gives a worker at a time

let work;

/** Weights as a checkpoint has them: normal, bf16. */
function weights() {
  const bytes = new Uint8Array(ROWS * COLS * 2);
  const [view, float] = [new DataView(bytes.buffer), new DataView(new ArrayBuffer(4))];
  for (let i = 0; i < ROWS * COLS; i++) {
    const normal = Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    float.setFloat32(0, normal * 0.02);
    view.setUint16(2 * i, float.getUint16(0), true);
  }
  return bytes;
}

self.onmessage = async ({ data }) => {
  try {
    if (data.prepare) {
      await init();
      const { scheme, gpu } = data.prepare;
      const source = weights();
      const device = gpu ? await GpuQuantizer.create(true) : null;
      work = () => (device ? device.convert("BF16", scheme, COLS, source) : convert("BF16", scheme, COLS, source));
      await work();
      postMessage({});
      return;
    }
    const begin = performance.now();
    let rounds = 0;
    do {
      await work();
      rounds++;
    } while (performance.now() - begin < data.seconds * 1e3);
    postMessage({ rate: (rounds * ROWS * COLS * 1e3) / (performance.now() - begin) });
  } catch (error) {
    postMessage({ error: String(error?.message ?? error) });
  }
};
