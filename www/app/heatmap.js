/**
 * The picture of the error: one cell per tensor, layers across, kinds of weight down, embedding and output apart.
 *
 * It is a grid in the sense of ARIA: one tab stop, arrows move, every cell says its figures; the line below it repeats
 * them for the cell under the pointer or the focus. The colour is itself quantized: eight steps of one hue, ordered by
 * lightness (so that any kind of colour vision can read it), between the least and the greatest error in view.
 */

import { backendName, share, small } from "../embed/format.js";
import { h } from "./dom.js";

const STEPS = 8;
/** The order in which the weights work; kinds not listed come after, as they come. */
const ORDER = [
  "embed_tokens",
  "token_embd",
  "input_layernorm",
  "attn_norm",
  "qkv_proj",
  "attn_qkv",
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "attn_output",
  "post_attention_layernorm",
  "ffn_norm",
  "gate_up_proj",
  "gate_proj",
  "up_proj",
  "ffn_up",
  "down_proj",
  "ffn_down",
  "norm",
  "output_norm",
  "lm_head",
  "output",
];
const NAMES = {
  input_layernorm: "attn norm",
  post_attention_layernorm: "ffn norm",
  o_proj: "attn out",
  attn_output: "attn out",
  gate_up_proj: "gate + up",
  embed_tokens: "embedding",
  token_embd: "embedding",
  lm_head: "output",
  norm: "last norm",
  output_norm: "last norm",
};

/** `model.layers.3.mlp.down_proj.weight` is kind `down_proj` of layer 3. */
export function placeOf(name) {
  const stem = name.replace(/\.weight$/, "");
  const match = /(?:^|\.)(?:layers|blk|h)\.(\d+)\.(.+)$/.exec(stem);
  const kind = (match ? match[2] : stem).replace(/^(self_attn|mlp|mixer|model|transformer)\./, "");
  return { layer: match ? Number(match[1]) : null, kind };
}

const title = (kind) => NAMES[kind] ?? kind.replace(/_proj$/, "").replaceAll("_", " ");
const rank = (kind) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length);

export class Heatmap {
  /** @type {Map<string, { cell: HTMLElement, tensor: any, report: any }>} by the tensor's name in the checkpoint */
  #cells = new Map();
  /** @type {HTMLElement[][]} rows of cells, as the arrows walk them */
  #rows = [];
  /** The cell under the pointer. @type {EventTarget | null} */
  #pointed = null;
  /** Has a report come since the last colouring? */
  #fresh = true;
  #readout = h("p", { class: "readout" });
  #legend = h("p", { class: "legend" });

  /** @param {HTMLElement} place */
  constructor(place) {
    this.place = place;
    place.addEventListener("keydown", (event) => this.#walk(event));
    place.addEventListener("focusin", ({ target }) => {
      this.#pointed = null;
      this.#point(target, true);
    });
    for (const type of ["pointerover", "click"]) {
      place.addEventListener(type, ({ target }) => {
        this.#pointed = target;
        this.#rest();
      });
    }
    place.addEventListener("pointerleave", () => {
      this.#pointed = null;
      this.#rest();
    });
  }

  /** Lays the cells out, empty. `tensors` are the checkpoint's. */
  layout(tensors) {
    this.#cells.clear();
    this.#pointed = null;
    this.#fresh = true;
    const placed = tensors.map((tensor) => ({ tensor, ...placeOf(tensor.name) }));
    const layers = Math.max(-1, ...placed.map(({ layer }) => layer ?? -1)) + 1;
    const kinds = [...new Set(placed.filter(({ layer }) => layer !== null).map(({ kind }) => kind))];
    kinds.sort((a, b) => rank(a) - rank(b));
    const cellOf = (layer, kind) => {
      const found = placed.find((each) => each.layer === layer && each.kind === kind);
      const cell = h("td", { role: "gridcell", class: found ? "cell" : "hole" });
      if (!found) return cell;
      cell.tabIndex = -1;
      this.#cells.set(found.tensor.name, { cell, tensor: found.tensor, report: null });
      return cell;
    };

    const apart = placed.filter(({ layer }) => layer === null).sort((a, b) => rank(a.kind) - rank(b.kind));
    const body = kinds.map((kind) =>
      h(
        "tr",
        { role: "row" },
        h("th", { scope: "row", role: "rowheader" }, title(kind)),
        ...Array.from({ length: layers }, (_, layer) => cellOf(layer, kind)),
      ),
    );
    const singles = apart.map(({ kind }) => {
      const cell = cellOf(null, kind);
      cell.colSpan = Math.max(1, layers);
      return h("tr", { role: "row", class: "single" }, h("th", { scope: "row", role: "rowheader" }, title(kind)), cell);
    });
    const every = layers <= 12 ? 1 : layers <= 24 ? 4 : 8;
    const head = h(
      "tr",
      { role: "row" },
      h("th", { role: "columnheader" }, "layer"),
      ...Array.from({ length: layers }, (_, layer) =>
        h(
          "th",
          { scope: "col", role: "columnheader", "aria-label": `layer ${layer}` },
          layer % every === 0 ? layer : "",
        ),
      ),
    );
    const table = h(
      "table",
      { role: "grid", "aria-label": "Relative error of every tensor", class: layers > 9 ? "dense" : "roomy" },
      h("thead", { role: "rowgroup" }, head),
      h("tbody", { role: "rowgroup" }, ...body),
      h("tbody", { role: "rowgroup", class: "apart" }, ...singles),
    );
    this.#rows = [...body, ...singles].map((row) => [...row.querySelectorAll(".cell")]).filter((row) => row.length > 0);
    if (this.#rows[0]) this.#rows[0][0].tabIndex = 0;
    this.place.replaceChildren(table, this.#legend, this.#readout);
    this.colour();
  }

  /** A tensor's figures have come. Call `colour` after the last of a batch. */
  put(report) {
    const entry = this.#cells.get(report.tensor);
    if (!entry) return;
    entry.report = report;
    this.#fresh = true;
  }

  /** Colours every cell against the span of the errors so far. */
  colour() {
    if (!this.#fresh) return;
    this.#fresh = false;
    const errors = [...this.#cells.values()].map(({ report }) => report?.relative ?? 0).filter((value) => value > 0);
    const least = Math.min(...errors);
    const greatest = Math.max(...errors);
    // Below a quarter of difference the picture would show noise as if it were structure.
    const low = errors.length > 0 ? Math.min(least, greatest / 1.25) : 0;
    for (const { cell, tensor, report } of this.#cells.values()) {
      let step = "none";
      if (report) step = report.relative === 0 ? "exact" : String(stepOf(report.relative, low, greatest));
      cell.dataset.step = step;
      cell.textContent = report ? figure(report.relative) : "";
      cell.setAttribute("aria-label", describe(tensor, report));
    }
    this.#legend.replaceChildren(
      ...(errors.length === 0
        ? ["Fills while converting."]
        : [
            h("span", null, share(low)),
            h(
              "span",
              { class: "swatches", "aria-hidden": "true" },
              ...Array.from({ length: STEPS }, (_, step) => h("i", { "data-step": step })),
            ),
            h("span", null, share(greatest)),
            h(
              "span",
              { class: "exact-key" },
              h("i", { "data-step": "exact", "aria-hidden": "true" }, "="),
              " kept exactly",
            ),
          ]),
    );
    this.#rest();
  }

  /** The tensor with the largest relative error, or null. */
  get worst() {
    const reports = [...this.#cells.values()].map(({ report }) => report).filter(Boolean);
    return reports.reduce((worst, each) => (worst === null || each.relative > worst.relative ? each : worst), null);
  }

  /** Writes a cell's figures into the line; was it a cell? */
  #point(target, focused) {
    const found = [...this.#cells.values()].find(({ cell }) => cell === target);
    if (!found) return false;
    if (focused) {
      for (const { cell } of this.#cells.values()) cell.tabIndex = -1;
      found.cell.tabIndex = 0;
    }
    this.#readout.replaceChildren(...readout(found.tensor, found.report));
    return true;
  }

  /** What the line says: the cell that is pointed at, the one with the focus, or else the worst. */
  #rest() {
    if (this.#point(this.#pointed, false) || this.#point(document.activeElement, false)) return;
    const worst = this.worst;
    if (worst === null || worst.relative === 0) return this.#readout.replaceChildren();
    this.#readout.replaceChildren("Largest: ", ...readout(this.#cells.get(worst.tensor).tensor, worst));
  }

  #walk(event) {
    const row = this.#rows.findIndex((cells) => cells.includes(event.target));
    if (row < 0) return;
    const column = this.#rows[row].indexOf(event.target);
    const go = (toRow, toColumn) => {
      const cells = this.#rows[Math.min(Math.max(toRow, 0), this.#rows.length - 1)];
      cells[Math.min(Math.max(toColumn, 0), cells.length - 1)].focus();
      event.preventDefault();
    };
    const moves = {
      ArrowLeft: () => go(row, column - 1),
      ArrowRight: () => go(row, column + 1),
      ArrowUp: () => go(row - 1, column),
      ArrowDown: () => go(row + 1, column),
      Home: () => go(row, 0),
      End: () => go(row, Number.POSITIVE_INFINITY),
    };
    moves[event.key]?.();
  }
}

/** A cell's own figure, in percent. */
function figure(relative) {
  const percent = relative * 100;
  return percent === 0 ? "=" : percent >= 1 ? percent.toFixed(1) : percent.toPrecision(2);
}

/** The step of the scale, 0 to STEPS − 1. */
function stepOf(value, low, high) {
  const along = high > low ? (value - low) / (high - low) : 1;
  return Math.min(STEPS - 1, Math.max(0, Math.floor(along * STEPS)));
}

function describe(tensor, report) {
  const shape = tensor.shape.join(" by ");
  if (!report) return `${tensor.name}, ${shape}, not converted yet`;
  const error =
    report.relative === 0
      ? "kept exactly"
      : `relative error ${share(report.relative)}, root mean square ${small(report.rmse)}, maximum ${small(report.max)}`;
  return `${tensor.name}, ${shape}, ${report.scheme}, ${error}`;
}

function readout(tensor, report) {
  const shape = tensor.shape.join("\u00a0×\u00a0");
  const name = h("code", null, report?.output ?? tensor.name);
  if (!report) return [name, ` ${tensor.dtype}, ${shape}`];
  const how = `${report.scheme}, ${shape}`;
  if (report.relative === 0) return [name, ` ${how}, kept exactly`];
  return [
    name,
    ` ${how}: `,
    h("b", null, share(report.relative)),
    ` of the weights’ size, rmse ${small(report.rmse)}, max ${small(report.max)}, ${backendName(report.backend)}`,
  ];
}
