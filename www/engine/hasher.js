// sha256 of a file that is written in any order: follows behind what is whole from the start.

const PIECE = 1 << 20;

export class Hasher {
  /** @param {any} wasm @param {import("../io/sink.js").SinkFile} file with `read` */
  constructor(wasm, file) {
    this.wasm = wasm;
    this.file = file;
    this.buffer = new Uint8Array(PIECE);
    /** Written spans past `at` that do not touch it yet: start → end. @type {Map<number, number>} */
    this.spans = new Map();
    this.reset();
  }

  reset() {
    this.sha = new this.wasm.Sha256();
    /** Hashed so far, and whole so far. */
    this.at = 0;
    this.whole = 0;
  }

  wrote(start, bytes) {
    // Written a second time: begin again when all is there.
    if (start < this.at) {
      this.reset();
      this.whole = -1;
    }
    if (this.whole < 0) return;
    this.spans.set(start, start + bytes);
    for (let end = this.spans.get(this.whole); end !== undefined; end = this.spans.get(this.whole)) {
      this.spans.delete(this.whole);
      this.whole = end;
    }
    // A little at a time: the stream is read on the same thread.
    if (this.whole - this.at >= PIECE) this.advance(Math.min(this.whole, this.at + 4 * PIECE));
  }

  advance(to) {
    while (this.at < to) {
      const piece = this.buffer.subarray(0, Math.min(PIECE, to - this.at));
      this.file.read(this.at, piece);
      this.sha.update(piece);
      this.at += piece.length;
    }
  }

  /** Lower-case hexadecimal, when all is written. */
  digest() {
    this.advance(this.file.bytes);
    return this.sha.digest();
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
