// Convert: streams the source, cuts chunks of whole rows, has them quantized, writes them where the plan says.
//
// Memory is bounded: a chunk is read only when a worker has room for the one before it.

import { Cutter } from "../io/cutter.js";
import { openSink } from "../io/sink.js";
import { PhiquantError, throwIfAborted } from "./errors.js";
import { Hashing, hashBlob } from "./hasher.js";
import { Pool } from "./pool.js";
import { Meter } from "./progress.js";
import { Spares } from "./spares.js";
import { guard, memoryBytes } from "./wasm.js";

/** Bytes of source in a chunk, about; always whole rows. */
const CHUNK = 3 << 20;

/** Workers that help: the page and the one that streams want a processor too. */
function defaultWorkers() {
  return Math.min(Math.max(1, (navigator.hardwareConcurrency ?? 2) - 1), 8);
}

/**
 * @param {object} job
 * @param {any} job.wasm
 * @param {WebAssembly.Module} job.module
 * @param {any} job.checkpoint the wasm's Checkpoint
 * @param {any} job.place
 * @param {string[]} job.weightFiles
 * @param {any} job.options QuantizeOptions without functions
 * @param {{ session: string, result: string }} job.folder
 * @param {AbortSignal} job.signal
 * @param {(progress: object) => void} job.emit
 */
export async function convert(job) {
  const conversion = new Conversion(job);
  try {
    return await conversion.run();
  } catch (error) {
    conversion.stop(error);
    await conversion.settle();
    await conversion.sink?.abort();
    throw error;
  } finally {
    conversion.pool.close();
    conversion.hashing?.close();
  }
}

class Conversion {
  constructor(job) {
    Object.assign(this, job);
    this.began = performance.now();
    // Ends everything: the caller's abort, or the first error.
    this.controller = new AbortController();
    job.signal.addEventListener("abort", () => this.stop(job.signal.reason), { once: true });
    const workers = job.options.workers ?? defaultWorkers();
    if (!Number.isInteger(workers) || workers < 1 || workers > 64) {
      throw new PhiquantError("bad-option", `workers is ${workers}; give a whole number from 1 to 64.`);
    }
    this.pool = new Pool({ module: job.module, workers, signal: this.controller.signal });
    this.meter = new Meter(job.emit, { phase: "quantize", workers });
    this.notices = [];
    this.flights = new Set();
    this.spares = new Spares(CHUNK);
    this.failure = null;
    /** @type {Map<object, { rows: number, weights: number, squared: number, original: number, max: number, backends: Set<string> }>} */
    this.tallies = new Map();
    /** @type {Map<object, any>} by task: a tensor of several parts has a report for each */
    this.reports = new Map();
    /** Tasks to do again on the CPU. */
    this.redo = new Set();
    this.attempts = new Map();
    this.done = 0;
  }

  notice(text) {
    this.notices.push(text);
    this.meter.notice(text);
  }

  stop(error) {
    this.failure ??= error;
    this.controller.abort(error);
  }

  settle() {
    return Promise.allSettled([...this.flights]);
  }

  async run() {
    const { options, checkpoint } = this;
    throwIfAborted(this.signal);
    const { backend, workers, sink, imatrix, ...wanted } = options;
    const importance = imatrix && guard(() => this.wasm.Importance.read(imatrix.name, imatrix.bytes));
    const plan = guard(() => checkpoint.plan(JSON.stringify({ format: "gguf", ...wanted }), importance));
    try {
      this.plan = { ...JSON.parse(plan.sizes()), tasks: JSON.parse(plan.tasks()) };
      for (const [i, task] of this.plan.tasks.entries()) task.importance = () => plan.importance(i);
      const totalBytes = this.plan.tasks.reduce((sum, task) => sum + task.end - task.start, 0);
      this.meter.update({ totalBytes, totalTensors: this.plan.tasks.length }, {});
      for (const text of this.plan.notices) this.notice(text);
      await this.chooseBackend(backend ?? "auto");
      this.sink = await openSink(sink, this.folder, this.plan.files);
      this.hashing = await Hashing.start(this.module, this.sink.files, this.spares);
      for (let i = 0; i < plan.literals(); i++) {
        const literal = plan.literal(i);
        await this.write(literal.file, literal.offset, literal.bytes);
      }
      const { tasks } = this.plan;
      await this.markGpuTasks(tasks);
      await this.pass(tasks);
      while (this.redo.size > 0) {
        const again = tasks.filter((task) => this.redo.has(task));
        this.redo.clear();
        await this.pass(again);
      }
    } finally {
      await this.settle();
      plan.free();
    }
    return this.finish();
  }

  async chooseBackend(backend) {
    if (!["auto", "webgpu", "simd"].includes(backend)) {
      throw new PhiquantError("bad-option", `There is no backend "${backend}"; choose auto, webgpu or simd.`);
    }
    this.backend = "simd128";
    if (backend === "simd") {
      this.reason = "SIMD128 was asked for.";
    } else {
      try {
        const pairs = this.plan.tasks.map(({ from, to }) => [from, to]);
        const info = await this.pool.startGpu(backend === "webgpu", pairs);
        this.backend = "webgpu";
        this.reason = `${info.name || info.vendor || "The adapter"} passed the self-check.`;
      } catch (error) {
        throwIfAborted(this.signal);
        if (backend === "webgpu" && error.code === "no-device") throw error;
        this.reason = error.message;
        if (error.code !== "no-device") this.notice(`The CPU quantizes: ${error.message}`);
      }
    }
    // Workers start while the storage is made ready; where they cannot, whoever wants one is told.
    if (this.backend === "simd128") this.pool.startCpu().catch(() => {});
    this.meter.update({ backend: this.backend }, {});
  }

  /** Says of each task whether the GPU has a shader for it. */
  async markGpuTasks(tasks) {
    const known = new Map();
    for (const task of tasks) {
      const key = `${task.from} ${task.to}`;
      if (!known.has(key)) known.set(key, await this.pool.gpuSupports(task.from, task.to));
      // The shaders know nothing of importance.
      task.gpu = !task.weighed && known.get(key);
    }
  }

  /** One pass over the source for these tasks, in their order. */
  async pass(tasks) {
    const byFile = new Map();
    for (const task of tasks) {
      if (!byFile.has(task.sourceFile)) byFile.set(task.sourceFile, []);
      byFile.get(task.sourceFile).push(task);
    }
    for (const [file, tasks] of byFile) {
      const cutter = new Cutter(this.place, this.weightFiles[file], this.controller.signal);
      try {
        for (const task of tasks) await this.stream(cutter, task);
      } catch (error) {
        throw this.failure ?? error;
      } finally {
        cutter.close();
      }
    }
    await this.settle();
    if (this.failure) throw this.failure;
    throwIfAborted(this.controller.signal);
  }

  /** Reads a task's rows and hands them out. */
  async stream(cutter, task) {
    this.tallies.set(task, { rows: 0, weights: 0, squared: 0, original: 0, max: 0, backends: new Set() });
    this.meter.update({ tensor: task.tensor });
    if (task.rows === 0) return this.tensorDone(task);
    await cutter.seek(task.start);
    const rowBytes = (task.end - task.start) / task.rows;
    const outBytes = task.outBytes / task.rows;
    const perChunk = Math.max(1, Math.floor(CHUNK / rowBytes));
    const importance = task.weighed ? task.importance() : undefined;
    for (let row = 0; row < task.rows; row += perChunk) {
      const rows = Math.min(perChunk, task.rows - row);
      const read = cutter.take(this.spares.take(rows * rowBytes)).catch((error) => {
        if (error instanceof PhiquantError) error.tensor ??= task.tensor;
        throw error;
      });
      // One chunk ahead: the network goes on while all workers are busy.
      const [source, lane] = await Promise.all([read, this.pool.lane(task.gpu)]);
      const flight = this.chunk(lane, task, { source, importance }, rows, task.offset + row * outBytes).catch((error) =>
        this.stop(error),
      );
      this.flights.add(flight);
      flight.finally(() => this.flights.delete(flight));
    }
  }

  /** One chunk's way through a worker into the sink. */
  async chunk(lane, task, { source, importance }, rows, offset) {
    const tally = this.tallies.get(task);
    const bytes = source.length;
    let made;
    try {
      made = await this.pool.convert(lane, {
        from: task.from,
        to: task.to,
        cols: task.cols,
        weights: rows * task.cols,
        source,
        out: this.spares.take((rows * task.outBytes) / task.rows),
        importance,
      });
    } catch (error) {
      throwIfAborted(this.controller.signal);
      if (error.code === "worker-failed") return this.workerFailed(error, task, lane);
      throw new PhiquantError(error.code, error.message, {
        file: error.file ?? this.weightFiles[task.sourceFile],
        tensor: error.tensor ?? task.tensor,
        cause: error,
      });
    }
    throwIfAborted(this.controller.signal);
    this.spares.give(made.source);
    if (made.fault) this.gpuFailed(made.fault, task);
    if (this.redo.has(task)) return;
    await this.write(task.file, offset, made.out);
    const [weights, squared, original, max] = made.sums;
    tally.rows += rows;
    tally.weights += weights;
    tally.squared += squared;
    tally.original += original;
    tally.max = Math.max(tally.max, max);
    tally.backends.add(made.backend);
    this.done += bytes;
    this.meter.update({ bytes: this.done });
    if (tally.rows === task.rows) this.tensorDone(task);
  }

  tensorDone(task) {
    const tally = this.tallies.get(task);
    const report = {
      tensor: task.tensor,
      output: task.output,
      scheme: task.to,
      shape: task.shape,
      rmse: tally.weights ? Math.sqrt(tally.squared / tally.weights) : 0,
      relative: tally.original > 0 ? Math.sqrt(tally.squared / tally.original) : 0,
      max: tally.max,
      backend: [...tally.backends].sort().reverse().join("+") || this.backend,
    };
    this.reports.set(task, report);
    this.meter.update({ tensors: this.reports.size }, { report });
  }

  /** The whole tensor is done again on the CPU, from the source. */
  again(task) {
    if (this.redo.has(task)) return;
    const tally = this.tallies.get(task);
    this.redo.add(task);
    this.done -= (tally.rows * (task.end - task.start)) / task.rows;
    this.reports.delete(task);
  }

  gpuFailed({ code, message }, task) {
    if (this.backend === "webgpu") {
      this.backend = "simd128";
      this.reason = `WebGPU was given up: ${message}`;
      this.meter.update({ backend: "simd128" });
      const what =
        code === "device-mismatch"
          ? `The GPU's result for ${task.tensor} differs from the CPU's; this tensor and the rest are quantized on the CPU.`
          : `The GPU was lost at ${task.tensor}; the rest is quantized on the CPU.`;
      this.notice(`${what} (${message})`);
      this.pool.dropGpu();
    }
    // What else of this tensor the GPU made is not to be trusted.
    if (code === "device-mismatch") this.again(task);
  }

  workerFailed(error, task, lane) {
    if (lane.gpu) {
      this.gpuFailed({ code: "device-lost", message: error.message }, task);
      return this.again(task);
    }
    const attempts = (this.attempts.get(task) ?? 0) + (this.redo.has(task) ? 0 : 1);
    this.attempts.set(task, attempts);
    if (attempts > 1) {
      throw new PhiquantError(error.code, error.message, { tensor: task.tensor, cause: error });
    }
    if (!this.redo.has(task)) this.notice(`A worker stopped at ${task.tensor}; the tensor is quantized again.`);
    this.again(task);
  }

  async write(file, offset, bytes) {
    await this.sink.files[file].write(offset, bytes);
    this.hashing.wrote(file, offset, bytes);
  }

  async finish() {
    this.meter.update({ phase: "finish" }, {});
    const hashes = await this.hashing.digests();
    throwIfAborted(this.signal);
    const done = await this.sink.finish();
    const files = [];
    for (const [i, { name, file }] of done.entries()) {
      files.push({ name, bytes: file.size, sha256: hashes[i] ?? (await hashBlob(this.wasm, file)), file });
    }
    return {
      files,
      report: {
        tensors: this.plan.tasks.map((task) => this.reports.get(task)),
        seconds: (performance.now() - this.began) / 1000,
        backend: this.backend,
        reason: this.reason,
        workers: this.backend === "webgpu" && this.pool.cpuWorkers === 0 ? 1 : this.pool.cpuWorkers,
        peakMemoryBytes: Math.max(this.pool.peakMemory, memoryBytes()),
        notices: this.notices,
      },
    };
  }
}
