/** The conversion: start, progress, cancel, and the picture that fills while it runs. */

import { bytes, duration, share, shortBackend, three } from "../embed/format.js";
import { $, announce, eachFrame, figures, h, show } from "./dom.js";
import { clearError, isAbort, showError } from "./errors.js";
import { Heatmap } from "./heatmap.js";
import { addResult, sizeOf } from "./results.js";
import { weightBytes, weightCount } from "./source.js";
import { choice, state, update, watch } from "./state.js";

const PHASES = {
  open: "Reading headers",
  download: "Downloading",
  quantize: "Quantizing",
  finish: "Finishing the file",
  load: "Loading",
};

const TITLE = document.title;

/** @type {Heatmap} */
let heatmap;
/** @type {AbortController | null} */
let running = null;

function drawProgress(progress, checkpoint) {
  const { bytes: done, totalBytes, tensors, totalTensors, bytesPerSecond, secondsLeft } = progress;
  const fraction = totalBytes ? done / totalBytes : totalTensors ? tensors / totalTensors : 0;
  $("bar").value = fraction;
  $("phase").textContent = PHASES[progress.phase] ?? progress.phase;
  $("percent").textContent = `${Math.floor(100 * fraction)} %`;
  document.title = `${$("percent").textContent} ${TITLE}`;
  $("tensor").textContent = progress.tensor ?? "\u00a0";
  const perByte = weightCount(checkpoint) / weightBytes(checkpoint);
  const workers = progress.workers > 1 ? ` × ${progress.workers}` : "";
  figures($("rates"), [
    ["Read", bytes(done), totalBytes ? `of ${bytes(totalBytes)}` : null],
    ["Tensors", totalTensors ? `${tensors} of ${totalTensors}` : ""],
    ["Speed", bytesPerSecond > 0 ? `${bytes(bytesPerSecond)}/s` : "–"],
    ["Weights", bytesPerSecond > 0 ? `${three((bytesPerSecond * perByte) / 1e6)} M/s` : "–"],
    ["Left", secondsLeft === null ? "–" : duration(secondsLeft)],
    ["With", progress.backend ? shortBackend(progress.backend) + workers : "–"],
  ]);
  announce(`${$("phase").textContent}, ${$("percent").textContent}`, 5000);
}

function notice(text) {
  const list = $("notices");
  if ([...list.children].some((line) => line.textContent === text)) return;
  list.append(h("li", null, text));
  show(list, true);
}

async function convert() {
  const { checkpoint, settings } = state;
  if (!checkpoint || running) return;
  clearError($("output-error"));
  const options = choice();
  let sink = settings.sink === "opfs" ? undefined : settings.sink;
  if (sink === "folder") {
    try {
      sink = await window.showDirectoryPicker({ id: "phiquant", mode: "readwrite" });
    } catch (error) {
      if (!isAbort(error)) showError($("output-error"), error, "Could not use that folder");
      return;
    }
  }

  running = new AbortController();
  const { signal } = running;
  $("notices").replaceChildren();
  show($("notices"), false);
  update({ converting: true, result: null });
  heatmap.layout(checkpoint.tensors);
  $("cancel").disabled = false;
  $("cancel").focus();
  /** @type {import("../engine/index.js").Progress | null} */
  let latest = null;
  const draw = eachFrame(() => {
    if (!latest || signal.aborted || !state.converting) return;
    drawProgress(latest, checkpoint);
    heatmap.colour();
  });
  drawProgress(
    { phase: "open", bytes: 0, totalBytes: null, tensors: 0, totalTensors: 0, bytesPerSecond: 0, secondsLeft: null },
    checkpoint,
  );

  try {
    const output = await checkpoint.quantize({
      ...options,
      backend: settings.backend,
      sink,
      signal,
      onProgress(progress) {
        latest = progress;
        if (progress.report) heatmap.put(progress.report);
        if (progress.notice) notice(progress.notice);
        draw();
      },
    });
    update({ converting: false });
    const result = addResult(checkpoint, output, options);
    for (const line of output.report.notices) notice(line);
    announce(`Done: ${bytes(result.before)} became ${bytes(sizeOf(result))}.`);
    $("save").focus();
  } catch (error) {
    update({ converting: false });
    if (signal.aborted || isAbort(error)) {
      show($("notices"), false);
      announce("Cancelled. Nothing was saved.");
    } else showError($("output-error"), error, `Could not convert to ${options.scheme}`, convert);
    $("quantize").focus();
  } finally {
    running = null;
    document.title = TITLE;
  }
}

/** The picture follows what is on view: a result's errors, or the open checkpoint's empty cells. */
function drawPicture() {
  const { checkpoint, result, converting } = state;
  show($("picture"), checkpoint !== null || result !== null);
  if (converting || (!checkpoint && !result)) return;
  heatmap.layout(result ? result.tensors : checkpoint.tensors);
  for (const report of result?.output.report.tensors ?? []) heatmap.put(report);
  heatmap.colour();
  $("picture-note").textContent = "Root mean square of what changed, over that of the weights, in percent.";
  const { worst } = heatmap;
  if (worst?.relative > 0) $("picture").setAttribute("aria-description", `At most ${share(worst.relative)}`);
}

export function startConvert() {
  heatmap = new Heatmap($("heatmap"));
  $("quantize").addEventListener("click", convert);
  $("cancel").addEventListener("click", () => {
    running?.abort();
    // What was half written is removed first.
    $("phase").textContent = "Stopping";
    $("cancel").disabled = true;
  });
  addEventListener("beforeunload", (event) => {
    if (running) event.preventDefault();
  });
  watch(["checkpoint", "converting", "result", "estimate", "settings"], () => {
    const { checkpoint, converting, result, estimate, settings } = state;
    show($("act"), !converting && result === null);
    show($("progress"), converting);
    $("quantize").disabled = !checkpoint || !estimate;
    $("quantize").textContent = `Quantize to ${settings.scheme}`;
    for (const id of ["scheme-form", "open-form"]) $(id).toggleAttribute("inert", converting);
  });
  watch(["checkpoint", "result", "converting"], drawPicture);
}
