// Answers of fine-tuned models, and the generator's -> elements.

import { element, percent, shown } from "./tokens.js";

/**
 * Shows names with their probabilities, each over a bar.
 *
 * @param {Array} pairs [name, probability], in order.
 * @param {function=} choose is called with a name's index where it is clicked.
 */
export function renderBars(pairs, choose) {
  const list = element("ul", "bars");
  pairs.forEach(([name, probability], i) => {
    const bar = element(
      choose ? "button" : "div",
      i ? "bar" : "bar is-first",
      element("span", "name", name),
      element("span", "percent", percent(probability)),
    );
    bar.style.setProperty("--share", probability);
    if (choose) {
      bar.type = "button";
      bar.addEventListener("click", () => choose(i));
    }
    list.append(element("li", "", bar));
  });
  return list;
}

/** Shows what the generator puts in the place of each [MASK]. */
export function renderFills(answer, choose) {
  const root = element("div", "");
  const parts = answer.text.split("[MASK]");
  const text = element("p", "tokens");
  parts.forEach((part, i) => {
    if (i) text.append(element("span", "token is-name", "[MASK]"));
    text.append(part);
  });
  const fills = element("div", "fills");
  answer.fills.forEach((fill, i) => {
    const pairs = fill.tokens.map((t, j) => [shown(t), fill.probabilities[j]]);
    const title = answer.fills.length > 1 ? `[MASK] ${i + 1}` : "[MASK]";
    fills.append(
      element(
        "div",
        "",
        element("h3", "", title),
        renderBars(pairs, (j) => choose(i, fill.tokens[j])),
      ),
    );
  });
  root.append(text, fills);
  return root;
}

/** Shows the answer of a task. */
export function renderAnswer(task, record) {
  const root = element("div", "");
  root.append(...BY_KIND[task.kind](record, task));
  return root;
}

const BY_KIND = {
  classification(record) {
    const pairs = sorted(record.probabilities);
    const bars = renderBars(pairs);
    bars.classList.add("one-of");
    return [big(record.label, percent(record.probability)), bars];
  },

  multilabel(record) {
    const pairs = sorted(record.probabilities);
    const bars = renderBars(pairs);
    [...bars.querySelectorAll(".bar")].forEach((bar, i) => {
      const isChosen = record.labels.includes(pairs[i][0]);
      bar.classList.remove("is-first");
      bar.classList.toggle("is-chosen", isChosen);
      if (isChosen) bar.firstChild.prepend("✓ ");
    });
    return [big(record.labels.join(", ") || "none of the classes"), bars];
  },

  regression(record, task) {
    const [low, high] = task.label_range;
    const place = element("div", "place");
    const share = (record.rating - low) / (high - low);
    place.style.setProperty("--share", Math.min(Math.max(share, 0), 1));
    return [
      big(record.rating.toFixed(2), `on a scale of ${low} to ${high}`),
      element(
        "div",
        "scale",
        element("div", "track", place),
        element(
          "div",
          "ends",
          element("span", "", String(low)),
          element("span", "", String(high)),
        ),
      ),
    ];
  },

  generation(record) {
    const isEmpty = !record.written.trim();
    return [
      element(
        "p",
        isEmpty ? "written is-empty" : "written",
        isEmpty ? "The model wrote nothing." : record.written,
      ),
      element("p", "note score", `Score ${record.score.toFixed(2)}`),
    ];
  },

  questions(record) {
    const context = element("p", "context");
    if (!record.answer) {
      context.append(record.context);
      return [big("No answer", "in this text"), context];
    }
    const characters = Array.from(record.context);
    context.append(
      characters.slice(0, record.start).join(""),
      element("mark", "", characters.slice(record.start, record.end).join("")),
      characters.slice(record.end).join(""),
    );
    return [big(record.answer, percent(record.probability)), context];
  },

  tagging(record, task) {
    const kinds = [...new Set(task.labels.map(kindOf))].filter((k) => k !== "O");
    const text = record.text ?? record.words.join(" ");
    const root = element("p", "tags");
    let end = 0;
    for (const group of groups(record)) {
      const start = text.indexOf(record.words[group.first], end);
      let stop = start;
      for (let i = group.first; i <= group.last; i++) {
        stop = text.indexOf(record.words[i], stop) + record.words[i].length;
      }
      root.append(text.slice(end, start));
      end = stop;
      if (group.kind === "O") {
        root.append(text.slice(start, stop));
        continue;
      }
      const mark = element("mark", "is-tagged", text.slice(start, stop));
      mark.append(element("small", "", group.kind));
      mark.title = percent(group.probability);
      const colour = (kinds.indexOf(group.kind) % 6) + 1;
      mark.style.setProperty("--tag", `var(--line-${colour})`);
      root.append(mark);
    }
    root.append(text.slice(end));
    return [root];
  },
};

/** Says beside an answer what of a long text was read, and how. */
export function noteOf(record) {
  if (record.cut_tokens) {
    return `${record.cut_tokens} tokens at the end were not read.`;
  }
  return record.windows ? `Read in ${record.windows} parts.` : "";
}

function big(words, beside) {
  const made = element("p", "big", words);
  if (beside) made.append(element("small", "", beside));
  return made;
}

function sorted(probabilities) {
  return Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
}

const PART = /^([BIESLUM])-(.+)$/;

function kindOf(tag) {
  return PART.exec(tag)?.[2] ?? tag;
}

/** Puts the words of one span together; other words stand alone. */
function groups(record) {
  const found = [];
  record.tags.forEach((tag, i) => {
    const part = PART.exec(tag);
    const last = found.at(-1);
    const goesOn =
      part && !"BSU".includes(part[1]) && last?.kind === part[2] && last.isSpan;
    if (goesOn) {
      last.last = i;
      last.probability = Math.min(last.probability, record.probabilities[i]);
    } else {
      found.push({
        first: i,
        last: i,
        kind: kindOf(tag),
        isSpan: Boolean(part),
        probability: record.probabilities[i],
      });
    }
  });
  return found;
}
