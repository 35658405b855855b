// Workers that quantize: a lane on the GPU where there is one, and lanes on the CPU, started when they are first needed.

import { PhiquantError, throwIfAborted } from "./errors.js";
import { startWorker } from "./rpc.js";

/** Chunks that a worker is given at once, so that it never waits for the next one. */
const DEPTH = 2;

export class Pool {
  /** @param {{ module: WebAssembly.Module, workers: number, signal: AbortSignal }} options */
  constructor({ module, workers, signal }) {
    this.module = module;
    this.wanted = workers;
    this.signal = signal;
    this.lanes = [];
    /** @type {any} */
    this.gpu = null;
    this.peakMemory = 0;
    /** Those who wait for a free lane. @type {(() => void)[]} */
    this.waiting = [];
    this.wake = () => {
      for (const resume of this.waiting.splice(0)) resume();
    };
    signal.addEventListener("abort", this.wake);
  }

  async start(gpu) {
    const peer = startWorker(
      new URL("./quantizer.js", import.meta.url),
      {},
      gpu ? "phiquant gpu" : "phiquant quantizer",
    );
    const lane = { peer, load: 0, gpu: gpu !== null, dead: false };
    peer.onfail = () => {
      lane.dead = true;
      peer.terminate();
      this.wake();
    };
    try {
      lane.info = await peer.call("init", { module: this.module, gpu }, { signal: this.signal });
    } catch (error) {
      peer.terminate();
      throw error;
    }
    return lane;
  }

  /**
   * Starts the GPU's lane; rejects where there is no adapter, or where it does not convert these types as the CPU does.
   * @param {boolean} any
   * @param {[string, string][]} pairs from, to
   */
  async startGpu(any, pairs) {
    this.gpu = await this.start({ any, pairs });
    return this.gpu.info.gpu;
  }

  async gpuSupports(from, to) {
    return this.gpu ? this.gpu.peer.call("supports", { from, to }) : false;
  }

  /** Ends the use of the GPU. */
  dropGpu() {
    this.gpu = null;
    this.wake();
  }

  async startCpu() {
    this.starting ??= Promise.all(Array.from({ length: this.wanted }, () => this.start(null))).then((lanes) => {
      this.lanes.push(...lanes);
    });
    await this.starting;
  }

  get cpuWorkers() {
    return this.lanes.filter((lane) => !lane.dead).length;
  }

  /** A lane with room, when there is one. */
  async lane(wantsGpu) {
    for (;;) {
      throwIfAborted(this.signal);
      const gpu = wantsGpu && this.gpu && !this.gpu.dead ? this.gpu : null;
      if (!gpu) await this.startCpu();
      const lanes = gpu ? [gpu] : this.lanes.filter((lane) => !lane.dead);
      if (lanes.length === 0) {
        // All are dead: one more try with a new one.
        this.starting = null;
        if (this.restarted) {
          throw new PhiquantError(
            "worker-failed",
            "The workers that quantize keep stopping. Reload the page, or use fewer workers.",
          );
        }
        this.restarted = true;
        continue;
      }
      const lane = lanes.reduce((best, lane) => (lane.load < best.load ? lane : best));
      if (lane.load < DEPTH) return lane;
      await new Promise((resolve) => this.waiting.push(() => resolve(undefined)));
    }
  }

  /** Hands a chunk to a lane; its buffers are gone from here until the result brings them back. */
  async convert(lane, job) {
    lane.load++;
    try {
      const result = await lane.peer.call(
        "convert",
        { ...job, gpu: lane === this.gpu },
        { signal: this.signal, transfer: [job.source.buffer, job.out.buffer] },
      );
      this.peakMemory = Math.max(this.peakMemory, result.memory);
      return result;
    } finally {
      lane.load--;
      this.wake();
    }
  }

  close() {
    this.signal.removeEventListener("abort", this.wake);
    for (const lane of [this.gpu, ...this.lanes]) lane?.peer.terminate();
    this.lanes = [];
    this.gpu = null;
  }
}
