// The host of one checkpoint or one model: reads the source, owns the wasm's Checkpoint, plans, streams, and runs.

import { OPTIONAL_BLOBS, OPTIONAL_TEXTS, openPlace } from "../io/source.js";
import { convert } from "./convert.js";
import { PhiquantError, throwIfAborted } from "./errors.js";
import { fit } from "./fit.js";
import { Meter } from "./progress.js";
import { connect } from "./rpc.js";
import { compile, guard, instantiate } from "./wasm.js";

/** @type {WebAssembly.Module} */
let module;
let wasm;
let place;
/** @type {any} */
let checkpoint;
/** @type {string[]} */
let weightFiles;
/** @type {import("./run.js").Runner | null} */
let runner = null;

/** A checkpoint's weights where they are in one file, and what that was called before safetensors. */
const SINGLE = "model.safetensors";
const OLDER = "pytorch_model.bin";

/** What the builder was given, call by call: with it the page's thread builds the same checkpoint, to estimate sizes. */
let recorded = [];

/** Calls the builder, and remembers the call. */
function tell(builder, method, ...args) {
  recorded.push([method, ...args]);
  return guard(() => builder[method](...args));
}

/** Who is told of resumed downloads: the call that is under way. */
let notify = (_notice) => {};

async function start() {
  if (wasm) return;
  module = await compile();
  wasm = await instantiate(module);
}

/** Reads the header of a weight file, and no more of it than that. */
async function readHeader(builder, name, signal) {
  let reader = await place.open(name, { signal });
  try {
    for (;;) {
      const bytes = await reader.read();
      if (bytes === null) {
        throw new PhiquantError("truncated", `${name} ends within its header. Get the file again.`, { file: name });
      }
      const need = tell(builder, "pushHeader", name, reader.size ?? undefined, bytes);
      if (need === undefined) return;
      // A zip archive is read from its end.
      if (need.at !== undefined) {
        reader.cancel();
        reader = await place.open(name, { start: need.at, signal });
      }
    }
  } finally {
    reader.cancel();
  }
}

async function readTexts(builder, signal) {
  const decoder = new TextDecoder();
  const add = async (name, optional) => {
    const bytes = await place.bytes(name, { optional, signal });
    if (bytes) tell(builder, "addText", name, decoder.decode(bytes));
  };
  // First the one without which nothing is: its failure says more than that of all the others.
  await add("config.json", false);
  await Promise.all([
    ...OPTIONAL_TEXTS.map((name) => add(name, true)),
    ...OPTIONAL_BLOBS.map(async (name) => {
      const bytes = await place.bytes(name, { optional: true, signal });
      if (bytes) tell(builder, "addBlob", name, bytes);
    }),
  ]);
}

async function open({ source }, { signal, emit }) {
  await start();
  recorded = [];
  const meter = new Meter(emit, { phase: "open" });
  notify = (notice) => meter.notice(notice);
  meter.update({}, {});
  place = await openPlace(source, (notice) => notify(notice));
  const builder = new wasm.CheckpointBuilder(place.name);
  const gguf = /\.gguf$/i.test(place.weights ?? "");
  if (!gguf) await readTexts(builder, signal);
  // Of a split GGUF the others follow from one name.
  if (gguf) tell(builder, "addName", place.weights);
  weightFiles = place.weights && !gguf ? [place.weights] : guard(() => builder.weightFiles());
  for (const [i, name] of weightFiles.entries()) {
    throwIfAborted(signal);
    try {
      await readHeader(builder, name, signal);
    } catch (error) {
      // A server does not say what it has: older repositories have this one.
      if (name !== SINGLE || !["not-found", "missing-file"].includes(error.code)) throw error;
      weightFiles[i] = OLDER;
      await readHeader(builder, OLDER, signal).catch((other) => {
        throw other.code === error.code ? error : other;
      });
    }
    meter.update({ tensors: i + 1, totalTensors: weightFiles.length });
  }
  checkpoint = guard(() => builder.finish());
  const summary = JSON.parse(checkpoint.summary());
  weightFiles = summary.files;
  return { ...summary, name: place.name };
}

connect(/** @type {any} */ (self), {
  async open(args, context) {
    const summary = await open(args, context);
    return { ...summary, recorded };
  },

  async schemes() {
    await start();
    return JSON.parse(wasm.schemes());
  },

  async fit({ options, targetBytes }, { signal, emit }) {
    notify = (notice) => emit({ phase: "fit", notice });
    return fit({ wasm, checkpoint, place, weightFiles, options, targetBytes, signal, emit });
  },

  async quantize({ options, sink, folder }, { signal, emit }) {
    notify = (notice) => emit({ phase: "quantize", notice });
    return convert({
      wasm,
      module,
      checkpoint,
      place,
      weightFiles,
      options: { ...options, sink },
      folder,
      signal,
      emit,
    });
  },

  async load({ source, options }, context) {
    const summary = await open({ source }, context);
    const { Runner } = await import("./run.js");
    runner = new Runner({ wasm, checkpoint, place, weightFiles, options, emit: context.emit });
    notify = (notice) => runner.notice(notice);
    return { ...summary, ...(await runner.load(context.signal)) };
  },

  generate: (args, context) => {
    runner.emit = (progress) => context.emit({ progress });
    return runner.generate(args, { signal: context.signal, emit: (piece) => context.emit({ piece }) });
  },
  tokenize: (args) => runner.tokenize(args),
  logits: (args, context) => runner.logits(args, context),
});
