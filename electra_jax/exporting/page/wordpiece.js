// Text -> ids of a vocab.txt, as electra_jax/text/wordpiece.py does it: clean,
// split at blanks, Chinese and punctuation, longest piece first.

const CHINESE =
  /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/u;
const APART = /[\p{P}!-/:-@[-`{-~]/u;
const DROPPED = /[\p{C}\ufffd]/u;
const BLANK = /[\s\x1c-\x1f\x85]/u;

export class WordPiece {
  /**
   * @param {string[]} pieces of the vocabulary, in the order of their ids.
   * @param {object} options lowercase, strip_accents, split_chinese,
   *   max_word_length, and the id of an unknown word.
   */
  constructor(pieces, options) {
    this.pieces = pieces;
    this.ids = new Map(pieces.map((piece, id) => [piece, id]));
    this.options = options;
  }

  /**
   * Cuts a text into pieces.
   *
   * @return {object} ids, and spans: of each piece its characters (code points)
   *   in the text.
   */
  encode(text) {
    const ids = [];
    const spans = [];
    for (const word of this.words(text)) this.cut(word, ids, spans);
    return { ids, spans };
  }

  /** Returns words, each a list of [character, its place in the text]. */
  words(text) {
    const { lowercase, strip_accents, split_chinese } = this.options;
    const cleaned = [];
    Array.from(text).forEach((c, place) => {
      if (/[ \t\n\r\p{Zs}]/u.test(c)) cleaned.push([" ", place]);
      else if (DROPPED.test(c)) return;
      else if (split_chinese && CHINESE.test(c)) {
        cleaned.push([" ", place], [c, place], [" ", place]);
      } else cleaned.push([c, place]);
    });
    const words = [];
    for (let word of split(cleaned)) {
      if (lowercase) word = lower(word);
      if (lowercase && strip_accents) word = withoutAccents(word);
      const apart = word.flatMap(([c, place]) =>
        APART.test(c) ? [[" ", place], [c, place], [" ", place]] : [[c, place]],
      );
      words.push(...split(apart));
    }
    return words;
  }

  cut(word, ids, spans) {
    const found = [];
    let start = 0;
    while (start < word.length && word.length <= this.options.max_word_length) {
      let end = word.length;
      let id;
      for (; end > start; end--) {
        const letters = word.slice(start, end).map(([c]) => c).join("");
        id = this.ids.get(start ? `##${letters}` : letters);
        if (id !== undefined) break;
      }
      if (id === undefined) break;
      found.push([id, spanOf(word.slice(start, end))]);
      start = end;
    }
    const isWhole = start === word.length;
    const kept = isWhole ? found : [[this.options.unknown, spanOf(word)]];
    for (const [id, span] of kept) {
      ids.push(id);
      spans.push(span);
    }
  }
}

/** Reads the pieces of a vocab.txt. */
export function readVocabulary(text) {
  const lines = text.replace(/^\ufeff/, "").split("\n");
  if (!lines.at(-1)) lines.pop();
  return lines.map((line) => line.trim());
}

function spanOf(characters) {
  const places = characters.map(([, place]) => place);
  return [Math.min(...places), Math.max(...places) + 1];
}

function split(characters) {
  const words = [];
  let word = null;
  for (const one of characters) {
    if (BLANK.test(one[0])) word = null;
    else if (word) word.push(one);
    else words.push((word = [one]));
  }
  return words;
}

/** Lower-cases a word whole, for the form of a sigma at its end. */
function lower(word) {
  const letters = Array.from(word.map(([c]) => c).join("").toLowerCase());
  const places = word.flatMap(([c, place]) =>
    Array.from(c.toLowerCase(), () => place),
  );
  return letters.map((c, i) => [c, places[i]]);
}

function withoutAccents(word) {
  const plain = (c) => c.normalize("NFD").replace(/\p{Mn}/gu, "");
  return word.flatMap(([c, place]) => Array.from(plain(c), (x) => [x, place]));
}
