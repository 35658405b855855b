// Progress that a person can read: at most ten events a second, a speed over the last seconds, the time left.

const INTERVAL_MS = 100;
const WINDOW_MS = 5000;

export class Meter {
  /**
   * @param {(progress: object) => void} emit
   * @param {object} base fields of every event
   */
  constructor(emit, base) {
    this.emit = emit;
    this.state = { bytes: 0, totalBytes: null, tensors: 0, totalTensors: 0, ...base };
    this.samples = [{ at: performance.now(), bytes: 0 }];
    this.last = 0;
  }

  /** Changes fields and emits, now if `event` has something that must not be lost. */
  update(fields, event = null) {
    Object.assign(this.state, fields);
    const now = performance.now();
    if (!event && now - this.last < INTERVAL_MS) return;
    this.last = now;
    this.samples.push({ at: now, bytes: this.state.bytes });
    while (this.samples.length > 2 && now - this.samples[0].at > WINDOW_MS) this.samples.shift();
    const [first] = this.samples;
    const seconds = (now - first.at) / 1000;
    const bytesPerSecond = seconds > 0 ? (this.state.bytes - first.bytes) / seconds : 0;
    const { totalBytes, bytes } = this.state;
    const secondsLeft =
      totalBytes !== null && bytesPerSecond > 0 ? Math.max(0, totalBytes - bytes) / bytesPerSecond : null;
    this.emit({ ...this.state, bytesPerSecond, secondsLeft, ...event });
  }

  notice(notice) {
    this.update({}, { notice });
  }
}
