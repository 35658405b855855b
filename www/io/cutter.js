// Cuts exact spans out of the stream of a weight file.

import { PhiquantError } from "../engine/errors.js";

export class Cutter {
  /**
   * @param {{ open: (name: string, options: object) => Promise<any> }} place
   * @param {string} name
   * @param {AbortSignal} signal
   */
  constructor(place, name, signal) {
    this.place = place;
    this.name = name;
    this.signal = signal;
    this.reader = null;
    /** Where in the file `rest` begins. */
    this.position = 0;
    this.rest = new Uint8Array(0);
  }

  /** Moves to byte `start`: by reading on where it is near, by a new request where it is not. */
  async seek(start) {
    if (this.reader && start >= this.position && start - this.position <= 8 << 20) {
      await this.skip(start - this.position);
      return;
    }
    this.close();
    this.reader = await this.place.open(this.name, { start, signal: this.signal });
    this.position = start;
    this.rest = new Uint8Array(0);
  }

  async more() {
    // What is read out may be written over.
    const piece = await this.reader.read(this.rest.buffer);
    if (piece === null) {
      throw new PhiquantError(
        "truncated",
        `${this.name} ends at byte ${this.position}, before the weights that its header promises. Get the file again.`,
        {
          file: this.name,
        },
      );
    }
    this.rest = piece;
  }

  async skip(bytes) {
    while (bytes > 0) {
      if (this.rest.length === 0) await this.more();
      const count = Math.min(bytes, this.rest.length);
      this.rest = this.rest.subarray(count);
      this.position += count;
      bytes -= count;
    }
  }

  /** Fills `out` with the next bytes. @template {Uint8Array} T @param {T} out @returns {Promise<T>} */
  async take(out) {
    for (let done = 0; done < out.length; ) {
      if (this.rest.length === 0) await this.more();
      const count = Math.min(out.length - done, this.rest.length);
      out.set(this.rest.subarray(0, count), done);
      this.rest = this.rest.subarray(count);
      this.position += count;
      done += count;
    }
    return out;
  }

  close() {
    this.reader?.cancel();
    this.reader = null;
  }
}
