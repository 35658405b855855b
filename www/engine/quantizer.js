// A worker that quantizes chunks with its own instance of the wasm, on the CPU or on a GPU of its own.

import { connect, Transfer } from "./rpc.js";
import { guard, instantiate, memoryBytes } from "./wasm.js";

/** Chunks of fewer weights are not worth the way to the GPU and back. */
const SMALL = 1 << 15;

let wasm;
/** @type {any} the wasm's GpuQuantizer, while the GPU is to be trusted */
let gpu = null;

connect(/** @type {any} */ (self), {
  /** @param {{ module: WebAssembly.Module, gpu: null | { any: boolean, pairs: [string, string][] } }} options */
  async init({ module, gpu: wanted }) {
    wasm = await instantiate(module);
    if (!wanted) return { gpu: null };
    gpu = await guard(() => wasm.GpuQuantizer.create(wanted.any));
    try {
      await guard(() => gpu.selfCheck(JSON.stringify(wanted.pairs)));
    } catch (error) {
      gpu = null;
      throw error;
    }
    return { gpu: JSON.parse(gpu.info()) };
  },

  /**
   * Whole rows. Where the GPU fails, the CPU does them, and `fault` says why.
   * @param {{ from: string, to: string, cols: number, source: Uint8Array, out: Uint8Array, importance?: Float32Array,
   *   weights: number, gpu: boolean }} job `out`: room for the result; its buffer and that of `source` go back
   */
  async convert({ from, to, cols, source, out, importance, weights, gpu: wanted }) {
    let fault = null;
    let backend = "simd128";
    let sums;
    // The shaders know nothing of importance.
    if (wanted && gpu && !importance && weights >= SMALL && gpu.supports(from, to)) {
      try {
        sums = await guard(() => gpu.convert(from, to, cols, source, out));
        backend = "webgpu";
      } catch (error) {
        // A fault of the data is no fault of the GPU.
        if (["not-finite", "aborted"].includes(error.code)) throw error;
        fault = { code: error.code, message: error.message };
        gpu = null;
      }
    }
    sums ??= guard(() => wasm.convert(from, to, cols, source, importance, out));
    const result = { source, out, sums, backend, fault, memory: memoryBytes() };
    return new Transfer(result, [source.buffer, out.buffer]);
  },

  supports({ from, to }) {
    return gpu?.supports(from, to) ?? false;
  },
});
