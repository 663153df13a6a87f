// Tags as a model has learnt them (BIOES) -> the scheme of its data, as
// electra_jax/tasks/tag_schemes.py.

/** Finds spans: start, the place behind the end, type. */
function readSpans(tags) {
  const spans = [];
  let [letterBefore, typeBefore] = ["O", ""];
  tags.forEach((tag, i) => {
    const [letter, type] = parted(tag);
    if (letter !== "O") {
      const starts =
        "BS".includes(letter) ||
        "OES".includes(letterBefore) ||
        type !== typeBefore;
      spans.push([starts ? i : spans.pop()[0], i + 1, type]);
    }
    [letterBefore, typeBefore] = [letter, type];
  });
  return spans;
}

function parted(tag) {
  const place = tag.indexOf("-");
  return place < 0 ? [tag, ""] : [tag.slice(0, place), tag.slice(place + 1)];
}

/**
 * Rewrites tags.
 *
 * @param {string[]} tags of the words of a text.
 * @param {object} letters of the scheme: begin, inside, end, single, and
 *   whether the first or last is written between neighbours alone; null: the
 *   tags mark no spans.
 */
export function inScheme(tags, letters) {
  if (!letters) return tags;
  const [begin, inside, end, single, partsNeighbours] = letters;
  const spans = readSpans(tags);
  const found = tags.map(() => "O");
  const touch = (one, other) =>
    one && other && one[1] === other[0] && one[2] === other[2];
  spans.forEach((span, number) => {
    const [start, stop, type] = span;
    const marks = Array(stop - start).fill(inside);
    if (partsNeighbours) {
      if (touch(spans[number - 1], span) && begin !== inside) marks[0] = begin;
      if (touch(span, spans[number + 1]) && end !== inside) {
        marks[marks.length - 1] = end;
      }
    } else if (marks.length === 1) {
      marks[0] = single;
    } else {
      [marks[0], marks[marks.length - 1]] = [begin, end];
    }
    marks.forEach((mark, i) => {
      found[start + i] = type ? `${mark}-${type}` : mark;
    });
  });
  return found;
}
