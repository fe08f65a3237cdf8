// The editor.
const text = () => view.state.doc.toString();
const theme = CM.EditorView.theme({}, {dark: matchMedia("(prefers-color-scheme: dark)").matches});
const keys = [
  {key: "Mod-s", run: () => (save(), true)},
  {key: "F8", run: () => (next(), true)},
  {key: "F2", run: () => (rename(), true)},
  {key: "F12", run: () => (toDefinition(), true)},
  {key: "Shift-Alt-f", run: () => (format(), true)},
  {key: "Mod-.", run: () => (toFix(), true)},
];
const extensions = [
  CM.lineNumbers(), CM.highlightActiveLineGutter(), CM.highlightSpecialChars(), CM.history(), CM.drawSelection(),
  CM.dropCursor(), CM.bracketMatching(), CM.closeBrackets(), CM.highlightActiveLine(), CM.highlightSelectionMatches(),
  CM.lintGutter(), CM.indentUnit.of("    "), CM.EditorState.tabSize.of(4), language, CM.syntaxHighlighting(colours), theme,
  CM.autocompletion({override: [completed], maxRenderedOptions: 60, activateOnTypingDelay: 60, optionClass: () => "option"}),
  hovering,
  CM.keymap.of([...keys, ...CM.completionKeymap, {key: "Enter", run: newLine}, ...CM.closeBracketsKeymap, ...CM.searchKeymap,
                ...CM.defaultKeymap, ...CM.historyKeymap, CM.indentWithTab]),
  CM.EditorView.contentAttributes.of({"aria-label": "The text of the net", "aria-describedby": "keys count", spellcheck: "false"}),
  CM.EditorView.updateListener.of(update => {
    if (update.docChanged) changed();
    if (update.docChanged || update.selectionSet) moved();
  }),
];
const view = new CM.EditorView({parent: $("#editor"), extensions});

/** A new line keeps the indent, and adds to it behind an opening brace. */
function newLine({state, dispatch}) {
  const {main} = state.selection, line = state.doc.lineAt(main.from), before = line.text.slice(0, main.from - line.from);
  const indent = /^[ \t]*/.exec(before)[0] + (before.endsWith("{") ? "    " : "");
  dispatch(state.update(state.replaceSelection(`\n${indent}`), {scrollIntoView: true, userEvent: "input"}));
  return true;
}

function select(from, to) {
  const range = rangeOf(from, to);
  view.dispatch({selection: range, effects: CM.EditorView.scrollIntoView(range.anchor, {y: "center", x: "nearest"})});
  view.focus();
}
/** The same without moving the page, so that the reader of a small screen still sees what was clicked. */
function selectQuietly(from, to) {
  const range = rangeOf(from, to), {scrollDOM} = view;
  view.dispatch({selection: range});
  scrollDOM.scrollTop = view.lineBlockAt(range.anchor).top - scrollDOM.clientHeight / 2;
}
function rangeOf(from, to) {
  const end = view.state.doc.length;
  return {anchor: Math.min(from, end), head: Math.min(to, end)};
}
/** All of the text at once; what was there comes back by undo. */
function replaceText(insert) {
  view.dispatch({changes: {from: 0, to: view.state.doc.length, insert}});
}

// The language counts characters, JavaScript halves of some.
const HALVES = /[\ud800-\udbff]/;
const fromCharacters = (string, count) => HALVES.test(string) ? Array.from(string).slice(0, count).join("").length
                                                               : Math.min(count, string.length);
const toCharacters = (string, offset) => HALVES.test(string) ? Array.from(string.slice(0, offset)).length : offset;
function offsetAt(line, column) {
  const row = view.state.doc.line(Math.max(1, Math.min(line, view.state.doc.lines)));
  return row.from + fromCharacters(row.text, column - 1);
}
