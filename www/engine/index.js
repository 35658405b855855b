// The public API; index.d.ts has its types. The page's thread only talks to workers: each checkpoint and each model lives in one.

import { FOLDER } from "../io/sink.js";
import { describe, stem } from "../io/source.js";
import { PhiquantError, throwIfAborted } from "./errors.js";
import { openImatrix, planOptions } from "./options.js";
import { startWorker } from "./rpc.js";
import { core, guard, hasRelaxedSimd, hasSimd } from "./wasm.js";

export { openImatrix, PhiquantError };

const host = (name) => startWorker(new URL("./worker.js", import.meta.url), {}, `phiquant ${name}`);

/** How objects of this module can be opened again. @type {WeakMap<object, import("../io/source.js").Description>} */
const descriptions = new WeakMap();

function describeSource(source, { hub, token } = {}) {
  return descriptions.get(source) ?? describe(source, { hub, token, base: globalThis.document?.baseURI });
}

/** Results in OPFS lie in a folder of this page's own; a lock says that the page is still there. */
let session = null;

async function ownSession() {
  session ??= (async () => {
    const name = crypto.randomUUID?.() ?? Math.random().toString(36).slice(2);
    // Held until the page goes away.
    await new Promise((held) => {
      if (!navigator.locks) return held(undefined);
      navigator.locks.request(`${FOLDER}/${name}`, () => new Promise(() => held(undefined)));
    });
    await sweep().catch(() => {});
    return name;
  })();
  return session;
}

/** Removes what pages that are gone have left behind. */
async function sweep() {
  if (!navigator.locks) return;
  const { held } = await navigator.locks.query();
  const alive = new Set(held?.map(({ name }) => name));
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
  for await (const name of /** @type {any} */ (root).keys()) {
    if (!alive.has(`${FOLDER}/${name}`)) await root.removeEntry(name, { recursive: true }).catch(() => {});
  }
}

function numberOfThreads() {
  return navigator.hardwareConcurrency ?? 1;
}

export async function probe() {
  const { quota, usage } = (await navigator.storage?.estimate?.().catch(() => ({}))) ?? {};
  return {
    webgpu: await probeGpu(),
    simd: hasSimd(),
    relaxedSimd: hasRelaxedSimd(),
    threads: numberOfThreads(),
    storageBytes: quota === undefined ? null : Math.max(0, quota - (usage ?? 0)),
  };
}

async function probeGpu() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (!adapter) return null;
  const { vendor, architecture, description } = adapter.info ?? {};
  return {
    vendor: [vendor, architecture || description].filter(Boolean).join(" "),
    fallback: adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? false,
    f16: adapter.features.has("shader-f16"),
    subgroups: adapter.features.has("subgroups"),
    maxBufferBytes: Math.min(adapter.limits.maxBufferSize, adapter.limits.maxStorageBufferBindingSize),
  };
}

let knownSchemes = null;

export async function schemes() {
  knownSchemes ??= (async () => {
    const peer = host("schemes");
    try {
      return await peer.call("schemes");
    } finally {
      peer.terminate();
    }
  })();
  try {
    return structuredClone(await knownSchemes);
  } catch (error) {
    knownSchemes = null;
    throw error;
  }
}

export async function openCheckpoint(source, { signal, onProgress, token, hub } = {}) {
  throwIfAborted(signal);
  const description = describeSource(source, { hub, token });
  const peer = host("checkpoint");
  try {
    const opened = await peer.call("open", { source: description }, { signal, onEvent: onProgress });
    return new Checkpoint(peer, description, opened, await rebuild(opened));
  } catch (error) {
    peer.terminate();
    throw error;
  }
}

/**
 * The checkpoint's headers and texts in this thread's own wasm: `estimate` answers at once, and that takes
 * milliseconds. Weights never come here.
 */
async function rebuild({ name, recorded }) {
  const wasm = await core();
  const builder = new wasm.CheckpointBuilder(name);
  for (const [method, ...args] of recorded) guard(() => builder[method](...args));
  return guard(() => builder.finish());
}

class Checkpoint {
  #peer;
  #twin;

  constructor(peer, description, { name, config, tensors, notices }, twin) {
    this.#peer = peer;
    this.#twin = twin;
    this.name = name;
    this.config = config;
    this.tensors = tensors;
    this.notices = notices;
    descriptions.set(this, description);
  }

  estimate(options) {
    if (!this.#twin) throw new PhiquantError("aborted", "The checkpoint was closed.");
    const { imatrix, ...wanted } = planOptions(options ?? {});
    const plan = guard(() => this.#twin.plan(JSON.stringify(wanted), imatrix?.read()));
    const { bytes, files, notices } = JSON.parse(plan.sizes());
    plan.free();
    return { bytes, files, notices };
  }

  async quantize({ signal, onProgress, sink, ...options } = {}) {
    throwIfAborted(signal);
    const imatrix = options.imatrix && (await openImatrix(options.imatrix, { signal }));
    const { backend, workers, targetBytes } = options;
    const wanted = { ...planOptions({ ...options, imatrix }), backend, workers, imatrix: imatrix?.file };
    if (targetBytes !== undefined) {
      if (options.scheme) throw new PhiquantError("bad-option", "Give a scheme or targetBytes, not both.");
      const { scheme } = await this.fit({ ...options, imatrix, targetBytes, signal, onProgress });
      wanted.scheme = scheme;
    }
    const kind = await chooseSink(sink);
    const folder = {
      session: kind === "opfs" ? await ownSession() : "",
      result: crypto.randomUUID?.() ?? `${Date.now()}`,
    };
    // The promise settles when the worker has cleaned up.
    const made = await this.#peer.call(
      "quantize",
      { options: wanted, sink: kind, folder },
      { signal, onEvent: onProgress, patient: true },
    );
    return new QuantizeResult(made, kind, folder);
  }

  async fit({ targetBytes, signal, onProgress, ...options }) {
    throwIfAborted(signal);
    const imatrix = options.imatrix && (await openImatrix(options.imatrix, { signal }));
    const wanted = { ...planOptions({ ...options, imatrix }), imatrix: imatrix?.file };
    return this.#peer.call("fit", { options: wanted, targetBytes }, { signal, onEvent: onProgress });
  }

  close() {
    this.#twin?.free();
    this.#twin = null;
    this.#peer.terminate(new PhiquantError("aborted", "The checkpoint was closed."));
  }
}

async function chooseSink(sink) {
  if (sink === undefined) return typeof navigator.storage?.getDirectory === "function" ? "opfs" : "memory";
  if (sink === "opfs" || sink === "memory") return sink;
  if (sink?.kind !== "directory") {
    throw new PhiquantError("bad-option", 'sink is "opfs", "memory" or a directory handle.');
  }
  await allowWriting(sink);
  return sink;
}

/** Asks the user where the browser has not yet. */
async function allowWriting(directory) {
  if ((await directory.queryPermission?.({ mode: "readwrite" })) === "prompt") {
    await directory.requestPermission({ mode: "readwrite" });
  }
  if (((await directory.queryPermission?.({ mode: "readwrite" })) ?? "granted") !== "granted") {
    throw new PhiquantError("storage", `Writing into ${directory.name} was not allowed.`);
  }
}

class QuantizeResult {
  /** @type {Map<string, File>} */
  #blobs;
  #kind;
  #folder;

  constructor({ files, report }, kind, folder) {
    this.#blobs = new Map(files.map(({ name, file }) => [name, file]));
    this.#kind = kind;
    this.#folder = folder;
    this.files = files.map(({ name, bytes, sha256 }) => ({ name, bytes, sha256 }));
    this.report = report;
    const [weights] = this.files.map(({ name }) => name).filter((name) => /\.gguf$/i.test(name));
    descriptions.set(this, {
      kind: "files",
      name: stem(weights ?? this.files[0].name),
      files: files.map(({ name, file }) => ({ name, file })),
      weights,
    });
  }

  async blob(name) {
    const blob = this.#blobs.get(name);
    if (!blob) throw new PhiquantError("bad-option", `The result has no file ${name}.`, { file: name });
    return blob;
  }

  async saveAs(directory) {
    await allowWriting(directory);
    for (const [name, blob] of this.#blobs) {
      const existed = await directory.getFileHandle(name).then(
        () => true,
        () => false,
      );
      try {
        const handle = await directory.getFileHandle(name, { create: true });
        await blob.stream().pipeTo(await handle.createWritable());
      } catch (cause) {
        // A file of before is as it was; a new one is empty.
        if (!existed) await directory.removeEntry(name).catch(() => {});
        const code = cause?.name === "QuotaExceededError" ? "quota-exceeded" : "storage";
        throw new PhiquantError(
          code,
          `${name} could not be saved into ${directory.name}: ${cause?.message ?? cause}.`,
          { file: name, cause },
        );
      }
    }
  }

  async delete() {
    this.#blobs.clear();
    descriptions.delete(this);
    if (this.#kind !== "opfs") return;
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
    const own = await root.getDirectoryHandle(this.#folder.session, { create: true });
    await own.removeEntry(this.#folder.result, { recursive: true }).catch((error) => {
      if (error.name !== "NotFoundError") throw error;
    });
  }
}

export async function loadModel(source, { signal, onProgress, token, hub, backend, contextLength } = {}) {
  throwIfAborted(signal);
  const description = describeSource(source, { hub, token });
  const peer = host("model");
  try {
    const loaded = await peer.call(
      "load",
      { source: description, options: { backend, contextLength } },
      { signal, onEvent: onProgress },
    );
    return new Model(peer, loaded, onProgress);
  } catch (error) {
    peer.terminate();
    throw error;
  }
}

class Model {
  #peer;
  #onProgress;

  constructor(peer, { name, config, backend, reason, contextLength, bytes, notices }, onProgress) {
    this.#peer = peer;
    this.#onProgress = onProgress;
    Object.assign(this, { name, config, backend, reason, contextLength, bytes, notices });
    /** @type {any} */
    this.usage = null;
  }

  #told(progress) {
    if (progress.notice) this.notices = [...this.notices, progress.notice];
    // After a fallback.
    if (progress.model) {
      const { notices: _, ...changed } = progress.model;
      Object.assign(this, changed);
    }
    this.#onProgress?.(progress);
  }

  async *generate(prompt, { signal, ...options } = {}) {
    throwIfAborted(signal);
    /** @type {any[]} */
    const pieces = [];
    let wake = () => {};
    let settled = false;
    const own = new AbortController();
    const abort = () => own.abort();
    signal?.addEventListener("abort", abort, { once: true });
    const call = this.#peer
      .call(
        "generate",
        { prompt, options },
        {
          signal: own.signal,
          // The model stops between two tokens and says what it has done.
          patient: true,
          onEvent: ({ piece, progress }) => {
            if (progress) return this.#told(progress);
            pieces.push(piece);
            wake();
          },
        },
      )
      .finally(() => {
        settled = true;
        wake();
      });
    call.catch(() => {});
    try {
      for (;;) {
        while (pieces.length > 0 && !own.signal.aborted) yield pieces.shift();
        if (settled || own.signal.aborted) break;
        await new Promise((resolve) => {
          wake = () => resolve(undefined);
        });
      }
    } finally {
      // Also where the caller breaks off. Only who wanted the end is not told of it: a model that is closed meanwhile is an error.
      const wanted = !settled || own.signal.aborted;
      signal?.removeEventListener("abort", abort);
      own.abort();
      const usage = await call.catch((error) => (wanted && error.code === "aborted" ? null : Promise.reject(error)));
      if (usage) this.usage = usage;
    }
    throwIfAborted(signal);
  }

  tokenize(text, options) {
    return this.#peer.call("tokenize", { text, ...options });
  }

  logits(prompt) {
    return this.#peer.call("logits", { prompt });
  }

  async close() {
    this.#peer.terminate(new PhiquantError("aborted", "The model was closed."));
  }
}
