/** The conversation, with one model or with two side by side. */

import { bytes, perSecond } from "../embed/format.js";
import { describeModel, entries, forget, isLoaded, modelOf, releaseOthers } from "./chat-models.js";
import { $, announce, h, show } from "./dom.js";
import { clearError, isAbort, showError } from "./errors.js";
import { sampling, startSampling } from "./sampling.js";
import { weightBytes } from "./source.js";
import { watch } from "./state.js";

/** More weights than most tabs can hold. */
const HEAVY = 2e9;

/** After these a model may not answer again. */
const FATAL = new Set(["worker-failed", "out-of-memory", "device-lost", "internal"]);

/** @typedef {{ text: string, view: any }} Answer */
/** @type {{ user: string, answers: Map<string, Answer> }[]} */
let turns = [];
/** @type {AbortController | null} */
let answering = null;
/** @type {string[]} */
let suggestions = [];
/** Chosen by the person, kept while it is offered. */
let chosen = "original";
let chosenB = "";

const entryOf = (key) => entries().find((entry) => entry.key === key);

/** The models that the next message goes to. */
function asked() {
  const first = entryOf(chosen);
  const second = $("compare").checked ? entryOf(chosenB) : undefined;
  return [first, second].filter((entry, at, all) => entry && all.indexOf(entry) === at);
}

/** The conversation up to a turn as one model saw it; what it did not answer, the other's answer stands in for. */
function messagesFor(key, turn) {
  const messages = [];
  for (const { user, answers } of turns.slice(0, turns.indexOf(turn))) {
    const answer = answers.get(key)?.text || [...answers.values()].find(({ text }) => text !== "")?.text;
    if (!answer) continue;
    messages.push({ role: "user", content: user }, { role: "assistant", content: answer });
  }
  return [...messages, { role: "user", content: turn.user }];
}

const nearEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 48;

/** Adds text, and follows it unless the person has scrolled back. */
function grow(view, text) {
  const log = $("log");
  const follow = nearEnd(log);
  view.body.append(text);
  if (follow) log.scrollTop = log.scrollHeight;
}

/** What an answer cost: each part keeps together where the line breaks. */
function statsOf(usage) {
  const cached = usage.cachedTokens > 0 ? ` (${usage.cachedTokens} cached)` : "";
  const end = { length: ", stopped at the limit", abort: ", stopped" }[usage.finish] ?? "";
  const speed = (name, value) => value > 0 && `${name} ${perSecond(value)} tok/s`;
  const parts = [
    `${usage.promptTokens} → ${usage.tokens} tokens${cached}${end}`,
    speed("prefill", usage.prefillTokensPerSecond),
    speed("decode", usage.decodeTokensPerSecond),
  ];
  return parts.filter(Boolean).flatMap((part) => [h("span", null, part), " "]);
}

/** Draws a turn and gives back the view of each answer. */
function drawTurn(user, models) {
  const views = models.map((entry) => {
    const body = h("div", { class: "text" });
    const stats = h("p", { class: "stats" });
    const element = h(
      "article",
      { class: "answer waiting", "aria-label": `Answer of ${entry.label}` },
      h("h3", null, entry.label),
      body,
      stats,
    );
    return { element, body, stats };
  });
  show($("log").querySelector(".empty") ?? h("p"), false);
  $("log").append(
    h(
      "div",
      { class: "turn" },
      h("p", { class: "user" }, h("span", { class: "visually-hidden" }, "You: "), user),
      h("div", { class: views.length > 1 ? "answers two" : "answers" }, ...views.map(({ element }) => element)),
    ),
  );
  $("log").scrollTop = $("log").scrollHeight;
  return views;
}

/** One model's answer to the conversation so far. */
async function answer(entry, turn, view, signal) {
  const tell = (text) => {
    $("model-status").textContent = text;
  };
  const model = await modelOf(
    entry,
    tell,
    asked().map(({ key }) => key),
  );
  drawStatus();
  signal.throwIfAborted();
  const record = { text: "", view };
  const messages = messagesFor(entry.key, turn);
  turn.answers.set(entry.key, record);
  for await (const { text } of model.generate(messages, { ...sampling(), signal })) {
    view.element.classList.remove("waiting");
    record.text += text;
    if (text) grow(view, text);
  }
  if (model.usage) view.stats.replaceChildren(...statsOf(model.usage));
}

async function ask(text) {
  const models = asked();
  if (models.length === 0 || answering || text.trim() === "") return;
  clearError($("chat-error"));
  answering = new AbortController();
  const { signal } = answering;
  const turn = { user: text, answers: new Map() };
  turns.push(turn);
  $("prompt").value = "";
  fit();
  drawControls();
  const views = drawTurn(text, models);
  try {
    // One after the other: side by side they would slow each other down, and the figures would lie.
    for (const [at, entry] of models.entries()) {
      try {
        await answer(entry, turn, views[at], signal);
      } catch (error) {
        if (FATAL.has(error?.code)) forget(entry);
        throw error;
      }
    }
    announce([...turn.answers.values()].map((each) => each.text).join(". "));
  } catch (error) {
    if (error?.code === "context-full") {
      showError($("chat-error"), error, "No room for an answer", () => askAnew(text), "Ask in a new chat");
    } else if (!signal.aborted && !isAbort(error)) {
      showError($("chat-error"), error, "No answer", () => again(turn));
    }
    if ([...turn.answers.values()].every((each) => each.text === "")) takeBack(turn, signal.aborted ? "" : text);
    else if (signal.aborted) announce("Stopped.");
  } finally {
    for (const { element, stats } of views) {
      element.classList.remove("waiting");
      if (signal.aborted && stats.textContent === "") stats.textContent = "stopped";
    }
    answering = null;
    drawControls();
    drawStatus();
  }
}

/** A turn without any answer leaves the conversation; the message goes back to where it can be sent again. */
function takeBack(turn, text) {
  turns = turns.filter((each) => each !== turn);
  $("log").querySelector(".turn:last-of-type")?.remove();
  if ($("prompt").value === "") $("prompt").value = text || turn.user;
  fit();
  drawEmpty();
}

function again(turn) {
  clearError($("chat-error"));
  if ($("prompt").value === turn.user) ask(turn.user);
  else $("prompt").focus();
}

function askAnew(text) {
  newChat();
  ask(text);
}

function newChat() {
  answering?.abort();
  turns = [];
  clearError($("chat-error"));
  $("log").replaceChildren();
  drawEmpty();
  drawControls();
  $("prompt").focus();
}

/** The box grows with its text, up to a third of the chat. */
function fit() {
  const box = $("prompt");
  box.style.blockSize = "auto";
  box.style.blockSize = `${Math.min(box.scrollHeight + 2, 200)}px`;
}

/** What to expect of a model that is not loaded yet. */
function heavy(entry) {
  const size = entry.source.tensors ? weightBytes(entry.source) : 0;
  return size > HEAVY
    ? `As it is, this checkpoint takes ${bytes(size)} of memory. Quantize it first, and chat with the result.`
    : "The model loads when you send the first message.";
}

function drawEmpty() {
  if (turns.length > 0) return;
  const entry = entryOf(chosen);
  const words = entry?.demo
    ? "The demo is tiny and knows little: facts told a moment ago, sums of two-digit numbers, letters in order, what INT4 or GGUF mean. Ask it such things, quantize it, and ask again."
    : entry
      ? heavy(entry)
      : "";
  $("log").replaceChildren(h("p", { class: "empty quiet" }, words));
}

function drawControls() {
  const busy = answering !== null;
  const empty = $("prompt").value.trim() === "";
  $("send").textContent = busy ? "Stop" : "Send";
  $("send").classList.toggle("primary", !busy);
  $("send").disabled = busy ? false : empty || asked().length === 0;
  $("new-chat").disabled = turns.length === 0;
  for (const id of ["model", "model-b", "compare"]) $(id).disabled = busy || (id === "compare" && entries().length < 2);
  const demo = entryOf(chosen)?.demo;
  show($("chips"), Boolean(demo) && suggestions.length > 0 && !busy);
}

function drawStatus() {
  $("model-status").textContent = asked().map(describeModel).find(Boolean) ?? "";
}

/** The model menus: what is offered now. */
function drawModels() {
  const offered = entries();
  if (!offered.some(({ key }) => key === chosen)) chosen = offered.at(-1)?.key ?? "";
  if (!offered.some(({ key }) => key === chosenB) || chosenB === chosen) {
    chosenB = offered.findLast(({ key }) => key !== chosen)?.key ?? "";
  }
  if (offered.length < 2) $("compare").checked = false;
  const fill = (select, picked, without) =>
    select.replaceChildren(
      ...offered
        .filter(({ key }) => key !== without)
        .map(({ key, label }) => h("option", { value: key, selected: key === picked }, label)),
    );
  fill($("model"), chosen, "");
  fill($("model-b"), chosenB, chosen);
  show($("model-b"), $("compare").checked);
  $("model").disabled = offered.length === 0;
  releaseOthers();
  drawEmpty();
  drawControls();
  drawStatus();
}

/** Begins to load what will be asked, so that the first answer does not wait; a failure shows when it is asked. */
function warm() {
  for (const entry of asked()) {
    if (isLoaded(entry)) continue;
    modelOf(entry, (text) => ($("model-status").textContent = text), [chosen, chosenB]).then(drawStatus, drawStatus);
  }
}

/** One thing to ask of each kind that the demo knows: the shortest that needs nothing said before it. */
async function loadSuggestions() {
  try {
    const response = await fetch(new URL("../models/demo/prompts.json", import.meta.url));
    const prompts = response.ok ? await response.json() : [];
    const byTask = new Map();
    for (const { task, messages } of prompts) {
      const { content } = messages.at(-1);
      if (/earlier/.test(task) || content.length < 8) continue;
      if (!byTask.has(task) || content.length < byTask.get(task).length) byTask.set(task, content);
    }
    suggestions = [...byTask.values()];
  } catch {
    // Without suggestions there is still a box to type in.
  }
  $("chips").replaceChildren(
    ...suggestions.map((text) => h("li", null, h("button", { type: "button", click: () => ask(text) }, text))),
  );
  drawControls();
}

export function startChat() {
  startSampling();
  loadSuggestions();
  watch(["checkpoint", "results"], drawModels);
  // The demo is small and served from here: have it ready. Anything else loads when it is wanted.
  watch(["checkpoint"], () => {
    const demo = entryOf("original")?.demo && chosen === "original";
    if (!demo || navigator.connection?.saveData) return;
    (window.requestIdleCallback ?? setTimeout)(warm, { timeout: 1000 });
  });

  $("prompt").addEventListener("focus", () => {
    if (asked().every(({ demo }) => demo)) warm();
  });
  $("prompt").addEventListener("input", () => {
    fit();
    drawControls();
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!answering) ask($("prompt").value);
  });
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    if (answering) answering.abort();
    else ask($("prompt").value);
  });
  $("new-chat").addEventListener("click", newChat);
  $("model").addEventListener("change", () => {
    chosen = $("model").value;
    drawModels();
  });
  $("model-b").addEventListener("change", () => {
    chosenB = $("model-b").value;
    drawModels();
  });
  $("compare").addEventListener("change", drawModels);
  addEventListener("phiquant:chat", (event) => {
    chosen = `result-${event.detail.key}`;
    drawModels();
    warm();
    $("prompt").focus();
    $("chat").scrollIntoView({
      block: "nearest",
      behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
    });
  });
}
