/** An error in its place: what was tried, the sentence, what to do about it, the code in small type. */

import { announce, h } from "./dom.js";

/** What a person can do, where the sentence itself does not say. */
const CURES = {
  unauthorized:
    "Accept the model’s terms on the hub if it asks for that, then put an access token under “Token and hub”.",
  forbidden: "The token has no access to this repository: accept the model’s terms on the hub, or use another token.",
  "not-found": "Check the spelling of owner, name and revision.",
  network:
    "Check the connection. A server of your own must allow other sites to read it (the CORS header Access-Control-Allow-Origin).",
  interrupted: "Try again: where the server supports it, the download goes on where it stopped.",
  "server-error": "The server has a problem of its own. Try again in a minute.",
  "quota-exceeded": "Free some storage, choose a smaller scheme, or write to a folder (Advanced, Write to).",
  "out-of-memory": "Close other tabs, or choose a smaller checkpoint.",
  "device-lost": "Try again, or choose the CPU under Advanced, Compute with.",
  "device-mismatch": "Choose the CPU under Advanced, Compute with.",
  "no-device": "Choose another backend under Advanced, Compute with.",
  "no-wasm-simd": "Use a browser from 2023 or later.",
  "context-full": "Start a new chat, or ask for less.",
  "missing-file":
    "A checkpoint is config.json, tokenizer.json, tokenizer_config.json and the .safetensors files: add what is missing.",
  "worker-failed": "Reload the page. If it happens again, an extension or a proxy may be in the way.",
  internal: "This is a fault of phiquant. Please report it, with the code below.",
};

/** Did the person stop it? Then it is no error. */
export const isAbort = (error) => error?.name === "AbortError" || error?.code === "aborted";

/**
 * @param {HTMLElement} place where the error appears; what it held goes
 * @param {any} error
 * @param {string} title what was tried: "Could not open owner/name"
 * @param {() => void} [retry]
 * @param {string} [label] what trying again is called
 */
export function showError(place, error, title, retry, label = "Try again") {
  const code = error?.code ?? error?.name ?? "error";
  const sentence = String(error?.message ?? error);
  const where = [error?.file, error?.tensor].filter((part) => part && !sentence.includes(part)).join(", ");
  const dismiss = h("button", { type: "button", class: "plain", click: () => place.replaceChildren() }, "Dismiss");
  place.replaceChildren(
    h(
      "div",
      { class: "error", "data-code": code },
      h("h3", null, title),
      h("p", null, sentence),
      CURES[code] && !sentence.includes(CURES[code]) && h("p", null, CURES[code]),
      h("p", { class: "code" }, code, error?.status ? ` ${error.status}` : "", where && ` · ${where}`),
      h("p", { class: "actions" }, retry && h("button", { type: "button", click: retry }, label), dismiss),
    ),
  );
  announce(`${title}. ${sentence}`);
}

export const clearError = (place) => place.replaceChildren();
