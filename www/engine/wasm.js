// The WebAssembly module: compiled once, instantiated in each worker that needs it.

import { asError, PhiquantError } from "./errors.js";

/** The smallest module that uses SIMD128: `i8x16.splat`, then `i8x16.popcnt`. */
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
];
/** … and relaxed SIMD: `i32x4.relaxed_dot_i8x16_i7x16_add_s`. */
const RELAXED_SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 8, 1, 96, 3, 123, 123, 123, 1, 123, 3, 2, 1, 0, 10, 13, 1, 11, 0, 32, 0, 32, 1, 32, 2,
  253, 147, 2, 11,
];

const validates = (bytes) => globalThis.WebAssembly?.validate?.(new Uint8Array(bytes)) === true;
export const hasSimd = () => validates(SIMD);
export const hasRelaxedSimd = () => validates(RELAXED_SIMD);

/** @returns {Promise<WebAssembly.Module>} can be sent to workers */
export async function compile() {
  if (!hasSimd()) {
    throw new PhiquantError(
      "no-wasm-simd",
      "This browser has no WebAssembly SIMD. Use Chrome or Edge 91, Firefox 89, Safari 16.4, or newer.",
    );
  }
  const url = new URL("../pkg/phiquant_bg.wasm", import.meta.url);
  try {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`status ${response.status}`);
    // Servers that do not know the type of .wasm files make compileStreaming refuse.
    return (response.headers.get("content-type") ?? "").startsWith("application/wasm")
      ? await WebAssembly.compileStreaming(response)
      : await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    throw new PhiquantError(
      "internal",
      `The program's WebAssembly part could not be loaded from ${url.href}: ${cause.message}.`,
      {
        cause,
      },
    );
  }
}

/** This thread's own instance. @type {Promise<any> | null} */
let own = null;

export async function core() {
  own ??= compile().then(instantiate);
  try {
    return await own;
  } catch (error) {
    own = null;
    throw error;
  }
}

/** @type {typeof import("../pkg/phiquant.js") | null} */
let bindings = null;

/**
 * Instantiates the module in this worker, once.
 * @param {WebAssembly.Module | Promise<WebAssembly.Module>} module
 */
export async function instantiate(module) {
  if (!bindings) {
    const loaded = await import("../pkg/phiquant.js");
    await loaded.default({ module_or_path: await module });
    bindings = loaded;
  }
  return bindings;
}

/** What the wasm threw, as a PhiquantError. A trap without a panic's message is a failed allocation. */
export function wasmError(thrown) {
  if (typeof WebAssembly === "object" && thrown instanceof WebAssembly.RuntimeError) {
    const panic = bindings?.takePanic();
    if (panic)
      return new PhiquantError("internal", `A fault of phiquant itself, please report it: ${panic}`, { cause: thrown });
    if (/unreachable/.test(thrown.message)) {
      return new PhiquantError(
        "out-of-memory",
        "The WebAssembly memory is full. Close other tabs, choose a smaller context, or use fewer workers.",
        { cause: thrown },
      );
    }
  }
  return asError(thrown);
}

/** Calls into the wasm with its errors made readable. @template T @param {() => T} call @returns {T} */
export function guard(call) {
  try {
    const result = call();
    if (result instanceof Promise) {
      return /** @type {any} */ (
        result.catch((thrown) => {
          throw wasmError(thrown);
        })
      );
    }
    return result;
  } catch (thrown) {
    throw wasmError(thrown);
  }
}

/** Bytes of this instance's memory, which only ever grows: the high-water mark. */
export const memoryBytes = () => bindings?.memoryBytes() ?? 0;
