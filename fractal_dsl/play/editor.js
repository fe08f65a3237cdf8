"use strict";
// The editor: the text with its colours, the errors in it, keys.
const $ = (selector, within = document) => within.querySelector(selector);
const config = JSON.parse($("#config").textContent);
const editor = $("#text"), marks = $("#marks"), lines = $("#gutter pre"), tip = $("#tip");
const LINE = 20, COLOURED = 50000, UNDONE = 100000;

/** An element with properties and children; texts become text nodes, so nothing needs escaping. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// --- the text, coloured, and the errors in it
const kinds = new Map();
for (const [kind, list] of [["layer", config.words.layers], ["type", config.words.types],
                            ["keyword", config.words.keywords], ["declaration", config.words.declarations]])
  for (const word of list) kinds.set(word, kind);
const token = new RegExp(
  [...Object.entries(config.words.patterns), ["NAME", "[\\p{L}_][\\p{L}\\p{M}\\p{N}_]*"]]
    .map(([kind, pattern]) => `(?<${kind}>${pattern})`).join("|"), "gu");

function tokens(text) {
  const found = [];
  let before = "", end = 0;
  for (const match of text.matchAll(token)) {
    const [word] = match, kind = Object.keys(match.groups).find(kind => match.groups[kind] !== undefined);
    const defines = kinds.get(before) === "declaration" && !text.slice(end, match.index).trim();
    const named = kind === "NAME" ? kinds.get(word) ?? (defines ? "defined" : "") : kind;
    if (named) found.push([match.index, match.index + word.length, named]);
    [before, end] = [kind === "COMMENT" ? "" : word, match.index + word.length];
  }
  return found;
}

let errors = [];  // {start, end, place, message, …}; start is null for what lies in another file
const marked = () => errors.filter(error => error.start !== null)
  .map(error => [error.start, Math.max(error.end, error.start + 1), error.severity]);

/** Colours the lines that are seen, and a few around them: a long text costs no more than a short one. */
let painted = {first: 0, last: 0};
function paint() {
  const text = editor.value, starts = [0, ...Array.from(text.matchAll(/\n/g), found => found.index + 1)];
  const first = Math.max(0, Math.floor(editor.scrollTop / LINE) - 10);
  const last = Math.min(starts.length, first + Math.ceil(editor.clientHeight / LINE) + 20);
  const from = starts[first] ?? text.length, to = starts[last] ?? text.length, seen = text.slice(from, to);
  painted = {first, last};
  editor.classList.toggle("plain", seen.length > COLOURED);
  marks.replaceChildren(...seen.length > COLOURED ? [] : coloured(seen, from), "\n");
  const wrong = new Set(marked().filter(([, , severity]) => severity === "error").map(([start]) => starts.findLastIndex(at => at <= start)));
  lines.replaceChildren(...starts.slice(first, last).map((_, i) =>
    make("span", {className: wrong.has(first + i) ? "wrong" : ""}, `${first + i + 1}\n`)));
  scrolled();
}
/** A piece of the text that begins at ``from``, cut where a colour or an error begins or ends. */
function coloured(piece, from) {
  const found = tokens(piece), spans = marked().map(([a, b, severity]) => [a - from, b - from, severity]);
  const inside = spans.flatMap(([a, b]) => [a, b]).filter(at => 0 <= at && at <= piece.length);
  const cuts = [...new Set([0, piece.length, ...found.flatMap(([a, b]) => [a, b]), ...inside])].sort((a, b) => a - b);
  const parts = [];
  let i = 0;
  cuts.forEach((start, k) => {
    const part = piece.slice(start, cuts[k + 1] ?? start);
    while (i < found.length && found[i][1] <= start) i++;
    const kind = part && i < found.length && found[i][0] <= start ? found[i][2] : "";
    const wrong = spans.find(([a, b]) => a <= start && start < b)?.[2];
    const mark = text => {
      const span = make("span", {className: `${kind} ${wrong ? `error ${wrong}` : ""}`}, text);
      span.dataset.at = start + from;
      return span;
    };
    if (wrong && (!part || part.startsWith("\n"))) parts.push(mark(" "));  // at the end of a line
    parts.push(kind || wrong && part.trim() ? mark(part) : part);
  });
  return parts;
}
function scrolled() {
  const {scrollLeft: x, scrollTop: y} = editor, top = painted.first * LINE - y;
  marks.style.transform = `translate(${-x}px, ${top}px)`;
  lines.style.transform = `translateY(${top}px)`;
  tip.hidden = true;
}
new ResizeObserver(() => paint()).observe(editor);
editor.addEventListener("scroll", () => {
  const first = Math.floor(editor.scrollTop / LINE), last = first + Math.ceil(editor.clientHeight / LINE);
  if (first < painted.first || last > painted.last && painted.last * LINE < editor.scrollHeight - 20) paint();
  else scrolled();
});

/** What has changed between two texts moves the errors behind it, until the answer to the new text is there. */
function moved(before, after) {
  let same = 0, tail = 0;
  const least = Math.min(before.length, after.length);
  while (same < least && before[same] === after[same]) same++;
  while (tail < least - same && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const by = after.length - before.length, place = at => at <= same ? at : Math.max(same, at + by);
  for (const error of errors) if (error.start !== null) [error.start, error.end] = [place(error.start), place(error.end)];
}

/** The offset of a line and column, which count characters where a text of JavaScript counts halves of some. */
function offset(rows, line, column) {
  const before = rows.slice(0, line - 1).reduce((sum, row) => sum + row.length + 1, 0);
  return before + Array.from(rows[line - 1] ?? "").slice(0, column - 1).join("").length;
}

/** Errors, how many more there are, and warnings, which stand behind them in the list. */
function showErrors(found, more, warnings = []) {
  const rows = editor.value.split("\n");
  errors = [...found, ...warnings].map(error => {
    const here = error.file === doc.name || error.file === "<text>";
    return {...error, place: here ? `${error.line}:${error.column}` : error.file.startsWith("-p ") ? error.file
                             : `${error.file}:${error.line}`,
            start: here ? offset(rows, error.line, error.column) : null,
            end: here ? offset(rows, error.end_line, error.end_column) : null};
  });
  const count = found.length + more, counted = (n, what) => `${n || "no"} ${what}${n === 1 ? "" : "s"}`;
  $("#count").textContent = counted(count, "error") + (warnings.length ? `, ${counted(warnings.length, "warning")}` : "");
  $("#problems").classList.toggle("wrong", count > 0);
  editor.setAttribute("aria-invalid", count > 0);
  $("#problems ol").replaceChildren(...errors.map((error, i) => {
    const button = make("button", {onclick: () => jump(i)}, make("span", {className: "place"}, error.place),
                        `${error.severity === "warning" ? "warning: " : ""}${error.message} [${error.code}]`);
    if (error.help) button.append(make("span", {className: "help"}, `help: ${error.help}`));
    if (error.trail.length) button.append(make("span", {className: "help"}, `in ${error.trail.join(", from ")}`));
    return make("li", {className: error.severity}, button);
  }));
  for (const [name, row] of controls)
    for (const input of row.querySelectorAll("input, select"))
      input.classList.toggle("wrong", errors.some(error => error.file === `-p ${name}`));
  paint();
  here();
}

function jump(i) {
  const error = errors[i];
  if (error.start === null) return;
  editor.focus();
  editor.setSelectionRange(error.start, Math.max(error.end, error.start));
  const before = editor.value.slice(0, error.start), row = before.split("\n").length - 1;
  const column = before.length - before.lastIndexOf("\n") - 1;
  editor.scrollTop = Math.max(0, row * LINE - editor.clientHeight / 2);
  editor.scrollLeft = column * 8 > editor.clientWidth - 80 ? column * 8 - editor.clientWidth / 2 : 0;
  here();
}
function next() {
  const places = errors.map((error, i) => [error.start, i]).filter(([start]) => start !== null);
  const found = places.find(([start]) => start > editor.selectionStart) ?? places[0];
  if (found) jump(found[1]);
}
const touches = (error, at) => error.start !== null && error.start <= at && at <= Math.max(error.end, error.start + 1);
/** The errors at the caret stand out in the list. */
function here() {
  [...$("#problems ol").children].forEach((item, i) =>
    $("button", item).classList.toggle("at", touches(errors[i], editor.selectionStart)));
}

editor.addEventListener("mousemove", event => {
  const over = [...marks.querySelectorAll(".error")].find(mark => [...mark.getClientRects()].some(box =>
    box.left - 2 <= event.clientX && event.clientX <= box.right + 2 && box.top <= event.clientY && event.clientY <= box.bottom));
  if (!over) {
    tip.hidden = true;
    return;
  }
  const at = Number(over.dataset.at);
  const said = errors.filter(error => touches(error, at)).map(e => e.message + (e.help ? `\nhelp: ${e.help}` : ""));
  if (!said.length) return;
  tip.textContent = said.join("\n\n");
  tip.hidden = false;
  const box = over.getBoundingClientRect(), below = box.bottom + 6;
  tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below + tip.offsetHeight < innerHeight ? below : box.top - tip.offsetHeight - 6}px`;
});
editor.addEventListener("mouseleave", () => { tip.hidden = true; });
document.addEventListener("selectionchange", () => { if (document.activeElement === editor) here(); });

/** Put a text in place of a range, so that it can be undone, unless it is so long that a browser takes seconds. */
function replace(start, end, text) {
  editor.focus();
  editor.setSelectionRange(start, end);
  if (text.length > UNDONE || !document.execCommand(text ? "insertText" : "delete", false, text)) {
    editor.setRangeText(text, start, end, "end");
    changed();
  }
}
let leaving = false;
editor.addEventListener("keydown", event => {
  const {selectionStart: start, selectionEnd: end, value} = editor;
  const first = value.lastIndexOf("\n", start - 1) + 1;
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
  if (event.key === "Tab" && plain && !leaving) {
    event.preventDefault();
    if (value.slice(start, end).includes("\n")) lineByLine(row => row && `    ${row}`);
    else replace(start, end, " ".repeat(4 - (start - first) % 4));
  } else if (event.key === "Enter" && plain) {
    event.preventDefault();
    const indent = /^[ \t]*/.exec(value.slice(first, start))[0];
    replace(start, end, `\n${indent}${value[start - 1] === "{" ? "    " : ""}`);
  } else if (event.key === "/" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    lineByLine((row, all) => all.every(r => !r.trim() || /^\s*#/.test(r)) ? row.replace(/^(\s*)# ?/, "$1")
                                                                           : row && `# ${row}`);
  }
  leaving = event.key === "Escape";
});
function lineByLine(change) {
  const {selectionStart, selectionEnd, value} = editor;
  const start = value.lastIndexOf("\n", selectionStart - 1) + 1;
  const after = value.indexOf("\n", Math.max(selectionStart, selectionEnd - 1)), end = after < 0 ? value.length : after;
  const rows = value.slice(start, end).split("\n"), text = rows.map(row => change(row, rows)).join("\n");
  replace(start, end, text);
  editor.setSelectionRange(start, start + text.length);
}
