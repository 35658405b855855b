// sha256 of files that are written in any order: a worker of its own hashes what is whole from the start.

import { startWorker } from "./rpc.js";

const PIECE = 1 << 20;
/** Bytes on their way to the worker, at most: what waits there is memory. */
const AHEAD = 16 << 20;

/** The worker, and a hasher for each file. */
export class Hashing {
  /**
   * @param {WebAssembly.Module} module
   * @param {import("../io/sink.js").SinkFile[]} files those with `read` are hashed
   * @param {import("./spares.js").Spares} spares
   */
  static async start(module, files, spares) {
    const peer = startWorker(new URL("./hash.js", import.meta.url), {}, "phiquant hash");
    await peer.call("init", { module });
    return new Hashing(peer, files, spares);
  }

  constructor(peer, files, spares) {
    this.peer = peer;
    this.spares = spares;
    this.hashers = files.map((file, index) => (file.read ? new Hasher(peer, index, file, spares) : null));
  }

  /** `bytes` were written to a file at `start`; their buffer belongs to the spares from here on. */
  wrote(file, start, bytes) {
    if (!this.hashers[file]?.wrote(start, bytes)) this.spares.give(bytes);
  }

  /** For each file its sha256 in lower-case hexadecimal, when all is written; null where it could not be followed. */
  digests() {
    return Promise.all(this.hashers.map((hasher) => hasher?.digest() ?? null));
  }

  close() {
    this.peer.terminate();
  }
}

class Hasher {
  constructor(peer, index, file, spares) {
    this.peer = peer;
    this.index = index;
    this.file = file;
    this.spares = spares;
    /** Written spans past `whole` that do not touch it yet: start → end. @type {Map<number, number>} */
    this.spans = new Map();
    /** Bytes on their way. */
    this.ahead = 0;
    /** @type {unknown} */
    this.fault = null;
    /** @type {() => void} */
    this.wake = () => {};
    this.begin();
  }

  begin() {
    /** Sent so far, and whole so far. */
    this.at = 0;
    this.whole = 0;
    this.call("begin");
  }

  async call(method, more = {}, transfer = []) {
    try {
      return await this.peer.call(method, { file: this.index, ...more }, { transfer });
    } catch (error) {
      this.fault ??= error;
      this.wake();
      return null;
    }
  }

  /** Whether it took the bytes. */
  wrote(start, bytes) {
    // Written a second time: begin again when all is there.
    if (start < this.at) {
      this.begin();
      this.whole = -1;
    }
    if (this.whole < 0) return false;
    const next = start === this.at && this.ahead < AHEAD;
    this.spans.set(start, start + bytes.length);
    for (let end = this.spans.get(this.whole); end !== undefined; end = this.spans.get(this.whole)) {
      this.spans.delete(this.whole);
      this.whole = end;
    }
    // What is next in line goes as it is; the rest is read back when its turn comes.
    if (next) this.send(bytes);
    this.follow();
    return next;
  }

  async send(bytes) {
    const count = bytes.length;
    this.at += count;
    this.ahead += count;
    const back = await this.call("update", { bytes }, [bytes.buffer]);
    if (back) this.spares.give(back);
    this.ahead -= count;
    this.follow();
    this.wake();
  }

  follow() {
    while (this.at < this.whole && this.ahead < AHEAD && !this.fault) {
      const piece = this.spares.take(Math.min(PIECE, this.whole - this.at));
      this.file.read(this.at, piece);
      this.send(piece);
    }
  }

  async digest() {
    this.whole = this.file.bytes;
    this.follow();
    while (this.ahead > 0 && !this.fault) {
      await new Promise((resolve) => {
        this.wake = () => resolve(undefined);
      });
    }
    return this.fault ? null : this.call("digest");
  }
}

/** sha256 of a whole file. */
export async function hashBlob(wasm, blob) {
  const sha = new wasm.Sha256();
  for (let at = 0; at < blob.size; at += PIECE * 4) {
    sha.update(new Uint8Array(await blob.slice(at, at + PIECE * 4).arrayBuffer()));
  }
  return sha.digest();
}
