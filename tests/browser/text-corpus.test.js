// The browser's tokenizer and chat templates on the corpus that the native ones must equal too (tools/text_corpus.py).
// The text modules are plain JavaScript, so Node runs them as a browser does.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Detokenizer } from "../../www/text/detokenize.js";
import { Text } from "../../www/text/text.js";
import { ROOT } from "./server.js";

const read = (path) => readFileSync(join(ROOT, path), "utf8");
const corpus = JSON.parse(read("tests/fixtures/text/corpus.json"));

for (const [name, expected] of Object.entries(corpus.tokenizers)) {
  const text = new Text((file) => (file.startsWith("tokenizer") ? read(`${expected.folder}/${file}`) : undefined));

  test(`${name}: ids and texts are Python's`, () => {
    assert.ok(corpus.texts.length > 400);
    assert.deepEqual(text.encode("a b", true), expected.special);
    corpus.texts.forEach((source, index) => {
      const ids = expected.ids[index];
      assert.deepEqual(text.encode(source, false), ids, JSON.stringify(source));
      // The library's TextDecoder takes a byte order mark at the beginning for one, and drops it.
      const wanted = (expected.decoded[index] ?? source).replace(/^\ufeff/, "");
      assert.equal(text.decode(ids).replace(/^\ufeff/, ""), wanted, JSON.stringify(source));
    });
  });

  test(`${name}: text that comes in pieces is the text at once`, () => {
    for (const ids of expected.ids) {
      const stream = new Detokenizer((ids) => text.decode(ids));
      const pieces = ids.map((id) => stream.push(id));
      assert.equal(pieces.join("") + stream.flush(), text.decode(ids), JSON.stringify(ids));
    }
  });
}

test("chats are rendered as by transformers", () => {
  const tokenizer = read("tests/fixtures/text/pieces/tokenizer.json");
  for (const { template, messages, generation, text: expected, error, browserDiffers } of corpus.chats) {
    const config = {
      chat_template: corpus.templates[template],
      bos_token: "<s>",
      eos_token: { content: "<|endoftext|>" },
    };
    const files = { "tokenizer.json": tokenizer, "tokenizer_config.json": JSON.stringify(config) };
    const text = new Text((file) => files[file]);
    const render = () => text.render(messages, { addGenerationPrompt: generation });
    const what = `${template}: ${JSON.stringify(messages)}`;
    if (browserDiffers) {
      // Written down so that a fixed library is noticed: then the mark can go.
      const get = () => {
        try {
          return render();
        } catch {
          return undefined;
        }
      };
      assert.notEqual(get(), expected, what);
    } else if (expected === undefined) {
      assert.throws(render, (thrown) => thrown.code === "bad-config" && thrown.message.includes(error), what);
    } else {
      assert.equal(render(), expected, what);
    }
  }
});
