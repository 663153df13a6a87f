// The page: fields in, a request, the answer shown.

import {
  bare,
  element,
  focusToken,
  percent,
  renderLegend,
  renderTokens,
  shown,
} from "./tokens.js";
import { noteOf, renderAnswer, renderBars, renderFills } from "./answers.js";

const WAIT_MS = 180; // From the last key to the request.
const CANDIDATES = 8;
const NAMES = {
  text: "Text",
  other_text: "Second text",
  question: "Question",
  context: "Text that holds the answer",
};

const at = (id) => document.getElementById(id);
const state = { models: [], limits: {}, number: 0, timer: 0, past: [] };

start();

async function start() {
  try {
    const response = await fetch("models");
    const found = await response.json();
    if (!response.ok) throw new Error(found.error);
    state.models = found.models;
    state.limits = found.limits;
  } catch (error) {
    at("about").textContent = "";
    showError(reasonOf(error));
    return;
  }
  at("model").append(...state.models.map((m) => new Option(m.name)));
  at("model-choice").hidden = state.models.length < 2;
  at("model").addEventListener("change", showModel);
  at("task").addEventListener("change", showTask);
  at("undo").addEventListener("click", undo);
  at("fields").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("pointerdown", (event) => {
    if (!at("proposals").contains(event.target)) closeProposals();
  });
  const limits = state.limits;
  at("limits").textContent =
    `At most ${limits.characters.toLocaleString()} characters and ` +
    `${limits.tokens.toLocaleString()} tokens an input, ${limits.inputs} ` +
    "inputs a request. GET /models tells what there is to ask, GET /metrics " +
    "how it goes.";
  showModel();
}

const model = () => state.models[at("model").selectedIndex];
const task = () => model().tasks?.[at("task").selectedIndex];
const isPretrained = () => model().verb === "pretrain";

function showModel() {
  const tasks = model().tasks ?? [];
  at("task").replaceChildren(...tasks.map((t) => new Option(t.name)));
  at("task-choice").hidden = tasks.length < 2;
  showTask();
}

function showTask() {
  const one = isPretrained() ? model() : task();
  const what = isPretrained() ? "pre-trained" : `fine-tuned on ${one.name}`;
  at("about").textContent = `${model().name}, ${what}`;
  document.title = `${model().name} – electra_jax`;
  at("title").textContent = isPretrained()
    ? "What the discriminator sees"
    : "What the model answers";
  at("legend").replaceChildren(...(isPretrained() ? [renderLegend()] : []));
  const shown = one.fields.filter((name) => name in NAMES);
  const old = inputs();
  at("fields").replaceChildren(
    ...shown.map((name) => {
      const area = element("textarea", name === "question" ? "short" : "");
      area.name = name;
      area.rows = name === "question" ? 1 : 3;
      area.value = old[name] ?? "";
      area.spellcheck = false;
      area.addEventListener("input", () => {
        state.past = [];
        changed();
      });
      return element("label", "", NAMES[name], area);
    }),
  );
  showExamples(one.examples);
  state.past = [];
  if (!shown.every((name) => old[name]) && one.examples.length) {
    fillIn(one.examples[0]);
  } else {
    changed(0);
  }
}

function showExamples(examples) {
  const buttons = examples.map((example) => {
    const shown = Object.values(example).join(" · ");
    const button = element("button", "", shown);
    button.type = "button";
    button.title = shown;
    button.addEventListener("click", () => fillIn(example));
    return button;
  });
  const label = buttons.length ? [element("span", "", "Try")] : [];
  at("examples").replaceChildren(...label, ...buttons);
}

function fillIn(values) {
  for (const area of at("fields").elements) area.value = values[area.name] ?? "";
  state.past = [];
  changed(0);
}

function inputs() {
  const values = {};
  for (const area of at("fields").elements) values[area.name] = area.value;
  return values;
}

/** Asks anew, a moment after the last change. */
function changed(wait = WAIT_MS) {
  closeProposals();
  clearTimeout(state.timer);
  state.number += 1;
  at("answer").classList.add("is-old");
  at("undo").hidden = !state.past.length;
  const length = lengthOf(inputs());
  const most = state.limits.characters;
  at("count").hidden = length < 0.8 * most;
  at("count").textContent =
    `${length.toLocaleString()} of ${most.toLocaleString()} characters`;
  showRequest();
  state.timer = setTimeout(answer, wait);
}

function lengthOf(given) {
  return Object.values(given).reduce(
    (sum, text) => sum + Array.from(text).length, 0);
}

async function answer() {
  const number = ++state.number;
  const given = inputs();
  const most = state.limits.characters;
  if (lengthOf(given) > most) {
    showError(
      `The text has ${lengthOf(given).toLocaleString()} characters; give at ` +
        `most ${most.toLocaleString()}.`,
    );
    return;
  }
  if (!Object.values(given).every((text) => text.trim())) {
    at("answer").replaceChildren();
    at("status").textContent = "Type, or try an example.";
    showError("");
    return;
  }
  try {
    const found = await ask(given);
    if (number !== state.number) return;
    showError("");
    at("answer").replaceChildren(render(found));
    at("answer").classList.remove("is-old");
  } catch (error) {
    if (number === state.number) showError(reasonOf(error));
  }
}

function render(found) {
  if (!isPretrained()) {
    at("legend").hidden = true;
    at("status").textContent = noteOf(found);
    return renderAnswer(task(), found);
  }
  at("legend").hidden = Boolean(found.fills);
  at("title").textContent = found.fills
    ? "What the generator puts there"
    : "What the discriminator sees";
  if (found.fills) {
    at("status").textContent =
      "Click one to put it into the text.";
    return renderFills(found, (i, token) => replaceMask(found.text, i, token));
  }
  at("status").textContent = summary(found);
  return renderTokens(found, (place, token) => propose(found, place, token));
}

function summary(found) {
  const judged = found.tokens
    .map((token, i) => [wordOf(found, i), found.probabilities[i], found.spans[i]])
    .filter(([, , span]) => span)
    .sort((a, b) => b[1] - a[1]);
  if (!judged.length) return "";
  const called = judged.filter(([, probability]) => probability > 0.5);
  const listed = (some) =>
    some.slice(0, 3).map(([word, p]) => `${word} ${percent(p)}`).join(", ");
  if (!called.length) {
    return `Nothing looks replaced; the most suspicious: ${listed(judged.slice(0, 1))}.`;
  }
  const count = called.length === 1 ? "1 token looks" : `${called.length} tokens look`;
  const more = called.length > 3 ? " and others" : "";
  return `${count} replaced: ${listed(called)}${more}.`;
}

function wordOf(found, place) {
  const span = found.spans[place];
  const seen = span && Array.from(found.text).slice(...span).join("");
  return seen || bare(found.tokens[place]);
}

// --- What the generator proposes for a token ---

async function propose(found, place, token) {
  const wasOpen = token.getAttribute("aria-expanded") === "true";
  closeProposals();
  if (wasOpen) return;
  focusToken(at("answer"), token);
  const number = state.number;
  try {
    const answered = await ask({
      text: found.text,
      positions: [place],
      top: CANDIDATES,
    });
    if (number === state.number) openProposals(found, place, token, answered.fills[0]);
  } catch (error) {
    if (number === state.number) showError(reasonOf(error));
  }
}

function openProposals(found, place, token, fill) {
  closeProposals();
  token.setAttribute("aria-expanded", "true");
  const pairs = fill.tokens.map((t, i) => [shown(t), fill.probabilities[i]]);
  const list = renderBars(pairs);
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "The generator's proposals");
  list.tabIndex = -1;
  const options = [...list.children];
  let chosen = 0;
  const mark = (i) => {
    chosen = (i + options.length) % options.length;
    options.forEach((option, j) =>
      option.setAttribute("aria-selected", String(j === chosen)));
    list.setAttribute("aria-activedescendant", options[chosen].id);
    options[chosen].scrollIntoView({ block: "nearest" });
  };
  const take = () => replaceToken(found, place, fill.tokens[chosen]);
  options.forEach((option, i) => {
    option.id = `proposal-${i}`;
    option.setAttribute("role", "option");
    option.addEventListener("pointerenter", () => mark(i));
    option.addEventListener("click", () => {
      mark(i);
      take();
    });
  });
  list.addEventListener("keydown", (event) => {
    const actions = {
      ArrowDown: () => mark(chosen + 1),
      ArrowUp: () => mark(chosen - 1),
      Home: () => mark(0),
      End: () => mark(-1),
      Enter: take,
      " ": take,
      Escape: () => closeProposals(true),
      Tab: () => closeProposals(true),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  const word = wordOf(found, place);
  const about =
    `“${word}”, ${percent(found.probabilities[place])} replaced. The ` +
    "generator would put:";
  at("proposals").replaceChildren(element("p", "", about), list);
  at("proposals").hidden = false;
  standBelow(token);
  mark(0);
  list.focus({ preventScroll: true });
}

function standBelow(token) {
  if (matchMedia("(max-width: 36rem)").matches) {
    // The proposals stand at the lower edge: the token is seen above them.
    token.scrollIntoView({ block: "start" });
    return;
  }
  const box = token.getClientRects()[0];
  const width = at("proposals").offsetWidth;
  const right = document.documentElement.clientWidth - width - 12;
  const left = Math.max(12, Math.min(box.left, right));
  at("proposals").style.left = `${left + scrollX}px`;
  at("proposals").style.top = `${box.bottom + scrollY + 6}px`;
}

function closeProposals(focus = false) {
  const open = document.querySelector('.token[aria-expanded="true"]');
  open?.setAttribute("aria-expanded", "false");
  at("proposals").hidden = true;
  at("proposals").replaceChildren();
  if (focus) open?.focus();
}

function replaceToken(found, place, token) {
  const [start, end] = found.spans[place];
  const goesOn = found.tokens[place + 1]?.startsWith("##");
  put(found.text, start, end, token, goesOn);
}

function replaceMask(text, number, token) {
  const parts = text.split("[MASK]");
  const before = parts.slice(0, number + 1).join("[MASK]");
  const start = Array.from(before).length;
  put(text, start, start + "[MASK]".length, token, false);
}

/** Puts a token into the text, with blanks where it is a word of its own. */
function put(text, start, end, token, goesOn) {
  const characters = Array.from(text);
  let before = characters.slice(0, start).join("");
  let after = characters.slice(end).join("");
  const word = bare(token);
  const isLetter = (one) => /[\p{L}\p{N}]/u.test(one ?? "");
  if (token.startsWith("##")) before = before.trimEnd();
  else if (isLetter(Array.from(before).at(-1)) && isLetter(word[0])) before += " ";
  const joins = isLetter(Array.from(word).at(-1)) && isLetter(after[0]);
  if (joins && !goesOn) after = ` ${after}`;
  state.past.push(text);
  at("fields").elements.text.value = before + word + after;
  changed(0);
}

function undo() {
  at("fields").elements.text.value = state.past.pop();
  changed(0);
}

// --- Requests ---

function bodyOf(given) {
  const body = state.models.length > 1 ? { model: model().name } : {};
  if ((model().tasks ?? []).length > 1) body.task = task().name;
  return { ...body, ...given };
}

async function ask(given, tries = 3) {
  const response = await fetch("predict", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(bodyOf(given)),
  });
  if (response.status === 503 && tries > 1) {
    const secs = Number(response.headers.get("retry-after")) || 1;
    await new Promise((resolve) => setTimeout(resolve, 1000 * secs));
    return ask(given, tries - 1);
  }
  const found = await response.json();
  if (!response.ok) throw new Error(found.error);
  return found.answers[0];
}

function showRequest() {
  const body = JSON.stringify(bodyOf(inputs())).replaceAll("'", "'\\''");
  const url = new URL("predict", location.href);
  at("request").textContent =
    `curl ${url} \\\n  -H 'content-type: application/json' \\\n  -d '${body}'`;
}

function reasonOf(error) {
  if (error instanceof TypeError || error instanceof SyntaxError) {
    return "The server does not answer; is it still running?";
  }
  const sentence = error.message;
  return `${sentence.charAt(0).toUpperCase()}${sentence.slice(1)}.`;
}

function showError(sentence) {
  at("error").textContent = sentence;
  at("error").hidden = !sentence;
  if (sentence) at("status").textContent = "";
}
