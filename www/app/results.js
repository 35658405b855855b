/** What came out: sizes, checksum, save, and the results so far, one press apart. */

import {
  backendName,
  bits,
  bytes,
  bytesParts,
  duration,
  integer,
  sentence,
  shortBackend,
  three,
} from "../embed/format.js";
import { $, announce, figures, h, show } from "./dom.js";
import { clearError, isAbort, showError } from "./errors.js";
import { weightBytes, weightCount } from "./source.js";
import { state, update, watch } from "./state.js";

/**
 * @typedef {object} Result
 * @property {number} key
 * @property {string} scheme as it is called on the page: "Q4_0", "Q4_0 pure"
 * @property {string} of the checkpoint's name
 * @property {number} before bytes of the source's weights
 * @property {number} weights how many
 * @property {{ name: string, shape: number[], dtype: string, bytes: number }[]} tensors
 * @property {import("../engine/index.js").QuantizeResult} output
 */

let keys = 0;

/** Puts a new result among the others and on view. */
export function addResult(checkpoint, output, { scheme, pure, overrides, outputType, tokenEmbeddingType, imatrix }) {
  const more = overrides.length > 0 || outputType || tokenEmbeddingType || imatrix;
  const result = {
    key: keys++,
    scheme: scheme + (pure ? " pure" : "") + (more ? " +" : ""),
    of: state.demo ? "demo" : checkpoint.name,
    before: weightBytes(checkpoint),
    weights: weightCount(checkpoint),
    tensors: checkpoint.tensors,
    output,
  };
  update({ results: [...state.results, result], result });
  return result;
}

export const sizeOf = (result) => result.output.files.reduce((sum, file) => sum + file.bytes, 0);

async function save(result, button) {
  clearError($("output-error"));
  button.disabled = true;
  try {
    for (const { name } of result.output.files) {
      const url = URL.createObjectURL(await result.output.blob(name));
      h("a", { href: url, download: name }).click();
      // The download has its own hold on the blob once it began.
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    }
    announce("Saved to your downloads.");
  } catch (error) {
    showError($("output-error"), error, "Could not save the file", () => save(result, button));
  } finally {
    button.disabled = false;
  }
}

async function saveToFolder(result, button) {
  clearError($("output-error"));
  try {
    const folder = await window.showDirectoryPicker({ id: "phiquant", mode: "readwrite" });
    button.disabled = true;
    await result.output.saveAs(folder);
    announce(`Saved to ${folder.name}.`);
    $("headline-note").textContent = `Saved to ${folder.name}.`;
  } catch (error) {
    if (!isAbort(error)) showError($("output-error"), error, "Could not save to that folder");
  } finally {
    button.disabled = false;
  }
}

async function discard(result) {
  const results = state.results.filter((each) => each !== result);
  update({ results, result: state.result === result ? (results.at(-1) ?? null) : state.result });
  announce(`${result.scheme} is gone.`);
  $("quantize").focus();
  try {
    await result.output.delete();
  } catch (error) {
    showError($("output-error"), error, "Could not free its storage");
  }
}

/** The large figures: before → after, estimated or real. */
function drawHeadline() {
  const { checkpoint, result, estimate, estimateError } = state;
  const before = result ? result.before : checkpoint ? weightBytes(checkpoint) : null;
  const after = result ? sizeOf(result) : (estimate?.bytes ?? null);
  for (const [id, size] of [
    ["before", before],
    ["after", after],
  ]) {
    const [value, unit] = size === null ? ["–", ""] : bytesParts(size);
    $(`size-${id}`).textContent = value;
    $(`size-${id}-unit`).textContent = unit;
  }
  const known = before !== null && after !== null && before > 0;
  $("ratio-bar").style.inlineSize = known ? `${Math.min(100, (100 * after) / before)}%` : "0";
  $("headline").classList.toggle("estimated", result === null);
  if (!known) {
    $("headline-note").textContent = sentence(estimateError?.message ?? "");
    return;
  }
  const weights = result ? result.weights : weightCount(checkpoint);
  const facts = `${three((100 * after) / before)} % of the original, ${bits((after * 8) / weights)} bits per weight in all`;
  $("headline-note").textContent = result ? `${facts}.` : `${facts}. Estimated from the headers alone.`;
}

/** A checksum that may break between groups of eight digits, and is copied without any. */
const breakable = (digits) => digits.match(/.{1,8}/g).flatMap((group) => [group, h("wbr")]);

function drawResult() {
  const { result, converting } = state;
  for (const id of ["done", "result-figures", "result-reason"]) show($(id), result !== null && !converting);
  if (!result) return;
  const { report, files } = result.output;
  const saveButton = h("button", { type: "button", class: "primary", id: "save" }, "Save GGUF");
  saveButton.addEventListener("click", () => save(result, saveButton));
  const folderButton = h("button", { type: "button", id: "save-folder" }, "Save to folder…");
  folderButton.addEventListener("click", () => saveToFolder(result, folderButton));
  const chat = h("button", { type: "button", id: "chat-with" }, "Chat with it");
  chat.addEventListener("click", () => dispatchEvent(new CustomEvent("phiquant:chat", { detail: result })));
  $("save-row").replaceChildren(saveButton, ...("showDirectoryPicker" in window ? [folderButton] : []), chat);
  $("result-files").replaceChildren(
    ...files.map((file) =>
      h(
        "li",
        null,
        h("span", { class: "mono file-name" }, file.name),
        h("span", { title: `${integer(file.bytes)} bytes` }, bytes(file.bytes)),
        h("span", { class: "mono sha", title: "SHA-256 of the file" }, "sha256 ", ...breakable(file.sha256)),
      ),
    ),
  );
  figures($("result-figures"), [
    ["Took", duration(report.seconds)],
    ["Weights", `${three(result.weights / report.seconds / 1e6)} M/s`],
    ["With", shortBackend(report.backend) + (report.workers > 1 ? ` × ${report.workers}` : "")],
    ["Memory", bytes(report.peakMemoryBytes), "The largest WebAssembly memory of any worker"],
  ]);
  $("result-reason").textContent = `Why ${backendName(report.backend)}? ${sentence(report.reason)}`;
}

/** The strip of results, once there are two things to choose between. */
function drawStrip() {
  const { results, result, checkpoint, converting } = state;
  const strip = $("results");
  show(strip, results.length > 0);
  show($("discard"), result !== null && !converting);
  const button = (label, title, pressed, click) =>
    h("button", { type: "button", title, "aria-pressed": String(pressed), disabled: converting, click }, label);
  const several = new Set(results.map(({ of }) => of)).size > 1;
  strip.replaceChildren(
    strip.firstElementChild,
    ...(checkpoint
      ? [
          button("Estimate", "The scheme chosen now, not yet converted", result === null, () =>
            update({ result: null }),
          ),
        ]
      : []),
    ...results.map((each) =>
      button(`${several ? `${each.of} ` : ""}${each.scheme}`, bytes(sizeOf(each)), each === result, () =>
        update({ result: each }),
      ),
    ),
  );
}

export function startResults() {
  $("discard").addEventListener("click", () => state.result && discard(state.result));
  watch(["checkpoint", "estimate", "result"], drawHeadline);
  watch(["result", "converting"], drawResult);
  watch(["results", "result", "checkpoint", "converting"], drawStrip);
}
