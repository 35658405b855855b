// Run: streams the weights into a model, then answers prompts.

import { Cutter } from "../io/cutter.js";
import { Detokenizer, StopStrings } from "../text/detokenize.js";
import { Text } from "../text/text.js";
import { PhiquantError, throwIfAborted } from "./errors.js";
import { Meter } from "./progress.js";
import { guard } from "./wasm.js";

/** Bytes of weights handed over at once, about; always whole rows. */
const PIECE = 2 << 20;
/** What says that this GPU cannot run this model, now or any more: the CPU can. */
const OF_THE_DEVICE = ["no-device", "device-lost", "device-mismatch", "unsupported", "out-of-memory"];
const SAMPLING = ["temperature", "topK", "topP", "minP", "repeatPenalty", "seed"];

/** Lets messages (an abort, the next request) in. A timer would wait for four milliseconds. */
function breathe() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve(undefined);
    };
    port2.postMessage(null);
  });
}

export class Runner {
  /**
   * @param {{ wasm: any, checkpoint: any, place: any, weightFiles: string[],
   *   options: { backend?: string, contextLength?: number }, emit: (progress: object) => void }} setup
   */
  constructor({ wasm, checkpoint, place, weightFiles, options, emit }) {
    this.wasm = wasm;
    this.checkpoint = checkpoint;
    this.place = place;
    this.weightFiles = weightFiles;
    this.options = options;
    this.emit = emit;
    this.text = new Text((name) => checkpoint.text(name));
    this.notices = [];
    /** Calls wait for one another: there is one conversation's cache. */
    this.turn = Promise.resolve();
  }

  /** Chooses a backend and loads the weights. */
  async load(signal) {
    const { backend = "auto" } = this.options;
    if (!["auto", "webgpu", "simd"].includes(backend)) {
      throw new PhiquantError("bad-option", `There is no backend "${backend}"; choose auto, webgpu or simd.`);
    }
    if (backend !== "simd") {
      try {
        await this.loadOn("webgpu", backend === "webgpu", signal);
        this.reason = `${this.model.device()} passed the self-check.`;
        return this.describe();
      } catch (error) {
        throwIfAborted(signal);
        if (!OF_THE_DEVICE.includes(error.code) || (backend === "webgpu" && error.code === "no-device")) throw error;
        this.reason = error.message;
        if (error.code !== "no-device") this.notice(`The CPU runs the model: ${error.message}`);
      }
    } else {
      this.reason = "SIMD128 was asked for.";
    }
    await this.loadOn("simd128", false, signal);
    return this.describe();
  }

  notice(text) {
    this.notices.push(text);
    this.emit({ ...this.meter?.state, notice: text });
  }

  describe() {
    const { model } = this;
    return {
      backend: this.backend,
      reason: this.reason,
      contextLength: model.context(),
      bytes: model.bytes(),
      notices: this.notices,
    };
  }

  async loadOn(backend, any, signal) {
    this.model?.free();
    this.model = null;
    const { ModelLoader } = this.wasm;
    const { contextLength } = this.options;
    const loader =
      backend === "webgpu"
        ? await guard(() => ModelLoader.gpu(this.checkpoint, any, contextLength))
        : guard(() => ModelLoader.cpu(this.checkpoint, contextLength));
    let done = false;
    try {
      await this.stream(loader, backend, signal);
      done = true;
      // Takes the loader, whatever comes of it.
      this.model = await guard(() => loader.finish());
    } finally {
      if (!done) loader.free();
    }
    this.backend = backend;
  }

  async stream(loader, backend, signal) {
    const wanted = JSON.parse(loader.wanted());
    const totalBytes = wanted.reduce((sum, { start, end }) => sum + end - start, 0);
    this.meter = new Meter(this.emit, { phase: "load", totalBytes, totalTensors: wanted.length, backend });
    let bytes = 0;
    let cutter = null;
    let room = new Uint8Array(PIECE);
    try {
      for (const [index, { tensor, file, start, end, rowBytes }] of wanted.entries()) {
        const name = this.weightFiles[file];
        if (cutter?.name !== name) {
          cutter?.close();
          cutter = new Cutter(this.place, name, signal);
        }
        await cutter.seek(start);
        const rows = (end - start) / rowBytes;
        const step = Math.max(1, Math.floor(PIECE / rowBytes));
        if (room.length < step * rowBytes) room = new Uint8Array(step * rowBytes);
        for (let row = 0; row < rows; row += step) {
          const piece = await cutter.take(room.subarray(0, Math.min(step, rows - row) * rowBytes));
          throwIfAborted(signal);
          guard(() => loader.put(index, row, piece));
          bytes += piece.length;
          this.meter.update({ bytes, tensor });
        }
        this.meter.update({ tensors: index + 1 }, index + 1 === wanted.length ? {} : null);
      }
    } finally {
      cutter?.close();
    }
  }

  /** Runs `action` when those before it are done. */
  async exclusive(signal, action) {
    const before = this.turn;
    let done;
    this.turn = new Promise((resolve) => {
      done = resolve;
    });
    try {
      await before;
      throwIfAborted(signal);
      return await action();
    } finally {
      done();
    }
  }

  generate({ prompt, options }, { signal, emit }) {
    return this.exclusive(signal, () => this.answer(prompt, options ?? {}, signal, emit));
  }

  async answer(prompt, options, signal, emit) {
    const { maxTokens = Number.POSITIVE_INFINITY, stop = [], ...rest } = options;
    const unknown = Object.keys(rest).find((name) => !SAMPLING.includes(name));
    if (unknown) throw new PhiquantError("bad-option", `generate has no option "${unknown}".`);
    if (!(maxTokens > 0)) throw new PhiquantError("bad-option", `maxTokens is ${maxTokens}; give a number above 0.`);
    const ids = this.text.promptIds(prompt);
    const usage = {
      promptTokens: ids.length,
      cachedTokens: 0,
      tokens: 0,
      prefillTokensPerSecond: 0,
      decodeTokensPerSecond: 0,
      finish: "stop",
    };
    // Explicit nulls and undefined mean the default.
    const sampling = JSON.stringify(
      Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined && value !== null)),
    );
    const detokenizer = new Detokenizer((ids) => this.text.decode(ids));
    const stops = new StopStrings(Array.isArray(stop) ? stop : [stop]);
    /** What was generated: with the prompt, all that a fresh model needs to go on. */
    const answer = [];
    let prefilled = 0;
    let decoding = 0;

    // (Re)fills the cache; false: aborted.
    const begin = async (first) => {
      const began = performance.now();
      let left = guard(() => this.model.begin(Uint32Array.from([...ids, ...answer]), sampling));
      if (first) usage.cachedTokens = ids.length - left;
      const count = left;
      while (left > 0) {
        await breathe();
        if (signal.aborted) return false;
        left = await guard(() => this.model.prefill());
      }
      if (first) prefilled = performance.now() - began;
      if (first) usage.prefillTokensPerSecond = prefilled > 0 ? (count * 1000) / prefilled : 0;
      return true;
    };

    let ready = false;
    for (;;) {
      if (answer.length >= maxTokens) {
        usage.finish = "length";
        break;
      }
      if (ready) await breathe();
      if (signal.aborted) {
        usage.finish = "abort";
        break;
      }
      let token;
      const began = performance.now();
      try {
        if (!ready && !(await begin(answer.length === 0))) {
          usage.finish = "abort";
          break;
        }
        ready = true;
        token = await guard(() => this.model.next());
      } catch (error) {
        if (error.code === "context-full" && answer.length > 0) {
          usage.finish = "length";
          break;
        }
        if (!OF_THE_DEVICE.includes(error.code) || this.backend !== "webgpu") throw error;
        await this.recover(error, signal);
        ready = false;
        continue;
      }
      if (token === undefined || token === null) break;
      answer.push(token);
      const { text, stopped } = stops.push(detokenizer.push(token));
      decoding += performance.now() - began;
      emit({ text, token });
      if (stopped) {
        stops.held = "";
        return this.finish(usage, answer, decoding - prefilled);
      }
    }
    const { text, stopped } = stops.push(detokenizer.flush());
    const rest_ = text + (stopped ? "" : stops.flush());
    if (rest_) emit({ text: rest_, token: null });
    return this.finish(usage, answer, decoding - prefilled);
  }

  finish(usage, answer, milliseconds) {
    usage.tokens = answer.length;
    usage.decodeTokensPerSecond = milliseconds > 0 ? (answer.length * 1000) / milliseconds : 0;
    return usage;
  }

  /** The GPU is gone, full or not to be trusted: the same weights on the CPU. */
  async recover(error, signal) {
    this.reason = `WebGPU was given up: ${error.message}`;
    const what = error.code === "device-lost" ? "The GPU was lost" : "The GPU failed";
    this.notice(`${what}; the model is loaded again on the CPU and the answer goes on. (${error.message})`);
    await this.loadOn("simd128", false, signal);
    this.emit({ ...this.meter.state, model: this.describe() });
  }

  tokenize({ text, addSpecialTokens }) {
    return this.text.encode(text, addSpecialTokens ?? true);
  }

  logits({ prompt }, { signal }) {
    return this.exclusive(signal, async () => {
      const ids = this.text.promptIds(prompt);
      let left = guard(() => this.model.begin(Uint32Array.from(ids), "{}"));
      while (left > 0) left = await guard(() => this.model.prefill());
      return guard(() => this.model.logits());
    });
  }
}
