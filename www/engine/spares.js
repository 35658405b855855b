// Buffers that have served and can serve again. Memory that is new costs the system more than what is done with it here.

/** How many wait at most. */
const COUNT = 16;

export class Spares {
  /** @param {number} size bytes of each */
  constructor(size) {
    this.size = size;
    /** @type {ArrayBuffer[]} */
    this.buffers = [];
  }

  /** Room for `bytes` bytes, whatever stands there; the buffer behind it may be larger. */
  take(bytes) {
    const buffer = bytes <= this.size ? (this.buffers.pop() ?? new ArrayBuffer(this.size)) : new ArrayBuffer(bytes);
    return new Uint8Array(buffer, 0, bytes);
  }

  /** Takes a buffer back; one of another size, or one that is gone, is left to the collector. @param {Uint8Array} view */
  give({ buffer }) {
    if (buffer.byteLength === this.size && this.buffers.length < COUNT) this.buffers.push(buffer);
  }
}
