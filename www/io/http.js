// A file behind HTTP, read as one stream that survives dropped connections.
//
// A plain GET always suffices. Range and If-Range are used to resume where the server has them: If-Range makes a cross-origin
// request ask for permission first (a preflight), Range alone does not, and some servers refuse the former; so each request
// falls back from `Range + If-Range` to `Range` to a plain GET whose first bytes are thrown away.

import { aborted, PhiquantError, throwIfAborted } from "../engine/errors.js";

/** Gaps up to this many bytes are read and thrown away rather than asked for with Range. */
const SKIP_BYTES = 4 << 20;
/** Failures in a row without a new byte before a download is given up, and the first pause between them. */
const RETRIES = 4;
const PAUSE_MS = 250;
/** Bytes that a read takes at most. */
const READ_BYTES = 1 << 20;
/** A connection that has been silent for so long counts as dropped. */
const STALL_MS = 60_000;

/**
 * Browsers drop Authorization from a request that is redirected to another origin since 2023 (Fetch Standard; Chromium 119).
 * `Promise.withResolvers` came in the same releases or later ones, so its presence tells. Where it is missing, a request with a
 * token does not follow redirects at all.
 */
const DROPS_TOKEN_ON_REDIRECT = typeof Promise.withResolvers === "function";

/** @param {Response} response */
function strongValidator(response) {
  const etag = response.headers.get("etag");
  if (etag && !etag.startsWith("W/")) return etag;
  return etag ? null : response.headers.get("last-modified");
}

/** The file's whole length as a 200 or 206 tells it, or null. */
function announcedSize(response, start) {
  if (response.headers.get("content-encoding")) return null;
  if (response.status === 206) {
    const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (total) return Number(total);
  }
  const length = response.headers.get("content-length");
  if (length === null || !/^\d+$/.test(length)) return null;
  return response.status === 206 ? start + Number(length) : Number(length);
}

/** @param {AbortSignal | undefined} signal */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    throwIfAborted(signal);
    const stop = () => {
      clearTimeout(timer);
      reject(aborted(signal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve(undefined);
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}

export class HttpFile {
  /**
   * @param {string} url
   * @param {object} [options]
   * @param {string} [options.name] how messages call the file
   * @param {string} [options.token] bearer token for the url's own origin
   * @param {(notice: string) => void} [options.notify] told of resumed downloads
   */
  constructor(url, { name = url, token, notify = () => {} } = {}) {
    this.url = url;
    this.name = name;
    this.token = token;
    this.notify = notify;
    /** Length in bytes; null until the server has said, or where it does not say. @type {number | null} */
    this.size = null;
    /** @type {string | null} */
    this.validator = null;
    /** @type {string | null} */
    this.etag = null;
    /** What the server has been found to refuse. */
    this.refuses = { range: false, ifRange: false };
  }

  fail(code, message, fields = {}) {
    return new PhiquantError(code, message, { file: this.name, ...fields });
  }

  /** One request. Rejects with a TypeError, as fetch does, where there is no answer that may be read. */
  async fetchOnce(headers, signal) {
    const guarded = this.token !== undefined && !DROPS_TOKEN_ON_REDIRECT;
    const response = await fetch(this.url, {
      headers: this.token === undefined ? headers : { ...headers, Authorization: `Bearer ${this.token}` },
      credentials: "same-origin",
      // A cache would answer a range from what it has of another version.
      cache: headers.Range ? "no-store" : "default",
      redirect: guarded ? "manual" : "follow",
      signal,
    });
    if (response.type === "opaqueredirect") {
      throw this.fail(
        "unsupported",
        "The server redirects this file, and this browser might send the access token on to the other host. " +
          "Use a newer browser, or download the file first and open it from the disk.",
      );
    }
    return response;
  }

  /** The error for a status that is no success. */
  statusError(response) {
    const { status } = response;
    const where = `${this.name} (${new URL(this.url).host})`;
    const say = (code, message) => this.fail(code, message, { status });
    if (status === 401) {
      return say(
        "unauthorized",
        this.token === undefined
          ? `The server wants a login for ${where}: the repository is private, gated, or does not exist. Check its name, or give an access token.`
          : `The server does not accept this access token for ${where}. Check that it is valid and may read the repository.`,
      );
    }
    if (status === 403) {
      return say(
        "forbidden",
        `The server forbids reading ${where}. Accept the repository's terms there, or use a token that may read it.`,
      );
    }
    if (status === 404 || status === 410)
      return say("not-found", `There is no ${where}. Check the name, the revision and the address.`);
    if (status === 416)
      return say(
        "range-refused",
        `The server has no bytes to give at that place of ${where}: the file is shorter than expected, or it changed.`,
      );
    if (status >= 500)
      return say("server-error", `The server failed with status ${status} on ${where}. Try again later.`);
    return say("http", `The server answered status ${status} for ${where}.`);
  }

  /** Why fetch failed: only an opaque request tells a server that refuses to be read from one that is not there. */
  async unreachable(cause, signal) {
    const { host, origin } = new URL(this.url);
    if (globalThis.navigator?.onLine !== false && origin !== globalThis.location?.origin) {
      try {
        await fetch(this.url, { method: "HEAD", mode: "no-cors", credentials: "omit", signal });
        return this.fail(
          "cors",
          `${host} does not let other pages read ${this.name} (no CORS headers). Use a server that does, or download the files and open them from the disk.`,
          { cause },
        );
      } catch {
        throwIfAborted(signal);
      }
    }
    return this.fail(
      "network",
      `${host} could not be reached for ${this.name}. Check the address and the connection.`,
      { cause },
    );
  }

  /**
   * A response whose body begins at or before `start`.
   * @returns {Promise<{ response: Response, position: number }>}
   */
  async request(start, signal) {
    const ways = [];
    if (start > 0 && !this.refuses.range) {
      const Range = `bytes=${start}-`;
      if (this.validator && !this.refuses.ifRange) ways.push({ Range, "If-Range": this.validator });
      ways.push({ Range });
    }
    ways.push({});
    let failure;
    for (const headers of ways) {
      let response;
      try {
        response = await this.fetchOnce(headers, signal);
      } catch (thrown) {
        throwIfAborted(signal);
        if (thrown instanceof PhiquantError) throw thrown;
        failure ??= thrown;
        continue;
      }
      // This way works where a more demanding one failed: do not try that one again.
      if (failure) this.refuses.ifRange = true;
      if (failure && !headers.Range) this.refuses.range = true;
      if (
        headers.Range &&
        (response.status === 416 ||
          (response.status >= 400 && response.status < 500 && ![401, 403, 404, 410, 429].includes(response.status)))
      ) {
        response.body?.cancel().catch(() => {});
        this.refuses.range = true;
        continue;
      }
      if (!response.ok) {
        response.body?.cancel().catch(() => {});
        throw this.statusError(response);
      }
      return { response, position: this.accept(response, headers.Range ? start : 0) };
    }
    throw failure;
  }

  /** Checks that an answer is of the same file as before; returns where in the file its body begins. */
  accept(response, start) {
    let position = 0;
    if (response.status === 206) {
      const first = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
      position = first === undefined ? start : Number(first);
    } else if (start > 0) {
      // The server ignores Range, or If-Range found another version.
      this.refuses.range = true;
    }
    const etag = response.headers.get("etag");
    const size = announcedSize(response, position);
    const changed =
      (etag !== null && this.etag !== null && etag !== this.etag && !response.headers.get("content-encoding")) ||
      (size !== null && this.size !== null && size !== this.size);
    if (changed || position > start) {
      response.body?.cancel().catch(() => {});
      throw this.fail("source-changed", `${this.name} changed on the server during the download. Start again.`);
    }
    this.etag ??= etag;
    this.size ??= size;
    this.validator ??= strongValidator(response);
    // Ranges count encoded bytes; ours are decoded.
    if (response.headers.get("content-encoding")) this.refuses.range = true;
    return position;
  }

  /**
   * Opens the file at byte `start`. Resolves when the server has answered.
   * @param {{ start?: number, signal?: AbortSignal }} [options]
   */
  async open({ start = 0, signal } = {}) {
    const reader = new HttpReader(this, start, signal);
    await reader.connect();
    return reader;
  }
}

/** Reads a body into memory of ours where the browser can: its own is new for every piece. @param {ReadableStream} body */
function bodyReader(body) {
  try {
    const reader = body.getReader({ mode: "byob" });
    return {
      /** @param {ArrayBuffer} [spare] */
      read: (spare) => reader.read(new Uint8Array(spare?.byteLength === READ_BYTES ? spare : READ_BYTES)),
      cancel: () => reader.cancel(),
    };
  } catch {
    const reader = body.getReader();
    return { read: () => reader.read(), cancel: () => reader.cancel() };
  }
}

/** One pass over an [`HttpFile`], from `start` to its end. */
class HttpReader {
  constructor(file, start, signal) {
    this.file = file;
    this.signal = signal;
    /** The next byte that `read` gives. */
    this.position = start;
    /** Ends this reader's own request. */
    this.controller = new AbortController();
    this.stop = () => this.controller.abort();
    signal?.addEventListener("abort", this.stop, { once: true });
    /** @type {ReturnType<typeof bodyReader> | null} */
    this.body = null;
    /** Where in the file the body stands; behind `position` while bytes are thrown away. */
    this.at = 0;
    this.failures = 0;
    /** Where connections dropped since the last progress. @type {number[]} */
    this.drops = [];
    this.received = false;
  }

  get size() {
    return this.file.size;
  }

  /** Requests until there is a body, with pauses. Errors that a retry cannot cure pass at once. */
  async connect() {
    for (;;) {
      throwIfAborted(this.signal);
      try {
        const ranged = this.drops.length > 0 || this.position > SKIP_BYTES;
        const start = ranged ? this.position : 0;
        const { response, position } = await this.file.request(start, this.controller.signal);
        if (!response.body) throw this.file.fail("network", `The server sent no content for ${this.file.name}.`);
        this.body = bodyReader(response.body);
        this.at = position;
        return;
      } catch (thrown) {
        throwIfAborted(this.signal);
        if (thrown instanceof PhiquantError) {
          if (thrown.code !== "server-error" || this.failures >= 2) throw this.ended(thrown);
        } else if (this.failures >= (this.received ? RETRIES : 1)) {
          throw this.ended(await this.file.unreachable(thrown, this.signal));
        }
        this.failures++;
        await pause(PAUSE_MS * 2 ** (this.failures - 1), this.signal);
      }
    }
  }

  /** An error after some bytes had come is an interruption, unless it says something better. */
  ended(error) {
    if (!this.received || !["network", "cors"].includes(error.code)) return error;
    return this.file.fail(
      "interrupted",
      `The connection for ${this.file.name} dropped after ${this.position} bytes and could not be made again. Check the connection and start again.`,
      { cause: error },
    );
  }

  async readBody(spare) {
    let timer;
    const silence = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new TypeError("the connection was silent for too long")), STALL_MS);
    });
    try {
      return await Promise.race([this.body.read(spare), silence]);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * The next bytes, or null at the end.
   * @param {ArrayBuffer} [spare] what an earlier call gave, to be written over
   * @returns {Promise<Uint8Array | null>}
   */
  async read(spare) {
    for (;;) {
      throwIfAborted(this.signal);
      let result;
      try {
        result = await this.readBody(spare);
      } catch (thrown) {
        throwIfAborted(this.signal);
        await this.dropped(thrown);
        continue;
      }
      if (result.done) {
        const { size } = this.file;
        if (size !== null && this.at < size) {
          await this.dropped(new TypeError(`the body ended at byte ${this.at} of ${size}`));
          continue;
        }
        this.release();
        return null;
      }
      let bytes = result.value;
      const skip = Math.min(this.position - this.at, bytes.length);
      this.at += bytes.length;
      // More than was announced: the length was that of a compressed body, and says nothing.
      if (this.file.size !== null && this.at > this.file.size) {
        this.file.size = null;
        this.file.refuses.range = true;
      }
      if (skip > 0) bytes = bytes.subarray(skip);
      if (bytes.length === 0) continue;
      this.position += bytes.length;
      this.received = true;
      this.failures = 0;
      this.drops = [];
      return bytes;
    }
  }

  /** Resumes after a dropped connection, or gives up. */
  async dropped(cause) {
    this.body?.cancel().catch(() => {});
    this.body = null;
    const { file } = this;
    this.drops.push(this.at);
    // A server that ignores Range drops at the same byte of each pass when the file ends there.
    if (this.drops.length > 3 && this.drops.every((at) => at === this.drops[0])) {
      const size = file.size === null ? "more" : `${file.size} bytes`;
      throw file.fail(
        "length-mismatch",
        `The server announces ${size} for ${file.name} but ends after ${this.at}, each time. The file there is damaged, or something on the way cuts it off.`,
        { cause },
      );
    }
    if (this.failures >= RETRIES) throw this.ended(file.fail("network", "The connection dropped.", { cause }));
    this.failures++;
    await pause(PAUSE_MS * 2 ** (this.failures - 1), this.signal);
    await this.connect();
    const how = this.at === 0 && this.position > 0 ? "started again" : "resumed";
    file.notify(
      `The connection for ${file.name} dropped at ${(this.position / 1e6).toFixed(1)} MB; the download was ${how}.`,
    );
  }

  release() {
    this.signal?.removeEventListener("abort", this.stop);
  }

  /** Ends the request. */
  cancel() {
    this.release();
    this.controller.abort();
    this.body?.cancel().catch(() => {});
    this.body = null;
  }
}
