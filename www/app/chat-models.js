/** The models that the chat can talk to, each loaded once, when first wanted. */

import { backendName, bytes, sentence } from "../embed/format.js";
import { mainDtype } from "./source.js";
import { engine, state } from "./state.js";

/** Together, more than this in memory: models that are not being asked are let go. */
const ROOM = 1.5e9;

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} label
 * @property {any} source
 * @property {boolean} demo
 */

/** @returns {Entry[]} the open checkpoint as it is, and every result */
export function entries() {
  const { checkpoint, results, demo } = state;
  const several = new Set(results.map(({ of }) => of)).size > 1;
  return [
    ...(checkpoint ? [{ key: "original", label: `Original ${mainDtype(checkpoint)}`, source: checkpoint, demo }] : []),
    ...results.map((result) => ({
      key: `result-${result.key}`,
      label: several ? `${result.of} ${result.scheme}` : result.scheme,
      source: result.output,
      demo: result.of === "demo",
    })),
  ];
}

/** @type {Map<string, { source: any, backend: string, stop: AbortController, promise: Promise<any>, model: any, heard: ((text: string) => void)[], notices: string[] }>} */
const loaded = new Map();

/**
 * The entry's model; loads it where that has not begun.
 * @param {Entry} entry
 * @param {(text: string) => void} tell hears how far loading is
 * @param {string[]} keep keys that must stay in memory beside it
 */
export function modelOf(entry, tell, keep = []) {
  const { backend } = state.settings;
  const known = loaded.get(entry.key);
  if (known && known.source === entry.source && known.backend === backend) {
    if (!known.model) known.heard.push(tell);
    return known.promise;
  }
  if (known) release(entry.key);
  const room = [...loaded.values()].reduce((sum, { model }) => sum + (model?.bytes ?? 0), 0);
  if (room > ROOM) for (const key of loaded.keys()) if (!keep.includes(key)) release(key);

  const stop = new AbortController();
  const slot = { source: entry.source, backend, stop, model: null, heard: [tell], notices: [], promise: null };
  const onProgress = ({ bytes: done, totalBytes, notice }) => {
    if (notice) slot.notices.push(notice);
    const share = totalBytes ? ` ${Math.floor((100 * done) / totalBytes)} %` : "";
    for (const hear of slot.heard) hear(`Loading ${entry.label}${share} …`);
  };
  slot.promise = engine()
    .then(({ loadModel }) => loadModel(entry.source, { backend, signal: stop.signal, onProgress }))
    .then(
      (model) => {
        if (loaded.get(entry.key) !== slot) model.close();
        slot.model = model;
        return model;
      },
      (error) => {
        // A failed load is forgotten, so that the next wish tries again.
        if (loaded.get(entry.key) === slot) loaded.delete(entry.key);
        throw error;
      },
    );
  loaded.set(entry.key, slot);
  return slot.promise;
}

/** Closes a model, or stops its loading. */
function release(key) {
  const slot = loaded.get(key);
  loaded.delete(key);
  slot?.stop.abort();
  slot?.model?.close();
  slot?.promise.catch(() => {});
}

/** After a failure that the model may not have survived: the next wish loads it again. */
export const forget = (entry) => release(entry.key);

/** Lets go of what is no longer offered: another checkpoint was opened, a result discarded. */
export function releaseOthers() {
  const offered = entries();
  for (const [key, { source }] of [...loaded]) {
    if (!offered.some((entry) => entry.key === key && entry.source === source)) release(key);
  }
}

/** One line about a loaded model, or "" where it is not loaded. */
export function describeModel(entry) {
  const slot = entry && loaded.get(entry.key);
  if (!slot?.model || slot.source !== entry.source) return "";
  const { backend, reason, bytes: size, notices, contextLength } = slot.model;
  const told = [...new Set([...(notices ?? []), ...slot.notices])].join(" ");
  const room = `${bytes(size)} in memory, ${contextLength} tokens of context.`;
  return [`${backendName(backend)}: ${sentence(reason)}`, room, told].filter(Boolean).join(" ");
}

export const isLoaded = (entry) => Boolean(entry && loaded.get(entry.key)?.model);
