/** Numbers as people read them, on the page and in the element. English throughout, as both are. */

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** Decimal multiples, three digits: `[15.8, "MB"]`. */
export function bytesParts(bytes) {
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return [three(value, unit > 0), UNITS[unit]];
}

export const bytes = (count) => bytesParts(count).join("\u00a0");

/** 7.9 M, 3.82 B: as models are named. */
export function parameters(count) {
  if (count >= 1e9) return `${three(count / 1e9, true)}\u00a0B`;
  if (count >= 1e6) return `${three(count / 1e6, true)}\u00a0M`;
  return integer(count);
}

export const integer = (count) => Math.round(count).toLocaleString("en");

/** Three significant digits, never an exponent. */
export function three(value, fraction = true) {
  if (!fraction || value >= 100) return String(Math.round(value));
  return value.toFixed(value >= 10 ? 1 : 2);
}

/** `4 s`, `2 min 10 s`, `1 h 5 min`. */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)}\u00a0s`;
  if (seconds < 60) return `${Math.round(seconds)}\u00a0s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}\u00a0min ${Math.round(seconds % 60)}\u00a0s`;
  return `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

/** A share: `8.7 %`, `0.021 %`. Zero is exact and says so. */
export function share(value) {
  if (value === 0) return "exact";
  const percent = value * 100;
  const digits = percent >= 10 ? 1 : percent >= 1 ? 2 : percent >= 0.1 ? 2 : 3;
  return `${percent < 0.001 ? percent.toExponential(0) : percent.toFixed(digits)}\u00a0%`;
}

/** A small quantity such as an error in the weights' own unit: `2.13e-3`. */
export const small = (value) => (value === 0 ? "0" : value.toExponential(2));

export const bits = (value) =>
  Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : 1).replace(/0$/, "");

export const perSecond = (value) => (value >= 100 ? integer(value) : value.toFixed(1));

/** How a backend is called in a sentence. */
export const backendName = (backend) =>
  ({ webgpu: "WebGPU", simd128: "WASM SIMD128", simd: "WASM SIMD128", cpu: "CPU" })[backend] ?? backend;

/** The same, where room is short. */
export const shortBackend = (backend) => backendName(backend).replace("WASM ", "");

/** With a capital and a full stop, as a line that stands alone has them. */
export const sentence = (text) => text && text[0].toUpperCase() + text.slice(1).replace(/[^.!?…]$/, "$&.");
