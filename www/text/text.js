// Text at the edge: the model's tokenizer and chat template, from the checkpoint's own files.

import { PhiquantError } from "../engine/errors.js";
import { Template } from "../vendor/jinja.js";
import { Tokenizer } from "../vendor/tokenizers.js";

/** A special token in tokenizer_config.json is a string or an object with its content. */
const content = (token) => (typeof token === "string" ? token : (token?.content ?? null));

function parse(name, text) {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new PhiquantError("bad-config", `${name} is not JSON: ${cause.message}.`, { file: name, cause });
  }
}

/** GPT-2's rule, which the ByteLevel step has built in. */
const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/**
 * The library's own spelling of that rule takes white space for what JavaScript does, which U+0085 is not and U+FEFF is; rules
 * that a file spells out it translates. So the rule is spelled out.
 */
function spellOut(tokenizer) {
  const step = tokenizer.pre_tokenizer;
  if (step?.type === "ByteLevel" && step.use_regex !== false && step.add_prefix_space === false) {
    const split = { type: "Split", pattern: { Regex: GPT2 }, behavior: "Isolated", invert: false };
    tokenizer.pre_tokenizer = { type: "Sequence", pretokenizers: [split, { ...step, use_regex: false }] };
  }
  return tokenizer;
}

export class Text {
  /**
   * @param {(name: string) => string | undefined | null} file texts of the checkpoint by name
   * @throws {PhiquantError} missing-file, bad-config
   */
  constructor(file) {
    const tokenizer = file("tokenizer.json");
    if (!tokenizer) {
      throw new PhiquantError(
        "missing-file",
        "The checkpoint has no tokenizer.json, so text cannot be turned into tokens.",
        {
          file: "tokenizer.json",
        },
      );
    }
    const config = parse("tokenizer_config.json", file("tokenizer_config.json") || "{}");
    const special = parse("special_tokens_map.json", file("special_tokens_map.json") || "{}");
    try {
      this.tokenizer = new Tokenizer(spellOut(parse("tokenizer.json", tokenizer)), config);
    } catch (cause) {
      if (cause instanceof PhiquantError) throw cause;
      throw new PhiquantError("bad-config", `tokenizer.json cannot be used: ${cause.message}.`, {
        file: "tokenizer.json",
        cause,
      });
    }
    const beside = parse("chat_template.json", file("chat_template.json") || "{}");
    this.template =
      file("chat_template.jinja") ?? chatTemplate(config.chat_template) ?? chatTemplate(beside.chat_template);
    const token = (name) => content(config[name]) ?? content(special[name]);
    this.special = Object.fromEntries(
      ["bos_token", "eos_token", "pad_token", "unk_token"]
        .map((name) => [name, token(name)])
        .filter(([, text]) => text !== null),
    );
  }

  /** @returns {number[]} */
  encode(text, addSpecialTokens = true) {
    return Array.from(this.tokenizer.encode(text, { add_special_tokens: addSpecialTokens }).ids, Number);
  }

  /** Special tokens are left out. @param {number[]} ids */
  decode(ids) {
    if (ids.length === 0) return ""; // which the library refuses
    return this.tokenizer.decode(ids, { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }

  /** A conversation as the model was trained to read it, up to where its answer begins. */
  render(messages, { addGenerationPrompt = true } = {}) {
    if (!this.template) {
      throw new PhiquantError("unsupported", "This checkpoint has no chat template. Give the prompt as a string.");
    }
    for (const message of messages) {
      if (typeof message?.role !== "string" || typeof message?.content !== "string") {
        throw new PhiquantError("bad-option", "Each message is { role, content }, both strings.");
      }
    }
    try {
      this.compiled ??= new Template(this.template);
      return this.compiled.render({ ...this.special, messages, add_generation_prompt: addGenerationPrompt });
    } catch (cause) {
      throw new PhiquantError("bad-config", `The chat template cannot be rendered: ${cause.message}.`, { cause });
    }
  }

  /** Ids of a prompt: a string as the tokenizer takes it, messages through the template, ids as they are. */
  promptIds(prompt) {
    if (typeof prompt === "string") return this.encode(prompt);
    if (ArrayBuffer.isView(prompt)) return Array.from(/** @type {any} */ (prompt), Number);
    if (Array.isArray(prompt) && prompt.length > 0) {
      if (prompt.every(Number.isInteger)) return prompt;
      // The template writes the special tokens itself.
      return this.encode(this.render(prompt), false);
    }
    throw new PhiquantError("bad-option", "A prompt is a string or a list of messages.");
  }
}

/** One template, or the one called "default" of several. */
function chatTemplate(value) {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return null;
  return (value.find((entry) => entry?.name === "default") ?? value[0])?.template ?? null;
}
