// What a conversion can be asked for, checked and brought into the form that the core takes.

import { HttpFile } from "../io/http.js";
import { PhiquantError } from "./errors.js";
import { core, guard } from "./wasm.js";

/**
 * What the core plans with: everything but what is the conversion's own.
 * @param {Record<string, any>} options EstimateOptions, or QuantizeOptions
 */
export function planOptions({ imatrix, backend, workers, sink, signal, onProgress, targetBytes, ...wanted }) {
  if (imatrix !== undefined && imatrix !== null && !(imatrix instanceof Imatrix)) {
    throw new PhiquantError("bad-option", "imatrix is not read yet: give what openImatrix(source) resolves to.");
  }
  return { format: "gguf", scheme: "", ...wanted, imatrix: imatrix ?? undefined };
}

/** An importance matrix, read and found good. */
class Imatrix {
  #matrix;

  constructor(file, matrix) {
    this.file = file;
    this.name = file.name;
    this.#matrix = matrix;
    this.entries = matrix.count();
  }

  /** A handle for the core of this thread, which takes it away. */
  read() {
    return this.#matrix.share();
  }
}

/** @param {string} url @param {AbortSignal | undefined} signal */
async function download(url, signal) {
  const { href, pathname } = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  const name = decodeURIComponent(pathname.split("/").pop() || "imatrix");
  const reader = await new HttpFile(href, { name }).open({ signal });
  const pieces = [];
  for (let piece = await reader.read(); piece; piece = await reader.read()) pieces.push(piece);
  return { name, bytes: new Uint8Array(await new Blob(pieces).arrayBuffer()) };
}

async function bytesOf(source, signal) {
  if (typeof source === "string" || source instanceof URL) return download(String(source), signal);
  if (source instanceof Blob) {
    const name = source instanceof File ? source.name : "imatrix";
    try {
      return { name, bytes: new Uint8Array(await source.arrayBuffer()) };
    } catch (cause) {
      throw new PhiquantError("storage", `${name} can no longer be read. Choose it again.`, { file: name, cause });
    }
  }
  if (source instanceof ArrayBuffer) return { name: "imatrix", bytes: new Uint8Array(source) };
  if (ArrayBuffer.isView(source)) {
    return { name: "imatrix", bytes: new Uint8Array(source.buffer, source.byteOffset, source.byteLength) };
  }
  throw new PhiquantError("bad-option", "imatrix is a file, a Blob, a URL or bytes.");
}

/**
 * Reads an importance matrix, as llama-imatrix makes it.
 * @param {any} source see ImatrixSource in index.d.ts
 * @param {{ signal?: AbortSignal }} [options]
 */
export async function openImatrix(source, { signal } = {}) {
  if (source instanceof Imatrix) return source;
  const file = await bytesOf(source, signal);
  const wasm = await core();
  return new Imatrix(
    file,
    guard(() => wasm.Importance.read(file.name, file.bytes)),
  );
}
