// Where a checkpoint comes from: a Hub repository, a folder or file behind a URL, local files, a directory.
//
// `describe` runs on the page and makes a plain description that a worker can be sent; `openPlace` makes of it a place that
// gives texts whole and weight files as streams.

import { PhiquantError, throwIfAborted } from "../engine/errors.js";
import { HttpFile } from "./http.js";

export const DEFAULT_HUB = "https://huggingface.co";

/** The small files of a checkpoint, beside config.json. None is needed for an estimate. */
export const OPTIONAL_TEXTS = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "model.safetensors.index.json",
  "pytorch_model.bin.index.json",
];
export const OPTIONAL_BLOBS = ["tokenizer.model"];

const WEIGHTS = /\.(gguf|safetensors|bin)$/i;
const REPOSITORY = /^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@[^\s]+)?$/;

/**
 * @typedef {{ kind: "http", name: string, base: string, search: string, token?: string, weights?: string }
 *   | { kind: "files", name: string, files: { name: string, file: Blob }[], weights?: string }
 *   | { kind: "directory", name: string, handle: FileSystemDirectoryHandle }} Description
 */

function badSource(message) {
  return new PhiquantError("bad-option", message);
}

/** A part of a GGUF file that llama-gguf-split cut. */
const PART = /-\d{5}-of-(\d{5})$/;

/** A weight file's name without its extension and without its number among the parts. */
export function stem(name) {
  return name.replace(WEIGHTS, "").replace(PART, "");
}

/** A repository as its parts, from `owner/name[@revision]` or the address of its page on the Hub. */
function repository(text, hub) {
  if (REPOSITORY.test(text)) {
    const at = text.indexOf("@");
    return at < 0 ? { repo: text, revision: "main" } : { repo: text.slice(0, at), revision: text.slice(at + 1) };
  }
  if (!text.startsWith(`${hub}/`)) return null;
  const page = /^([^/?#]+\/[^/?#]+?)(?:\/tree\/([^?#]+?))?\/?$/.exec(text.slice(hub.length + 1));
  return page && { repo: page[1], revision: page[2] ? decodeURIComponent(page[2]) : "main" };
}

function describeUrl(text, { hub, token, base }) {
  const found = repository(text, hub);
  if (found) {
    const revision = encodeURIComponent(found.revision);
    return {
      kind: "http",
      name: found.repo.slice(found.repo.indexOf("/") + 1),
      base: `${hub}/${found.repo}/resolve/${revision}/`,
      search: "",
      token,
    };
  }
  let url;
  try {
    url = new URL(text, base);
  } catch {
    throw badSource(`"${text}" is neither a repository (owner/name) nor a URL.`);
  }
  if (!["http:", "https:", "blob:"].includes(url.protocol)) {
    throw badSource(
      `A checkpoint cannot be read from a ${url.protocol} address. Give an http(s) URL, or choose the files.`,
    );
  }
  const { search } = url;
  url.search = "";
  url.hash = "";
  const path = decodeURIComponent(url.pathname);
  const last = path.replace(/\/+$/, "").split("/").pop() || url.host;
  if (WEIGHTS.test(path)) {
    return { kind: "http", name: stem(last), base: new URL(".", url).href, search, token, weights: last };
  }
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return { kind: "http", name: last, base: url.href, search, token };
}

/** Files by their names in one folder: of several folders, the shallowest that has a config.json. */
function describeFiles(files) {
  if (files.length === 0) throw badSource("No files were given.");
  const entries = files.map((file) => {
    const path = /** @type {any} */ (file).webkitRelativePath || file.name || "model.gguf";
    const cut = path.lastIndexOf("/");
    return { folder: path.slice(0, cut + 1), name: path.slice(cut + 1), file };
  });
  const folders = [...new Set(entries.map((entry) => entry.folder))].sort(
    (a, b) => a.split("/").length - b.split("/").length,
  );
  const has = (folder, test) => entries.some((entry) => entry.folder === folder && test(entry.name));
  const folder =
    folders.find((folder) => has(folder, (name) => name === "config.json")) ??
    folders.find((folder) => has(folder, (name) => WEIGHTS.test(name))) ??
    folders[0];
  const chosen = entries.filter((entry) => entry.folder === folder).map(({ name, file }) => ({ name, file }));
  const weights = singleGguf(chosen.map(({ name }) => name));
  const name = weights ? stem(weights) : folder.replace(/\/$/, "").split("/").pop() || "model";
  return { kind: "files", name, files: chosen, weights };
}

/**
 * The GGUF file among names, unless a checkpoint's own weights are there too; an error where there are several to choose
 * from.
 */
function singleGguf(names) {
  if (names.includes("config.json") && names.some((name) => /\.(safetensors|bin)$/i.test(name))) return undefined;
  const ggufs = names.filter((name) => /\.gguf$/i.test(name)).sort();
  const parts = (name) => PART.exec(name.replace(WEIGHTS, ""))?.[1];
  const one = ggufs.every((name) => parts(name) && parts(name) === parts(ggufs[0]) && stem(name) === stem(ggufs[0]));
  if (one) return ggufs[0];
  if (ggufs.length > 1) throw badSource(`There are several GGUF files (${ggufs.join(", ")}): open one of them.`);
  return ggufs[0];
}

/**
 * @param {any} source see Source in index.d.ts, without QuantizeResult
 * @param {{ hub?: string, token?: string, base?: string }} [options] `base`: what relative URLs are relative to
 * @returns {Description}
 */
export function describe(source, { hub = DEFAULT_HUB, token, base = globalThis.location?.href } = {}) {
  const options = { hub: hub.replace(/\/+$/, ""), token: token || undefined, base };
  if (typeof source === "string" && source.trim() !== "") return describeUrl(source.trim(), options);
  if (source instanceof URL) return describeUrl(source.href, options);
  if (source instanceof Blob) return describeFiles([source]);
  if (globalThis.FileList && source instanceof FileList) return describeFiles([...source]);
  if (Array.isArray(source) && source.every((file) => file instanceof Blob)) return describeFiles(source);
  if (source?.kind === "directory" && typeof source.getFileHandle === "function") {
    return { kind: "directory", name: source.name || "model", handle: source };
  }
  throw badSource("A source is a repository (owner/name), a URL, files, or a directory handle.");
}

/** A local file as a stream of pieces. */
class BlobReader {
  constructor(name, blob, start, signal) {
    this.name = name;
    this.blob = blob;
    this.position = start;
    this.signal = signal;
    this.size = blob.size;
  }

  async read() {
    throwIfAborted(this.signal);
    if (this.position >= this.size) return null;
    const piece = this.blob.slice(this.position, Math.min(this.position + (1 << 20), this.size));
    let bytes;
    try {
      bytes = new Uint8Array(await piece.arrayBuffer());
    } catch (cause) {
      throw new PhiquantError(
        "storage",
        `${this.name} can no longer be read: it was changed, moved or deleted. Choose it again.`,
        {
          file: this.name,
          cause,
        },
      );
    }
    this.position += bytes.length;
    return bytes;
  }

  cancel() {}
}

/** Local files by name; `lookup` gives a Blob or null. */
class LocalPlace {
  constructor(name, lookup, weights) {
    this.name = name;
    this.lookup = lookup;
    this.weights = weights;
  }

  async find(name) {
    const blob = await this.lookup(name);
    if (blob) return blob;
    throw new PhiquantError("missing-file", `${name} is not among the files. Choose the checkpoint's whole folder.`, {
      file: name,
    });
  }

  async bytes(name, { optional = false } = {}) {
    const blob = optional ? await this.lookup(name) : await this.find(name);
    return blob && new Uint8Array(await blob.arrayBuffer());
  }

  async open(name, { start = 0, signal } = {}) {
    return new BlobReader(name, await this.find(name), start, signal);
  }
}

/** A folder behind HTTP. */
class HttpPlace {
  constructor({ name, base, search, token, weights }, notify) {
    this.name = name;
    this.base = base;
    this.search = search;
    this.token = token;
    this.weights = weights;
    this.notify = notify;
    /** @type {Map<string, HttpFile>} */
    this.files = new Map();
  }

  file(name) {
    let file = this.files.get(name);
    if (!file) {
      const path = name.split("/").map(encodeURIComponent).join("/");
      const url = this.base.startsWith("blob:") ? this.base : new URL(path + this.search, this.base).href;
      file = new HttpFile(url, { name, token: this.token, notify: this.notify });
      this.files.set(name, file);
    }
    return file;
  }

  /** A small file whole; null where it is optional and the server does not have it. */
  async bytes(name, { optional = false, signal } = {}) {
    let reader;
    try {
      reader = await this.file(name).open({ signal });
    } catch (error) {
      // Static stores answer 403 for what they do not list.
      if (optional && ["not-found", "forbidden"].includes(error.code)) return null;
      throw error;
    }
    const pieces = [];
    for (let piece = await reader.read(); piece; piece = await reader.read()) pieces.push(piece);
    const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
    // A server that answers every address with its start page has no such file.
    if (optional && bytes[0] === 0x3c && !/\.jinja$/.test(name)) return null;
    return bytes;
  }

  async open(name, options) {
    return this.file(name).open(options);
  }
}

/**
 * @param {Description} description
 * @param {(notice: string) => void} [notify]
 */
export async function openPlace(description, notify = () => {}) {
  if (description.kind === "http") return new HttpPlace(description, notify);
  if (description.kind === "files") {
    const files = new Map(description.files.map(({ name, file }) => [name, file]));
    return new LocalPlace(description.name, async (name) => files.get(name) ?? null, description.weights);
  }
  const { handle } = description;
  const names = [];
  for await (const [name, entry] of /** @type {any} */ (handle).entries()) if (entry.kind === "file") names.push(name);
  const lookup = async (name) => (names.includes(name) ? (await handle.getFileHandle(name)).getFile() : null);
  return new LocalPlace(description.name, lookup, singleGguf(names));
}
