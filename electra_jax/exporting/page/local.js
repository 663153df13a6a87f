// The page without a server: what it asks of one is answered here, by the
// networks that lie beside it, in the visitor's browser.

import * as ort from "../runtime/ort.wasm.min.mjs";
import { WordPiece, readVocabulary } from "./wordpiece.js";
import { splitWords } from "./words.js";
import { inScheme } from "./tags.js";

const MASK = "[MASK]";
const FOLDER = new URL("..", import.meta.url);
const NAMES = ["input_ids", "input_mask", "segment_ids"];
const elsewhere = window.fetch.bind(window);

ort.env.wasm.wasmPaths = new URL("runtime/", FOLDER).href;
ort.env.wasm.numThreads = 1; // More need headers that a plain host lacks.

const told = await (await elsewhere(new URL("page.json", FOLDER))).json();
const special = told.special_ids;
const vocabulary = await (await elsewhere(new URL("vocab.txt", FOLDER))).text();
const tokenizer = new WordPiece(readVocabulary(vocabulary), {
  ...told.tokenizer,
  unknown: special.unk,
});
const sessions = {};
let queue = Promise.resolve(); // A session runs once at a time.

export { tokenizer, splitWords };

/** Runs one row through a network. */
function run(name, ids, segments, positions) {
  const length = Math.max(ids.length, told.shortest);
  const row = (values) => {
    const filled = new Int32Array(length);
    filled.set(values);
    return new ort.Tensor("int32", filled, [1, length]);
  };
  const values = [ids, ids.map(() => 1), segments].map(row);
  const feeds = Object.fromEntries(NAMES.map((n, i) => [n, values[i]]));
  if (positions) {
    const shape = [1, positions.length];
    feeds.positions = new ort.Tensor("int32", Int32Array.from(positions), shape);
  }
  const done = queue.then(async () => {
    const file = new URL(told.networks[name], FOLDER).href;
    sessions[name] ??= ort.InferenceSession.create(file);
    return (await sessions[name]).run(feeds);
  });
  queue = done.catch(() => {});
  return done;
}

// --- A pre-trained run ---

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const zeros = (ids) => ids.map(() => 0);

function rowsOf(ids) {
  const room = told.row_tokens - 2;
  const rows = [];
  for (let start = 0; start < Math.max(ids.length, 1); start += room) {
    rows.push([special.cls, ...ids.slice(start, start + room), special.sep]);
  }
  return rows;
}

async function detect(text) {
  const { ids, spans } = tokenizer.encode(text);
  const answer = { text, tokens: [], originals: [], probabilities: [], spans: [] };
  let seen = 0;
  for (const row of rowsOf(ids)) {
    const { logits } = await run("discriminator", row, zeros(row));
    row.forEach((id, i) => {
      const isEdge = i === 0 || i === row.length - 1;
      answer.tokens.push(tokenizer.pieces[id]);
      answer.probabilities.push(sigmoid(logits.data[i]));
      answer.spans.push(isEdge ? null : spans[seen++]);
    });
  }
  answer.originals = answer.tokens;
  return answer;
}

async function fill(fields) {
  if (!told.networks.generator) {
    throw new Error("this page has no generator, which would fill in");
  }
  const ids = [];
  fields.text.split(MASK).forEach((part, i) => {
    if (i) ids.push(special.mask);
    ids.push(...tokenizer.encode(part).ids);
  });
  const masks = [];
  let before = 0;
  for (const row of rowsOf(ids)) {
    row.forEach((id, i) => {
      const isAsked = fields.positions
        ? fields.positions.includes(before + i)
        : id === special.mask;
      if (isAsked) masks.push([row.with(i, special.mask), i]);
    });
    before += row.length;
  }
  const fills = [];
  for (const [row, place] of masks) {
    const { logits } = await run("generator", row, zeros(row), [place]);
    const shares = softmax(Array.from(logits.data));
    const best = shares.map((_, i) => i).sort((a, b) => shares[b] - shares[a]);
    const top = best.slice(0, fields.top ?? 5);
    fills.push({
      tokens: top.map((i) => tokenizer.pieces[i]),
      probabilities: top.map((i) => shares[i]),
    });
  }
  return { text: fields.text, fills };
}

// --- Tasks ---

function softmax(logits) {
  const most = logits.reduce((x, y) => Math.max(x, y));
  const shares = logits.map((x) => Math.exp(x - most));
  const sum = shares.reduce((x, y) => x + y);
  return shares.map((x) => x / sum);
}

/** [CLS] A [SEP] B [SEP]; the longer loses its end, the second on a tie. */
function pair(first, second) {
  const [a, b] = [[...first], [...(second ?? [])]];
  const room = told.row_tokens - (b.length ? 3 : 2);
  let cut = 0;
  for (; a.length + b.length > room; cut++) (a.length > b.length ? a : b).pop();
  const ids = [special.cls, ...a, special.sep];
  const segments = zeros(ids);
  if (b.length) {
    ids.push(...b, special.sep);
    segments.push(...b.map(() => 1), 1);
  }
  return { ids, segments, cut };
}

async function ofText(task, fields) {
  const second = task.takes_pairs ? tokenizer.encode(fields.other_text).ids : null;
  const { ids, segments, cut } = pair(tokenizer.encode(fields.text).ids, second);
  const outputs = await run("tasks", ids, segments);
  const logits = Array.from(outputs[task.outputs.logits].data);
  const record = { ...fields };
  if (cut) record.cut_tokens = cut;
  if (task.kind === "regression") {
    const [low, high] = task.label_range;
    return { ...record, rating: low + logits[0] * (high - low) };
  }
  const several = task.kind === "multilabel";
  const shares = several ? logits.map(sigmoid) : softmax(logits);
  const named = task.labels.map((label, i) => [label, shares[i]]);
  record.probabilities = Object.fromEntries(named);
  if (several) {
    record.labels = named.filter(([, p]) => p > 0.5).map(([label]) => label);
  } else {
    [record.label, record.probability] = named.reduce((x, y) =>
      y[1] > x[1] ? y : x,
    );
  }
  return record;
}

async function ofTags(task, fields) {
  const words = fields.words ?? splitWords(fields.text, task.word_unit);
  const room = told.row_tokens - 2;
  const record = { ...fields, words, tags: [], probabilities: [] };
  let row = [];
  let firsts = [];
  const flush = async () => {
    const ids = [special.cls, ...row, special.sep];
    const outputs = await run("tasks", ids, ids.map(() => 1));
    const { data, dims } = outputs[task.outputs.logits];
    for (const first of firsts) {
      const shares = softmax(
        Array.from(data.slice(first * dims[2], (first + 1) * dims[2])),
      );
      const best = shares.indexOf(Math.max(...shares));
      record.tags.push(task.labels[best]);
      record.probabilities.push(shares[best]);
    }
    [row, firsts] = [[], []];
  };
  for (const word of words) {
    let { ids } = tokenizer.encode(word);
    if (!ids.length) ids = [special.unk];
    ids = ids.slice(0, room);
    if (row.length + ids.length > room) await flush();
    firsts.push(1 + row.length);
    row.push(...ids);
  }
  await flush();
  record.tags = inScheme(record.tags, task.tag_letters);
  return record;
}

/** The best span of the beginning of a context, as far as a row holds it. */
async function ofQuestion(task, fields) {
  const question = tokenizer.encode(fields.question).ids;
  const context = tokenizer.encode(fields.context);
  const first = question.slice(0, task.max_query_length);
  const room = told.row_tokens - first.length - 3;
  const kept = context.ids.slice(0, room);
  const ids = [special.cls, ...first, special.sep, ...kept, special.sep];
  const offset = first.length + 2;
  const segments = ids.map((_, i) => (i < offset ? 0 : 1));
  const outputs = await run("tasks", ids, segments);
  const of = (name) => outputs[task.outputs[name]];
  const size = of("start_index").dims[1];
  const spans = [];
  for (let i = 0; i < size * size; i++) {
    const start = of("start_index").data[Math.floor(i / size)] - offset;
    const end = of("end_index").data[i] - offset;
    const isSpan = start >= 0 && end >= start && end < kept.length;
    if (!isSpan || end - start >= task.max_answer_length) continue;
    const score = of("start_log_probs").data[Math.floor(i / size)];
    spans.push([score + of("end_log_probs").data[i], start, end]);
  }
  const odds = of("impossible").data[0];
  const record = { ...fields, answer: "", probability: 0, null_odds: odds };
  if (context.ids.length > kept.length) {
    record.cut_tokens = context.ids.length - kept.length;
  }
  if (!spans.length) return record;
  spans.sort((a, b) => b[0] - a[0]);
  const best = spans[0];
  record.probability = softmax(spans.slice(0, 20).map(([score]) => score))[0];
  record.start = context.spans[best[1]][0];
  record.end = context.spans[best[2]][1];
  const isNull = task.may_lack_answer && odds > task.null_threshold;
  if (!isNull) {
    const characters = Array.from(fields.context);
    record.answer = characters.slice(record.start, record.end).join("");
  }
  return record;
}

// --- What a server would answer ---

function answer(body) {
  const { model, task: name, ...fields } = body;
  if (!told.model.tasks) {
    const fills = fields.positions || fields.text.includes(MASK);
    return fills || !told.networks.discriminator ? fill(fields) : detect(fields.text);
  }
  const task = told.tasks.find((one) => one.name === (name ?? told.tasks[0].name));
  const ask = { tagging: ofTags, questions: ofQuestion }[task.kind] ?? ofText;
  return ask(task, fields);
}

window.fetch = async (path, options) => {
  if (path === "models") {
    return Response.json({ models: [told.model], limits: told.limits });
  }
  if (path !== "predict") return elsewhere(path, options);
  try {
    const started = performance.now();
    const found = await answer(JSON.parse(options.body));
    document.documentElement.dataset.ms = performance.now() - started;
    return Response.json({ answers: [found] });
  } catch (error) {
    return Response.json({ error: error.message }, { status: 422 });
  }
};

await import("./app.js");
