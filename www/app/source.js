/** The checkpoint: the demo, a repository or URL, files. Opening reads headers and configuration, no weights. */

import { bytes, integer, parameters } from "../embed/format.js";
import { $, announce, figures, show } from "./dom.js";
import { listenForFiles } from "./drop.js";
import { clearError, isAbort, showError } from "./errors.js";
import { engine, set, state, update, watch } from "./state.js";

const DEMO = new URL("../models/demo/", import.meta.url).href;

/** The opening under way, so that the next one can stop it. */
let opening = new AbortController();

/** What the open checkpoint came from; a model for the chat is loaded from the same. */
async function open(source, label, { demo = false, quiet = false } = {}) {
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  const status = $("source-status");
  clearError($("source-error"));
  status.textContent = `Reading the headers of ${label} …`;
  show(status, true);
  try {
    const { openCheckpoint } = await engine();
    const options = { signal, token: $("token").value.trim() || undefined, hub: state.settings.hub || undefined };
    const checkpoint = await openCheckpoint(source, options);
    if (signal.aborted) return checkpoint.close();
    const previous = state.checkpoint;
    update({ checkpoint, demo, label, source, result: null });
    // The chat may still load from the old one: it lets go of it first (see chat-models.js).
    previous?.close();
    const { layers, hidden } = checkpoint.config;
    announce(`${checkpoint.name} is open: ${layers} layers, width ${hidden}, ${bytes(weightBytes(checkpoint))}.`);
    if (!quiet) $("checkpoint-name").focus();
  } catch (error) {
    if (signal.aborted || isAbort(error)) return;
    showError($("source-error"), error, `Could not open ${label}`, () => open(source, label, { demo }));
  } finally {
    if (!signal.aborted) show(status, false);
  }
}

export const weightBytes = (checkpoint) => checkpoint.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);

export const weightCount = (checkpoint) =>
  Number(checkpoint.config.parameters) ||
  checkpoint.tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((product, size) => product * size, 1), 0);

/** The dtype of most of the weights. */
export function mainDtype(checkpoint) {
  const shares = {};
  for (const { dtype, bytes } of checkpoint.tensors) shares[dtype] = (shares[dtype] ?? 0) + bytes;
  return Object.entries(shares).sort((a, b) => b[1] - a[1])[0]?.[0] ?? "";
}

function draw() {
  const { checkpoint, demo } = state;
  show($("open-demo"), checkpoint !== null && !demo);
  if (!checkpoint) return;
  const { config } = checkpoint;
  $("checkpoint-name").textContent = demo ? "The bundled demo" : checkpoint.name;
  $("checkpoint-from").textContent = demo
    ? `A small ${config.architecture}, trained for this page, as transformers saves it.`
    : `${config.architecture}${state.label === checkpoint.name ? "" : ` from ${state.label}`}`;
  const heads =
    config.kvHeads && config.kvHeads !== config.heads ? `${config.heads} (${config.kvHeads} KV)` : config.heads;
  figures($("checkpoint-figures"), [
    ["Parameters", parameters(weightCount(checkpoint))],
    ["Weights", bytes(weightBytes(checkpoint))],
    ["Type", mainDtype(checkpoint)],
    ["Layers", config.layers],
    ["Width", config.hidden && integer(config.hidden)],
    ["Heads", heads],
    ["Vocabulary", config.vocab && integer(config.vocab)],
    ["Context", config.context && integer(config.context)],
  ]);
}

/** "owner/name" in an address bar's clothes is still a repository. */
function cleaned(text) {
  const hub = /^https?:\/\/(?:www\.)?huggingface\.co\/([\w.-]+\/[\w.-]+)(?:\/tree\/([\w./-]+?))?\/?$/.exec(text);
  return hub ? hub[1] + (hub[2] ? `@${hub[2]}` : "") : text;
}

export function startSource() {
  $("hub").value = state.settings.hub;
  $("hub").addEventListener("change", () => set({ hub: $("hub").value.trim() }));
  $("open-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = cleaned($("repo").value.trim());
    if (text === "") return $("repo").focus();
    open(text, text.replace(/^https?:\/\//, ""));
  });
  $("open-demo").addEventListener("click", () => open(DEMO, "the demo", { demo: true }));
  listenForFiles((files, name) => open(files, name));
  watch(["checkpoint"], draw);

  // A link may name a checkpoint; nothing is fetched from there until Open is pressed.
  const named = new URLSearchParams(location.search).get("src");
  if (named) $("repo").value = named;
  return open(DEMO, "the demo", { demo: true, quiet: true });
}
