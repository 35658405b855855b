/** An error in its place: what was tried, the sentence, what to do about it, the code in small type. */

import { announce, h } from "./dom.js";

/** What a person can do here about it, where that is a control of this page; the sentences say the rest. */
const CURES = {
  unauthorized:
    "Accept the model’s terms on the hub if it asks for that, then put an access token under “Token and hub”.",
  forbidden: "Accept the model’s terms on the hub, or put another access token under “Token and hub”.",
  "quota-exceeded": "Discard results, choose a smaller scheme, or write to a folder: Advanced, Write to.",
  "device-lost": "The CPU is under Advanced, Compute with.",
  "device-mismatch": "The CPU is under Advanced, Compute with.",
  "no-device": "The CPU is under Advanced, Compute with.",
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
      CURES[code] && h("p", null, CURES[code]),
      h("p", { class: "code" }, code, error?.status ? ` ${error.status}` : "", where && ` · ${where}`),
      h("p", { class: "actions" }, retry && h("button", { type: "button", click: retry }, label), dismiss),
    ),
  );
  announce(`${title}. ${sentence}`);
}

export const clearError = (place) => place.replaceChildren();
