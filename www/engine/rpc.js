// Remote calls over a message port: requests and responses, events while a call runs, abort by message, and errors that
// keep their code. Both ends are alike; either may call the other.
//
// Messages: { call, method, args } · { call, event } · { call, result } · { call, error } · { call, abort }

import { aborted, PhiquantError, packError, unpackError } from "./errors.js";

/** What a handler returns to send objects without copying them. */
export class Transfer {
  /** @param {unknown} value @param {Transferable[]} list */
  constructor(value, list) {
    this.value = value;
    this.list = list;
  }
}

/**
 * @typedef {object} Context what a handler gets as its second argument
 * @property {AbortSignal} signal aborted when the caller aborts
 * @property {(event: unknown, transfer?: Transferable[]) => void} emit sends an event to the caller
 */

/**
 * @param {Worker | MessagePort | DedicatedWorkerGlobalScope} port
 * @param {Record<string, (args: any, context: Context) => any>} [handlers] what the other end may call
 */
export function connect(port, handlers = {}) {
  /** Calls that this end made: id → { resolve, reject, onEvent, finish }. */
  const pending = new Map();
  /** Calls that the other end made: id → AbortController. */
  const running = new Map();
  let nextCall = 1;
  /** @type {PhiquantError | null} */
  let closed = null;

  async function serve({ call, method, args }) {
    const controller = new AbortController();
    running.set(call, controller);
    const emit = (event, transfer = []) => port.postMessage({ call, event }, transfer);
    try {
      const handler = handlers[method];
      if (!handler) throw new PhiquantError("internal", `There is no method ${method}.`);
      const result = await handler(args, { signal: controller.signal, emit });
      if (result instanceof Transfer) port.postMessage({ call, result: result.value }, result.list);
      else port.postMessage({ call, result });
    } catch (thrown) {
      port.postMessage({ call, error: packError(thrown) });
    } finally {
      running.delete(call);
    }
  }

  port.addEventListener("message", ({ data }) => {
    if (data === null || typeof data !== "object" || data.call === undefined) return;
    if (data.method !== undefined) {
      serve(data);
    } else if (data.abort) {
      running.get(data.call)?.abort();
    } else {
      const entry = pending.get(data.call);
      if (!entry) return;
      if ("event" in data) {
        entry.onEvent?.(data.event);
      } else {
        entry.finish();
        if (data.error) entry.reject(unpackError(data.error));
        else entry.resolve(data.result);
      }
    }
  });
  port.start?.();

  return {
    /**
     * @param {string} method
     * @param {unknown} [args]
     * @param {{ signal?: AbortSignal | null, onEvent?: (event: any) => void, transfer?: Transferable[] }} [options]
     * An aborted call rejects at once with code "aborted"; the other end is told, and its late answer is ignored, unless
     * `patient`: then the call waits for the other end to have stopped.
     * @returns {Promise<any>}
     */
    call(method, args, { signal, onEvent, transfer = [], patient = false } = {}) {
      return new Promise((resolve, reject) => {
        if (closed) return reject(closed);
        if (signal?.aborted) return reject(aborted(signal));
        const call = nextCall++;
        const abort = () => {
          port.postMessage({ call, abort: true });
          if (patient) return;
          entry.finish();
          reject(aborted(signal));
        };
        const entry = {
          resolve,
          reject,
          onEvent,
          finish() {
            pending.delete(call);
            signal?.removeEventListener("abort", abort);
          },
        };
        pending.set(call, entry);
        signal?.addEventListener("abort", abort, { once: true });
        try {
          port.postMessage({ call, method, args }, transfer);
        } catch (thrown) {
          entry.finish();
          reject(
            new PhiquantError("internal", `The arguments of ${method} cannot be sent to a worker.`, { cause: thrown }),
          );
        }
      });
    },

    /** Rejects what is under way, and every later call. */
    close(error = new PhiquantError("internal", "It was closed.")) {
      closed ??= error;
      for (const entry of [...pending.values()]) {
        entry.finish();
        entry.reject(closed);
      }
    },

    get closed() {
      return closed !== null;
    },
  };
}

/**
 * Starts a module worker that speaks this protocol. A worker script must come from the page's own origin; where the
 * module was loaded from another one, a small script of the page's origin imports it.
 *
 * @param {URL} url
 * @param {Record<string, (args: any, context: Context) => any>} [handlers]
 */
export function startWorker(url, handlers = {}, name = "phiquant") {
  const own = globalThis.location?.origin;
  let worker;
  try {
    worker =
      own === undefined || own === "null" || url.origin === own || url.protocol === "blob:"
        ? new Worker(url, { type: "module", name })
        : new Worker(
            URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" })),
            { type: "module", name },
          );
  } catch (thrown) {
    throw new PhiquantError("worker-failed", `The browser refused to start a worker from ${url.href}.`, {
      cause: thrown,
    });
  }
  const peer = connect(worker, handlers);
  const fail = (event) => {
    event.preventDefault?.();
    const detail = event.message ? `: ${event.message}` : "";
    peer.close(
      new PhiquantError(
        "worker-failed",
        `A worker stopped${detail}. Reload the page; if it happens again, the tab may be out of memory.`,
      ),
    );
    peer.onfail?.(peer);
  };
  worker.addEventListener("error", fail);
  worker.addEventListener("messageerror", fail);
  return Object.assign(peer, {
    /** @type {((peer: any) => void) | null} */
    onfail: null,
    terminate(error) {
      worker.terminate();
      peer.close(error);
    },
  });
}
