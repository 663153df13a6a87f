// Tokens and their probabilities -> elements. Knows no server: what it is
// given may as well stand in a file. Text becomes text nodes, never markup.

const LONGEST_WORD = 24; // What is longer may be broken anywhere.
const UNSPACED = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}]/u;
const EDGES = [0.05, 0.2, 0.4, 0.6, 0.8];

/** Says in which shade a probability is shown: 0 for none, 5 for the darkest. */
export function shade(probability) {
  return EDGES.filter((edge) => probability >= edge).length;
}

/** Writes a probability as people read it. */
export function percent(probability) {
  const value = 100 * probability;
  if (value > 0 && value < 1) return "< 1 %";
  if (value < 100 && value > 99) return "> 99 %";
  return `${Math.round(value)} %`;
}

/** Makes an element of a tag, a class and children; strings become text. */
export function element(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}

/** Returns a piece as people read it: "…ing" goes on with a word. */
export function shown(token) {
  return token.startsWith("##") ? `…${bare(token)}` : bare(token) || token;
}

/** Returns a piece of a vocabulary without the marks of its kind. */
export function bare(token) {
  return token.replace(/^##|^\u2581/, "");
}

/**
 * Shows a text as the discriminator sees it.
 *
 * @param {object} answer text, tokens, probabilities, and spans: of each token
 *   its characters (code points) in the text, null of special ones.
 * @param {function=} choose is called with a token's place and element where
 *   it is clicked or Enter is pressed; without it the text is only shown.
 * @return {HTMLElement} the text; tokens carry `data-place`.
 */
export function renderTokens(answer, choose) {
  const characters = Array.from(answer.text);
  const root = element("p", "tokens");
  let end = 0;
  let word = null; // Holds tokens between which no line ends.
  answer.tokens.forEach((token, place) => {
    const span = answer.spans[place];
    if (!span) return;
    const start = Math.max(span[0], end);
    const between = characters.slice(end, start).join("");
    end = Math.max(span[1], start);
    const seen = characters.slice(start, end).join("");
    const fits = word && word.textContent.length + seen.length <= LONGEST_WORD;
    if (between || !fits || UNSPACED.test(seen)) {
      word = element("span", "word");
      root.append(between, word);
    }
    word.append(oneToken(seen, token, answer.probabilities[place], place, choose));
  });
  root.append(characters.slice(end).join(""));
  if (choose) {
    root.setAttribute("role", "group");
    root.setAttribute(
      "aria-label",
      "Judged text. Arrow keys move from token to token, Enter asks the " +
        "generator for others.",
    );
    moveByArrows(root);
  }
  return root;
}

function oneToken(seen, token, probability, place, choose) {
  const made = element(choose ? "button" : "span", "token");
  // A piece may stand for no character of its own, as a byte of one does.
  made.textContent = seen || bare(token);
  if (!seen) made.classList.add("is-name");
  made.dataset.shade = shade(probability);
  made.dataset.percent = percent(probability);
  made.dataset.place = place;
  made.classList.toggle("is-called", probability > 0.5);
  if (choose) {
    made.type = "button";
    made.setAttribute("aria-haspopup", "listbox");
    made.setAttribute("aria-expanded", "false");
    made.setAttribute(
      "aria-label",
      `${seen || token}, ${percent(probability)} replaced`,
    );
    made.addEventListener("click", () => choose(place, made));
  } else {
    made.title = percent(probability);
  }
  return made;
}

/** Lets one token be reached by Tab and the others by arrow keys. */
function moveByArrows(root) {
  const tokens = [...root.querySelectorAll("button.token")];
  tokens.forEach((token, i) => (token.tabIndex = i ? -1 : 0));
  root.addEventListener("keydown", (event) => {
    const now = tokens.indexOf(document.activeElement);
    const next = {
      ArrowRight: now + 1,
      ArrowDown: now + 1,
      ArrowLeft: now - 1,
      ArrowUp: now - 1,
      Home: 0,
      End: tokens.length - 1,
    }[event.key];
    if (now < 0 || next === undefined || !tokens[next]) return;
    event.preventDefault();
    focusToken(root, tokens[next]);
  });
}

/** Puts the focus on a token, which Tab then comes back to. */
export function focusToken(root, token) {
  root.querySelectorAll("button.token").forEach((one) => (one.tabIndex = -1));
  token.tabIndex = 0;
  token.focus();
}

/** Explains the shades. */
export function renderLegend() {
  const names = ["< 5", "5–20", "20–40", "40–60", "60–80", "> 80 %"];
  const list = element("ol", "");
  names.forEach((name, i) => {
    const item = element("li", "", name);
    item.dataset.shade = i;
    list.append(item);
  });
  return element(
    "div",
    "legend",
    element("span", "", "Probability that a token was replaced"),
    list,
  );
}
