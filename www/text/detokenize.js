// From token ids to text while they come: characters are never cut, stop strings are found across tokens.

/** Ids that decode to an incomplete character for longer than this are no character. */
const LONGEST_CHARACTER = 8;

/**
 * Turns ids into text as they come. Decoding starts a little before the new ids: tokenizers that mark spaces at the beginning of
 * words (SentencePiece) drop the space of the first one, and that must be one whose text is out already.
 */
export class Detokenizer {
  /** @param {(ids: number[]) => string} decode */
  constructor(decode) {
    this.decode = decode;
    /** @type {number[]} */
    this.ids = [];
    /** Text of ids before `read` is out; `prefix` is where decoding begins. */
    this.prefix = 0;
    this.read = 0;
  }

  /** The whole characters that this id completes. */
  push(id) {
    this.ids.push(id);
    const text = this.decode(this.ids.slice(this.prefix));
    if (text.endsWith("\ufffd") && this.ids.length - this.read < LONGEST_CHARACTER) return "";
    return this.take(text);
  }

  /** What is left, be it whole or not. */
  flush() {
    return this.read === this.ids.length ? "" : this.take(this.decode(this.ids.slice(this.prefix)));
  }

  take(text) {
    const before = this.read > this.prefix ? this.decode(this.ids.slice(this.prefix, this.read)) : "";
    const added = text.startsWith(before) ? text.slice(before.length) : text;
    // Special tokens have no text: one at the beginning of what is decoded would not keep the space after it.
    if (added !== "") this.prefix = this.read;
    this.read = this.ids.length;
    return added;
  }
}

/** Finds stop strings in text that comes in pieces, and holds back what may be the beginning of one. */
export class StopStrings {
  /** @param {string[]} stops */
  constructor(stops) {
    this.stops = stops.filter((stop) => stop.length > 0);
    this.held = "";
  }

  /** @returns {{ text: string, stopped: boolean }} text that may be shown */
  push(piece) {
    this.held += piece;
    let first = -1;
    for (const stop of this.stops) {
      const at = this.held.indexOf(stop);
      if (at >= 0 && (first < 0 || at < first)) first = at;
    }
    if (first >= 0) {
      const text = this.held.slice(0, first);
      this.held = "";
      return { text, stopped: true };
    }
    let keep = 0;
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, this.held.length); length > keep; length--) {
        if (this.held.endsWith(stop.slice(0, length))) keep = length;
      }
    }
    const text = this.held.slice(0, this.held.length - keep);
    this.held = this.held.slice(this.held.length - keep);
    return { text, stopped: false };
  }

  flush() {
    const text = this.held;
    this.held = "";
    return text;
  }
}
