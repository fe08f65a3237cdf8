// Help while one types: completions, what a name is, where it is declared, renaming, the canonical style.
const pointAt = (at, from = view.state.doc) => {
  const line = from.lineAt(at);
  return {line: line.number - 1, character: at - line.from};
};
const offsetOf = ({line, character}, from = view.state.doc) => {
  const row = from.line(Math.min(line + 1, from.lines));
  return Math.min(row.from + character, row.to);
};
const changesOf = edits => edits.map(({start, end, text}) => ({from: offsetOf(start), to: offsetOf(end), insert: text}));
/** Edits of the text that was asked about; they are dropped if the text has changed since. */
function edit(edits, of, event = "input.assist") {
  if (of === text()) view.dispatch({changes: changesOf(edits), userEvent: event, annotations: CM.isolateHistory.of("full")});
}

const types = {layer: "function", join: "function", function: "function", keyword: "keyword", type: "type", local: "variable",
               param: "variable", let: "variable", shared: "function", rule: "class", net: "class", parameter: "property",
               setting: "property", option: "property", annotation: "property", variant: "enum", value: "constant", file: "text"};
async function completed(context) {
  const word = context.matchBefore(/[\w.-]*$/), before = context.state.sliceDoc(Math.max(0, context.pos - 1), context.pos);
  if (!context.explicit && !/[\p{L}_.(@":=]/u.test(before)) return null;
  const answer = await ask("complete", {point: pointAt(context.pos, context.state.doc)});
  if (!answer?.completions?.length || context.aborted) return null;
  const [first] = answer.completions;
  return {
    from: offsetOf(first.range.start, context.state.doc),
    validFor: /^[\p{L}\p{N}_]*$/u,
    options: answer.completions.map(({label, kind, detail, doc, text, rank}) => ({
      label, type: types[kind] ?? "text", detail: shortened(detail, label), apply: text, boost: -10 * rank,
      info: doc || detail ? () => rendered([detail && `\`\`\`frac\n${detail}\n\`\`\``, doc].filter(Boolean).join("\n\n")) : null,
    })),
  };
}
const shortened = (detail, label) => {
  const rest = detail.startsWith(label) ? detail.slice(label.length) : detail;
  return rest.length > 44 ? `${rest.slice(0, 43)}…` : rest;
};

const hovering = CM.hoverTooltip(async (view, at) => {
  const answer = await ask("hover", {point: pointAt(at)});
  if (!answer?.hover) return null;
  const {range, text} = answer.hover;
  return {pos: offsetOf(range.start), end: offsetOf(range.end), above: true,
          create: () => ({dom: rendered(text)})};
});

/** The few forms of Markdown that the services write: paragraphs, fences, lists, code, emphasis. */
function rendered(text) {
  const inline = piece => piece.split(/(`[^`]+`|\*[^*\s][^*]*\*)/).map(part =>
    part.startsWith("`") && part.length > 2 ? make("code", {}, part.slice(1, -1))
      : /^\*.+\*$/.test(part) ? make("em", {}, part.slice(1, -1)) : part);
  const parts = text.split(/```\w*\n([\s\S]*?)\n```/).flatMap((part, i) => i % 2 ? [make("pre", {}, part)]
    : part.split(/\n{2,}/).filter(p => p.trim()).map(p => /^- /m.test(p)
        ? make("ul", {}, ...p.trim().split(/^- /m).filter(Boolean).map(item => make("li", {}, ...inline(item.trim()))))
        : make("p", {}, ...inline(p.trim()))));
  return make("div", {className: "told"}, ...parts);
}

async function toDefinition() {
  const answer = await ask("definition", {point: pointAt(view.state.selection.main.head)});
  if (!answer?.definition) return state(answer?.error ?? "there is no declared name here");
  const {document: key, start, end} = answer.definition;
  if (key !== null) {
    if (![...picker.options].some(option => option.value === key)) return state(`declared in ${key}`);
    await open(key);
  }
  select(offsetOf(start), offsetOf(end));
}
async function rename() {
  const point = pointAt(view.state.selection.main.head), of = text();
  const answer = await ask("rename", {point});
  if (!answer?.name) return state(answer?.error ?? "");
  const [from, to] = [offsetOf(answer.name.start), offsetOf(answer.name.end)], old = of.slice(from, to);
  const field = make("input", {type: "text", value: old, spellcheck: false});
  field.setAttribute("aria-label", "the new name");
  const chosen = await choose(`Rename ${old}`, {rename: "Rename", "": "Cancel"}, field);
  view.focus();
  if (chosen !== "rename" || field.value === old) return;
  const renamed = await ask("rename", {point, to: field.value.trim()});
  if (!renamed || renamed.error) return state(renamed?.error ?? "");
  edit(renamed.edits, of, "rename");
  state(`renamed in ${counted(renamed.edits.length, "place")}`);
}
async function format() {
  const of = text(), answer = await ask("format");
  if (!answer || answer.error) return state(answer?.error ?? "");
  edit(answer.edits, of, "format");
  state(answer.edits.length ? "formatted" : "the text has the canonical style already");
}
