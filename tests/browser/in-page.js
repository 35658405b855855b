// Helpers that the API's tests import in the page.

export * from "/phiquant.js";

/** Lower-case hexadecimal, by the browser's own implementation. */
export async function sha256(blob) {
  const digest = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Every file in OPFS by its path, with its size. */
export async function listStorage(directory, path = "") {
  const all = {};
  for await (const [name, entry] of (directory ?? (await navigator.storage.getDirectory())).entries()) {
    if (entry.kind === "directory") Object.assign(all, await listStorage(entry, `${path}${name}/`));
    else all[path + name] = (await entry.getFile()).size;
  }
  return all;
}

/** A folder in OPFS, which is as good a directory handle as one from the picker. */
export async function folder(name) {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(name, { create: true });
}

/** Collects what `generate` gives. */
export async function collect(model, prompt, options) {
  const tokens = [];
  let text = "";
  for await (const piece of model.generate(prompt, options)) {
    text += piece.text;
    if (piece.token !== null) tokens.push(piece.token);
  }
  return { text, tokens, usage: model.usage };
}

/** Files of a folder behind the tests' server, as a file picker gives them. */
export async function fetchFiles(base, names) {
  return Promise.all(names.map(async (name) => new File([await (await fetch(base + name)).arrayBuffer()], name)));
}
