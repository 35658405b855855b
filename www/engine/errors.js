// Errors with a stable code. The core's codes come from src/error.rs; the others only a browser can meet.

/**
 * @typedef {object} ErrorFields
 * @property {string} [file]
 * @property {string} [tensor]
 * @property {number} [status] HTTP status
 * @property {unknown} [cause]
 */

export class PhiquantError extends Error {
  /**
   * @param {string} code one of ErrorCode in index.d.ts
   * @param {string} message what, where and what to do
   * @param {ErrorFields} [fields]
   */
  constructor(code, message, { file, tensor, status, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "PhiquantError";
    this.code = code;
    if (file !== undefined) this.file = file;
    if (tensor !== undefined) this.tensor = tensor;
    if (status !== undefined) this.status = status;
  }
}

/** The error of cancelled work; keeps the reason that the caller gave to `abort()`. */
export function aborted(signal) {
  const reason = signal?.reason;
  if (reason instanceof PhiquantError) return reason;
  return new PhiquantError("aborted", "The work was cancelled.", { cause: reason });
}

/** @param {AbortSignal | undefined | null} signal */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw aborted(signal);
}

/** The core writes clauses, for `phiquant: …` in a terminal; here they are sentences. Names at the beginning stay as they are. */
function sentence(text) {
  const begun = /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

/** Whatever was thrown, as a PhiquantError. */
export function asError(thrown, fallback = "internal") {
  if (thrown instanceof PhiquantError) return thrown;
  if (thrown?.name === "AbortError") return new PhiquantError("aborted", "The work was cancelled.", { cause: thrown });
  if (thrown?.name === "QuotaExceededError") return quotaExceeded(thrown);
  if (typeof thrown?.code === "string" && typeof thrown?.message === "string") {
    // The core's error, as src/web.rs throws it.
    return new PhiquantError(thrown.code, sentence(thrown.message), { file: thrown.file, tensor: thrown.tensor });
  }
  const text = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new PhiquantError(fallback, text, { cause: thrown });
}

export function quotaExceeded(cause) {
  return new PhiquantError(
    "quota-exceeded",
    "The browser's storage for this site is full. Delete earlier results, free disk space, " +
      "or save straight into a folder of yours.",
    { cause },
  );
}

/** A form that survives postMessage; `cause` becomes its text. */
export function packError(thrown) {
  const error = asError(thrown);
  const { code, message, file, tensor, status } = error;
  const cause =
    error.cause === undefined || error.cause === null ? undefined : String(error.cause?.message ?? error.cause);
  return { code, message, file, tensor, status, cause, stack: error.stack };
}

export function unpackError({ code, message, file, tensor, status, cause, stack }) {
  const error = new PhiquantError(code, message, { file, tensor, status, cause });
  if (stack) error.stack = `${error.stack ?? error.message}\n  in a worker: ${stack}`;
  return error;
}
