/** How the next token is chosen: fields that remember. */

import { $, h } from "./dom.js";
import { set, state } from "./state.js";

const FIELDS = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.1, note: "0 takes the likeliest token, always" },
  { name: "topK", label: "Top-k", min: 0, max: 1000, step: 1, note: "0 is off" },
  { name: "topP", label: "Top-p", min: 0, max: 1, step: 0.01, note: "1 is off" },
  { name: "minP", label: "Min-p", min: 0, max: 1, step: 0.01, note: "0 is off" },
  { name: "repeatPenalty", label: "Repeat penalty", min: 0.5, max: 2, step: 0.05, note: "1 is off" },
  { name: "seed", label: "Seed", min: 0, max: 4294967295, step: 1, note: "empty: another each time", optional: true },
  { name: "maxTokens", label: "Tokens at most", min: 1, max: 8192, step: 1, note: "per answer" },
];

export function startSampling() {
  $("sampling").replaceChildren(
    ...FIELDS.map(({ name, label, min, max, step, note, optional }) => {
      const id = `sampling-${name}`;
      const value = state.settings.sampling[name];
      const input = h("input", {
        id,
        type: "number",
        min,
        max,
        step: "any",
        value,
        required: !optional,
        "aria-describedby": `${id}-note`,
      });
      input.step = String(step);
      input.addEventListener("change", () => {
        const empty = input.value === "";
        const number = Number(input.value);
        const good = empty ? Boolean(optional) : Number.isFinite(number) && number >= min && number <= max;
        input.setAttribute("aria-invalid", String(!good));
        // What is out of range stays to be corrected and is not used.
        if (good) set({ sampling: { ...state.settings.sampling, [name]: empty ? "" : number } });
      });
      return h("div", null, h("label", { for: id }, label), input, h("p", { id: `${id}-note`, class: "note" }, note));
    }),
  );
}

/** The settings as `generate` takes them. */
export function sampling() {
  const { seed, ...rest } = state.settings.sampling;
  return { ...rest, ...(seed === "" ? { seed: crypto.getRandomValues(new Uint32Array(1))[0] } : { seed }) };
}
