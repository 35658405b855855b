// A worker that hashes: sha256 of files whose bytes come in order.

import { connect, Transfer } from "./rpc.js";
import { instantiate } from "./wasm.js";

let wasm;
/** A state for each file. @type {Map<number, any>} */
const states = new Map();

connect(/** @type {any} */ (self), {
  async init({ module }) {
    wasm = await instantiate(module);
  },

  /** Begins a file, or begins it again. */
  begin({ file }) {
    states.get(file)?.free();
    states.set(file, new wasm.Sha256());
  },

  /** The bytes' memory goes back. */
  update({ file, bytes }) {
    states.get(file).update(bytes);
    return new Transfer(bytes, [bytes.buffer]);
  },

  /** Lower-case hexadecimal. */
  digest: ({ file }) => states.get(file).digest(),
});
