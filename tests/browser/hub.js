// A small Hub for tests: `/owner/name/resolve/revision/path` on one origin redirects to a second one, which serves the bytes.
// Every fault that the tests need is a property of a file.

import { setTimeout as sleep } from "node:timers/promises";
import { listen } from "./server.js";

/**
 * @typedef {object} HubFile
 * @property {number} size
 * @property {(start: number, end: number) => Uint8Array | Promise<Uint8Array>} read at most 1 MiB is asked for at once
 * @property {Behaviour} [behaviour]
 *
 * @typedef {object} Behaviour
 * @property {boolean} [redirect] to the second origin (default true)
 * @property {boolean} [cors] default true
 * @property {boolean} [expose] ETag, Content-Range … readable across origins (default true)
 * @property {boolean} [range] default true
 * @property {boolean} [preflight] answers OPTIONS (default true)
 * @property {string | null | (() => string)} [etag]
 * @property {string} [lastModified]
 * @property {number[]} [drops] where the connections break, one GET after another; consumed
 * @property {number} [dropAlways] where every connection breaks
 * @property {number} [announce] a wrong Content-Length
 * @property {boolean} [chunked] no Content-Length
 * @property {number[]} [statuses] answers before the first good one; consumed
 * @property {number} [status] always this answer
 * @property {string} [token] wanted as a bearer token on the first origin
 * @property {number} [bytesPerSecond]
 */

const PIECE = 256 << 10;

export function fromBytes(bytes, behaviour = {}) {
  const data = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
  return { size: data.length, read: (start, end) => data.subarray(start, end), behaviour };
}

export async function startHub() {
  /** @type {Map<string, Map<string, HubFile>>} */
  const repositories = new Map();
  /** @type {{ origin: string, method: string, path: string, headers: Record<string, string>, status: number }[]} */
  const log = [];

  function find(path) {
    const parts = decodeURIComponent(path).split("/").filter(Boolean);
    const resolve = parts.indexOf("resolve");
    const [repo, name] =
      resolve > 0
        ? [`${parts.slice(0, resolve).join("/")}@${parts[resolve + 1]}`, parts.slice(resolve + 2).join("/")]
        : [`${parts.slice(0, 2).join("/")}@main`, parts.slice(2).join("/")];
    return (repositories.get(repo) ?? repositories.get(repo.replace(/@.*/, "")))?.get(name) ?? null;
  }

  function headers(request, behaviour) {
    const out = { "cache-control": "no-store" };
    if (behaviour.cors === false) return out;
    out["access-control-allow-origin"] = request.headers.origin ?? "*";
    if (behaviour.expose !== false) {
      out["access-control-expose-headers"] = "ETag, Accept-Ranges, Content-Range";
    }
    if (behaviour.preflight !== false) {
      out["access-control-allow-headers"] = "authorization, range, if-range";
      out["access-control-allow-methods"] = "GET, HEAD, OPTIONS";
    }
    return out;
  }

  async function send(request, response, file, behaviour, out) {
    let start = 0;
    let status = 200;
    const { lastModified } = behaviour;
    const etag =
      typeof behaviour.etag === "function" ? behaviour.etag() : behaviour.etag === undefined ? '"one"' : behaviour.etag;
    if (etag) out.etag = etag;
    if (lastModified) out["last-modified"] = lastModified;
    if (behaviour.range !== false) {
      out["accept-ranges"] = "bytes";
      const wanted = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
      const same =
        request.headers["if-range"] === undefined || [etag, lastModified].includes(request.headers["if-range"]);
      if (wanted && same) {
        start = Number(wanted[1]);
        if (start >= file.size) return end(response, 416, { ...out, "content-range": `bytes */${file.size}` });
        status = 206;
        out["content-range"] = `bytes ${start}-${file.size - 1}/${file.size}`;
      }
    }
    if (!behaviour.chunked) out["content-length"] = (behaviour.announce ?? file.size) - start;
    out["content-type"] = "application/octet-stream";
    response.writeHead(status, out);
    response.flushHeaders();
    const drop = behaviour.dropAlways ?? behaviour.drops?.shift() ?? Number.POSITIVE_INFINITY;
    const stop = Math.min(file.size, drop, behaviour.announce ?? file.size);
    const began = Date.now();
    for (let at = start; at < stop; ) {
      if (response.destroyed) return status;
      const next = Math.min(at + PIECE, stop);
      const piece = await file.read(at, next);
      await new Promise((resolve) => {
        response.once("close", resolve);
        response.write(piece, () => {
          response.off("close", resolve);
          resolve(undefined);
        });
      });
      at = next;
      if (behaviour.bytesPerSecond) {
        const due = ((at - start) / behaviour.bytesPerSecond) * 1000 - (Date.now() - began);
        if (due > 0) await sleep(due);
      }
    }
    if (stop < file.size || (behaviour.announce ?? 0) > file.size) {
      // Let what was written arrive before the connection breaks.
      await sleep(100);
      response.destroy();
    } else {
      response.end();
    }
    return status;
  }

  function end(response, status, out) {
    response.writeHead(status, out);
    response.end();
    return status;
  }

  async function answer(origin, request, response) {
    const path = new URL(request.url, "http://host").pathname;
    const entry = { origin, method: request.method, path, headers: { ...request.headers }, status: 0 };
    log.push(entry);
    const file = find(path);
    const behaviour = file?.behaviour ?? {};
    const out = headers(request, behaviour);
    const finish = (status, more = {}) => {
      entry.status = status;
      end(response, status, { ...out, ...more });
    };
    if (request.method === "OPTIONS") return finish(behaviour.preflight === false ? 403 : 204);
    if (!file) return finish(404);
    if (origin === "hub") {
      if (behaviour.token && request.headers.authorization !== `Bearer ${behaviour.token}`) return finish(401);
      const status = behaviour.statuses?.shift() ?? behaviour.status;
      if (status) return finish(status);
      if (behaviour.redirect !== false) {
        const target = cdn.url + path;
        return finish(302, { location: target });
      }
    }
    if (request.method === "HEAD") return finish(200);
    entry.status = await send(request, response, file, behaviour, out);
  }

  const serve = (origin) => (request, response) =>
    answer(origin, request, response).catch((error) => {
      console.error(`test hub: ${error.stack}`);
      response.destroy();
    });
  const hub = await listen(serve("hub"));
  const cdn = await listen(serve("cdn"));

  return {
    url: hub.url,
    cdn: cdn.url,
    log,
    /** GET requests for a file name, both origins. */
    requests: (name) => log.filter((entry) => entry.path.endsWith(`/${name}`) && entry.method === "GET"),
    /**
     * @param {string} repo `owner/name` (any revision) or `owner/name@revision`
     * @param {Record<string, HubFile | Uint8Array | string>} files
     * @param {Behaviour} [behaviour] for every file that has none of its own
     */
    add(repo, files, behaviour = {}) {
      const entries = Object.entries(files).map(([name, file]) => {
        const made = typeof file === "string" || file instanceof Uint8Array ? fromBytes(file) : file;
        return [name, { ...made, behaviour: { ...behaviour, ...made.behaviour } }];
      });
      repositories.set(repo, new Map(entries));
    },
    async close() {
      await hub.close();
      await cdn.close();
    },
  };
}
