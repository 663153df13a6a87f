// A typed text -> the words that a tagger takes, as electra_jax/tasks/words.py.

const UNSPACED =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3040-\\u30ff\\u31f0-\\u31ff" +
  "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\uff66-\\uff9d\\u{20000}-\\u{3ffff}";
const MARK = "\ue000";
const JOINER = "\u200d";
const ATTACHED = "\u200c\u200d\u00ad\u2060\uff9e\uff9f";
const LETTER = "[\\p{L}\\p{N}_]";
const SPACED = `(?:(?![${UNSPACED}])${LETTER}${MARK}*)+`;
const INSIDE = "[-'\\u2019.]";
const PATTERNS = {
  word:
    `(?:${LETTER}${MARK}*)+(?:${INSIDE}(?:${LETTER}${MARK}*)+)*|\\S${MARK}*`,
  character:
    `[${UNSPACED}]${MARK}*|${SPACED}(?:${INSIDE}${SPACED})*|\\S${MARK}*`,
  letter: `\\S${MARK}*`,
};

/** Splits a text into words to tag; `unit` as the data has them. */
export function splitWords(text, unit) {
  const characters = Array.from(text);
  const shadows = characters.map((c, i) => shadow(c, characters[i - 1]));
  // From code units of the shadow to characters of the text.
  const places = shadows.flatMap((c, i) => Array(c.length).fill(i));
  places.push(characters.length);
  const matches = shadows.join("").matchAll(new RegExp(PATTERNS[unit], "gu"));
  return Array.from(matches, (match) =>
    characters
      .slice(places[match.index], places[match.index + match[0].length])
      .join(""),
  );
}

function shadow(character, before) {
  if (/\p{M}/u.test(character) || ATTACHED.includes(character)) return MARK;
  if (before === JOINER && !/[\p{L}\p{N}]/u.test(character)) return MARK;
  return /[\p{Cc}\p{Cf}]/u.test(character) ? " " : character;
}
