// A size to stay under: reads a few rows of every kind of matrix, and lets the core choose the mix.

import { Cutter } from "../io/cutter.js";
import { PhiquantError } from "./errors.js";
import { Meter } from "./progress.js";
import { guard } from "./wasm.js";

/**
 * @param {object} job
 * @param {any} job.wasm
 * @param {any} job.checkpoint the wasm's Checkpoint
 * @param {any} job.place
 * @param {string[]} job.weightFiles
 * @param {any} job.options
 * @param {number | undefined} job.targetBytes without one, all candidates are told
 * @param {AbortSignal} job.signal
 * @param {(progress: object) => void} job.emit
 */
export async function fit({ wasm, checkpoint, place, weightFiles, options, targetBytes, signal, emit }) {
  if (!(targetBytes > 0))
    throw new PhiquantError("bad-option", `targetBytes is ${targetBytes}; give a number of bytes.`);
  const { imatrix, ...wanted } = options;
  const importance = imatrix && guard(() => wasm.Importance.read(imatrix.name, imatrix.bytes));
  const choice = guard(() => checkpoint.fit(JSON.stringify(wanted), importance));
  /** @type {Cutter | null} */
  let cutter = null;
  try {
    const samples = JSON.parse(choice.samples());
    const meter = new Meter(emit, { phase: "fit", totalTensors: samples.length });
    meter.update({}, {});
    for (const [i, { file, start, end }] of samples.entries()) {
      if (cutter?.name !== weightFiles[file]) {
        cutter?.close();
        cutter = new Cutter(place, weightFiles[file], signal);
      }
      await cutter.seek(start);
      const bytes = await cutter.take(new Uint8Array(end - start));
      guard(() => choice.put(i, bytes));
      meter.update({ tensors: i + 1 });
    }
    const chosen = JSON.parse(guard(() => choice.choose(targetBytes)));
    return { ...chosen, candidates: JSON.parse(guard(() => choice.candidates())) };
  } finally {
    cutter?.close();
    choice.free();
  }
}
