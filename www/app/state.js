/**
 * What the page knows, in one place. A part of the page subscribes to the fields that it draws; nobody reads them back
 * from the document.
 */

const SETTINGS = "phiquant.settings";

/** What a person set and would not like to set again. The token is not among it: it stays in memory. */
const remembered = {
  format: "gguf",
  scheme: "Q4_0",
  pure: false,
  /** Types of their own, or "" for the mix's. */
  outputType: "",
  tokenEmbeddingType: "",
  splitBytes: "",
  allowRequantize: false,
  /** @type {{ match: string, scheme: string }[]} */
  overrides: [],
  backend: "auto",
  sink: "opfs",
  hub: "",
  sampling: { temperature: 0, topK: 40, topP: 0.95, minP: 0.05, repeatPenalty: 1, seed: "", maxTokens: 256 },
};

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(SETTINGS) ?? "{}");
    return { ...remembered, ...kept, sampling: { ...remembered.sampling, ...kept.sampling } };
  } catch {
    // No storage (a sandboxed frame), or someone else's content: the defaults serve.
    return { ...remembered };
  }
}

export const state = {
  settings: recall(),
  /** @type {import("../engine/index.js").Probe | null} */
  probe: null,
  /** @type {import("../engine/index.js").SchemeChoice[]} */
  schemes: [],
  /** @type {import("../engine/index.js").Checkpoint | null} */
  checkpoint: null,
  /** Is the open checkpoint the bundled one? */
  demo: false,
  /** Not remembered: it is a file. @type {import("../engine/index.js").Imatrix | null} */
  imatrix: null,
  /** @type {{ bytes: number, files: { name: string, bytes: number }[] } | null} the size of the chosen scheme's file */
  estimate: null,
  /** @type {any} why there is none */
  estimateError: null,
  converting: false,
  /** @type {import("./results.js").Result[]} */
  results: [],
  /** @type {import("./results.js").Result | null} the one on view; null shows the estimate */
  result: null,
};

/** @type {{ fields: string[], listener: () => void }[]} */
const listeners = [];

/** Calls `listener` now and whenever one of the fields is set. */
export function watch(fields, listener) {
  listeners.push({ fields, listener });
  listener();
}

/** Sets fields and tells whoever watches any of them, once. */
export function update(change) {
  Object.assign(state, change);
  const changed = Object.keys(change);
  for (const { fields, listener } of [...listeners]) {
    if (fields.some((field) => changed.includes(field))) listener();
  }
}

/** Changes settings and remembers them. */
export function set(change) {
  const settings = { ...state.settings, ...change };
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // Not remembered, still in force.
  }
  update({ settings });
}

/** The choice as the API takes it. */
export function choice() {
  const { format, scheme, pure, overrides, outputType, tokenEmbeddingType, splitBytes, allowRequantize } =
    state.settings;
  return {
    format,
    scheme,
    pure,
    overrides: overrides.filter(({ match }) => match !== ""),
    outputType: outputType || undefined,
    tokenEmbeddingType: tokenEmbeddingType || undefined,
    splitBytes: Number(splitBytes) || undefined,
    allowRequantize,
    imatrix: state.imatrix ?? undefined,
  };
}

let loading;
/** The API, loaded once; a failure to load may be tried again. */
export function engine() {
  loading ??= import("../engine/index.js").catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}
