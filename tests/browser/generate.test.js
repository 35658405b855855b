// What a caller may ask of `generate`: limits, stop strings, seeds, aborts, and the figures of usage.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { files, json, start } from "./api.js";

let t;
let question;
let answer;
before(async () => {
  t = await start("no-webgpu");
  question = (await json("www/models/demo/prompts.json")).find(({ task }) => task === "definitions").messages;
  const loaded = await t.run(async () => {
    const { loadModel } = await import("/tests/in-page.js");
    globalThis.model = await loadModel("/models/demo/");
    const { backend, reason, contextLength } = globalThis.model;
    return { backend, reason, contextLength };
  });
  assert.equal(loaded.backend, "simd128");
  assert.ok(loaded.reason.length > 0);
  assert.equal(loaded.contextLength, 512);
  answer = await generate(question);
});
after(() => t?.close());

const page = (action, argument) => t.run(action, argument);
const generate = (prompt, options) =>
  page(
    async ([prompt, options]) => {
      const { collect } = await import("/tests/in-page.js");
      return collect(globalThis.model, prompt, { temperature: 0, maxTokens: 64, ...options });
    },
    [prompt, options],
  );
const refused = async (prompt, options) => {
  const { error, value } = await t.attempt(
    async ([prompt, options]) => {
      const { collect } = await import("/tests/in-page.js");
      return collect(globalThis.model, prompt, options);
    },
    [prompt, options],
  );
  assert.equal(value, undefined, JSON.stringify([prompt, options]));
  return error;
};

test("usage counts tokens, those from the cache, and the speed", async () => {
  assert.ok(answer.tokens.length > 5);
  const { usage } = answer;
  assert.equal(usage.tokens, answer.tokens.length);
  assert.equal(usage.finish, "stop");
  assert.ok(usage.prefillTokensPerSecond > 0 && usage.decodeTokensPerSecond > 0);
  const again = await generate(question);
  assert.deepEqual(again.tokens, answer.tokens);
  assert.ok(again.usage.cachedTokens >= usage.promptTokens - 1, "the whole prompt is in the cache");
  // The next turn of the conversation finds the previous one there.
  const longer = [...question, { role: "assistant", content: answer.text }, { role: "user", content: "Thank you!" }];
  const next = await generate(longer);
  assert.ok(next.usage.cachedTokens >= usage.promptTokens, `${next.usage.cachedTokens}`);
});

test("maxTokens ends an answer", async () => {
  for (const maxTokens of [1, 3]) {
    const short = await generate(question, { maxTokens });
    assert.deepEqual(short.tokens, answer.tokens.slice(0, maxTokens));
    assert.equal(short.usage.finish, "length");
  }
});

test("stop strings end an answer before them, also across tokens; what was held back comes out otherwise", async () => {
  const words = answer.text.split(" ");
  const stop = words.slice(2, 4).join(" ");
  const stopped = await generate(question, { stop: [stop, "never said"] });
  assert.equal(stopped.text, answer.text.slice(0, answer.text.indexOf(stop)));
  assert.equal(stopped.usage.finish, "stop");
  assert.ok(stopped.usage.tokens < answer.tokens.length);
  // The answer ends with the beginning of a stop string.
  const held = await generate(question, { stop: [`${answer.text.slice(-3)}...`] });
  assert.equal(held.text, answer.text);
  assert.equal((await generate(question, { stop: "nowhere" })).text, answer.text);
});

test("a seed gives the same answer again", async () => {
  const sample = (seed) => generate("Once", { temperature: 1.5, topK: 50, topP: 0.98, seed, maxTokens: 24 });
  const [first, second, third] = [await sample(1), await sample(1), await sample(2)];
  assert.deepEqual(first.tokens, second.tokens);
  assert.notDeepEqual(first.tokens, third.tokens);
  // Of one candidate there is no choice.
  const greedy = await generate(question, { temperature: 2, topK: 1, seed: 3 });
  assert.deepEqual(greedy.tokens, answer.tokens);
});

/** The demo without an end: no token ends its answers, and there is room for many. */
async function endless() {
  const demo = await files("www/models/demo");
  const edit = (name, changes) => JSON.stringify({ ...JSON.parse(demo[name].toString()), ...changes });
  const [system, room] = [1212, 4096];
  const longer = { eos_token_id: system, max_position_embeddings: room, original_max_position_embeddings: room };
  return {
    ...demo,
    "config.json": edit("config.json", longer),
    "generation_config.json": edit("generation_config.json", { eos_token_id: system }),
  };
}

test("an abort or a break stops between tokens; the model can be used on", async () => {
  t.hub.add("phi/endless", await endless());
  const outcome = await page(async (hub) => {
    const { collect, loadModel } = await import("/tests/in-page.js");
    const model = await loadModel("phi/endless", { hub });
    const prompt = "The model";
    const first = await collect(model, prompt, { temperature: 0, maxTokens: 8 });
    const controller = new AbortController();
    const pieces = [];
    let code = null;
    try {
      for await (const piece of model.generate(prompt, { temperature: 0, signal: controller.signal })) {
        pieces.push(piece.token);
        if (pieces.length === 3) controller.abort(new Error("enough"));
      }
    } catch (error) {
      code = [error.code, error.cause?.message];
    }
    const aborted = model.usage;
    let taken = 0;
    for await (const _ of model.generate(prompt, { temperature: 0 })) if (++taken === 2) break;
    const broken = model.usage;
    const before = await model
      .generate(prompt, { signal: AbortSignal.abort() })
      .next()
      .catch(({ code }) => code);
    const again = await collect(model, prompt, { temperature: 0, maxTokens: 8 });
    await model.close();
    return { first: first.tokens, pieces, code, aborted, broken, before, again: again.tokens };
  }, t.hub.url);
  assert.deepEqual(outcome.pieces, outcome.first.slice(0, 3), "nothing comes after the abort");
  assert.deepEqual(outcome.code, ["aborted", "enough"]);
  for (const usage of [outcome.aborted, outcome.broken]) {
    assert.equal(usage.finish, "abort");
    assert.ok(usage.tokens >= 2 && usage.tokens < 4000, `${usage.tokens}`);
  }
  assert.equal(outcome.before, "aborted");
  assert.deepEqual(outcome.again, outcome.first);
});

test("loading can be aborted, and a model can be read from a directory", async () => {
  const outcome = await page(
    async (names) => {
      const { collect, fetchFiles, folder, loadModel } = await import("/tests/in-page.js");
      const controller = new AbortController();
      const onProgress = ({ phase, bytes }) => phase === "load" && bytes > 0 && controller.abort();
      const code = await loadModel("/models/demo/", { signal: controller.signal, onProgress }).catch(
        ({ code }) => code,
      );
      const directory = await folder("demo");
      for (const file of await fetchFiles("/models/demo/", names)) {
        const out = await (await directory.getFileHandle(file.name, { create: true })).createWritable();
        await out.write(file);
        await out.close();
      }
      const model = await loadModel(directory);
      const { tokens } = await collect(model, "The model", { temperature: 0, maxTokens: 4 });
      await model.close();
      return [code, tokens, (await collect(globalThis.model, "The model", { temperature: 0, maxTokens: 4 })).tokens];
    },
    Object.keys(await files("www/models/demo")),
  );
  assert.equal(outcome[0], "aborted");
  assert.deepEqual(outcome[1], outcome[2]);
});

test("two answers at once are given one after the other", async () => {
  const both = await page(async (question) => {
    const { collect } = await import("/tests/in-page.js");
    const options = { temperature: 0, maxTokens: 64 };
    const made = await Promise.all([1, 2].map(() => collect(globalThis.model, question, options)));
    return made.map(({ tokens }) => tokens);
  }, question);
  assert.deepEqual(both, [answer.tokens, answer.tokens]);
});

test("tokenize gives the tokenizer's ids", async () => {
  const { prompt } = (await json("tests/fixtures/phi/demo/cases.json")).cases.definitions;
  const ids = await page(async (question) => {
    const text = question.map(({ role, content }) => `<|${role}|>\n${content}<|end|>\n`).join("");
    return globalThis.model.tokenize(`${text}<|assistant|>\n`);
  }, question);
  assert.deepEqual(ids, prompt);
});

test("the context ends an answer, and a prompt that does not fit is refused", async () => {
  const outcome = await page(async () => {
    const { collect, loadModel } = await import("/tests/in-page.js");
    const model = await loadModel("/models/demo/", { contextLength: 32 });
    const ids = await model.tokenize("a b c d e f g h");
    const options = { temperature: 2, seed: 4, topK: 900 };
    let longest = null;
    for (let seed = 0; seed < 20 && longest?.usage.finish !== "length"; seed++) {
      longest = await collect(model, "a b c d e f g h", { ...options, seed });
    }
    const code = await collect(model, "a b c d e f g h ".repeat(9), {}).catch(({ code }) => code);
    const after = await collect(model, "a", { temperature: 0, maxTokens: 2 });
    await model.close();
    return { contextLength: model.contextLength, ids: ids.length, longest, code, after: after.tokens.length };
  });
  assert.equal(outcome.contextLength, 32);
  assert.equal(outcome.longest.usage.finish, "length");
  // The last token needs no place in the cache.
  const filled = outcome.ids + outcome.longest.tokens.length;
  assert.ok(filled === 32 || filled === 33, String(filled));
  assert.equal(outcome.code, "context-full");
  assert.equal(outcome.after, 2);
});

test("options and prompts that are none are refused, each with a code", async () => {
  const cases = [
    [question, { temperature: -1 }],
    [question, { topP: 2 }],
    [question, { topP: "much" }],
    [question, { repeatPenalty: 0 }],
    [question, { maxTokens: 0 }],
    [question, { maxTokens: Number.NaN }],
    [question, { temprature: 1 }],
    [[], {}],
    [null, {}],
    [{ role: "user" }, {}],
    [[{ role: "user" }], {}],
    ["", {}],
  ];
  for (const [prompt, options] of cases) {
    const { code, message } = await refused(prompt, options);
    assert.equal(code, "bad-option", `${JSON.stringify([prompt, options])}: ${message}`);
    assert.match(message, /^\S.{20,}\.$/s);
  }
  assert.deepEqual((await generate(question)).tokens, answer.tokens);
});

test("a closed model says so", async () => {
  const codes = await page(async (question) => {
    const { collect, loadModel } = await import("/tests/in-page.js");
    const model = await loadModel("/models/demo/");
    const running = collect(model, question, { temperature: 0 }).catch(({ code }) => code);
    await model.close();
    return [await running, await collect(model, question).catch(({ code }) => code)];
  }, question);
  assert.deepEqual(codes, ["aborted", "aborted"]);
});
