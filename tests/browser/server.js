// Serves www/ to the tests, without COOP and COEP, as a docs site would. `/blank` is an empty page of the same origin.

import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".png": "image/png",
};

/** What a server sends whose module pages of other origins may use. */
const SHARED = { "access-control-allow-origin": "*" };

/** Starts a server on a free port of the loopback interface. */
export async function listen(handler) {
  const server = createServer(handler);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  return {
    url: `http://127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

/**
 * @param {Record<string, string>} [mounts] further folders by URL prefix, e.g. { "/wllama/": "node_modules/@wllama/wllama" }
 * @param {Record<string, string>} [preludes] scripts of www/ by path, and the module that each imports before all else
 */
export function startServer(mounts = {}, preludes = {}) {
  const roots = Object.entries({ ...mounts, "/": "www" });
  return listen(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    if (path === "/blank") {
      response.writeHead(200, { "content-type": TYPES[".html"] });
      response.end("<!doctype html><title>blank</title>");
      return;
    }
    const [prefix, folder] = roots.find(([prefix]) => path.startsWith(prefix));
    const root = join(ROOT, folder);
    const file = normalize(join(root, path.slice(prefix.length) || "index.html"));
    const found = file.startsWith(root + sep) ? await stat(file).catch(() => null) : null;
    if (!found?.isFile()) {
      response.writeHead(404, { "content-type": "text/plain" });
      response.end("not found");
      return;
    }
    if (preludes[path]) {
      response.writeHead(200, { "content-type": TYPES[".js"], ...SHARED });
      response.end(`import ${JSON.stringify(preludes[path])};\n${await readFile(file, "utf8")}`);
      return;
    }
    response.writeHead(200, {
      "content-type": TYPES[extname(file)] ?? "application/octet-stream",
      "content-length": found.size,
      "cache-control": "no-cache",
      ...SHARED,
    });
    createReadStream(file, { highWaterMark: 1 << 20 }).pipe(response);
  });
}
