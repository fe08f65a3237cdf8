// The errors and warnings: in the text, and as a list with their fixes.
let problems = [];  // {from, to, place, message, …}; from is null for what lies in another file
let count = 0;

/** Errors, how many more there are, and warnings, which stand behind them in the list. */
function showErrors(errors, more, warnings = []) {
  const of = text();
  problems = [...errors, ...warnings].map(error => {
    const here = error.file === doc.name || error.file === "<text>";
    const place = here ? `${error.line}:${error.column}` : error.file.startsWith("-p ") ? error.file : `${error.file}:${error.line}`;
    const [from, to] = here ? [offsetAt(error.line, error.column), offsetAt(error.end_line, error.end_column)] : [null, null];
    return {...error, place, from, to, of};
  });
  count = errors.length + more;
  $("#count").textContent = counted(count, "error") + (warnings.length ? `, ${counted(warnings.length, "warning")}` : "");
  $("#problems").classList.toggle("wrong", count > 0);
  view.contentDOM.setAttribute("aria-invalid", count > 0);
  view.dispatch(CM.setDiagnostics(view.state, problems.filter(({from}) => from !== null).map(mark)));
  $("#problems ol").replaceChildren(...problems.map(item));
  for (const [name, row] of controls)
    for (const input of row.querySelectorAll("input, select"))
      input.classList.toggle("wrong", problems.some(error => error.file === `-p ${name}`));
  moved();
}
function mark(error) {
  const end = view.state.doc.length, from = Math.min(error.from, end);
  return {from, to: Math.min(Math.max(error.to, from), end), severity: error.severity, message: error.message, source: error.code,
          renderMessage: () => {
            const fixes = make("div", {className: "fixes"});
            fill(fixes, error);
            return make("div", {}, error.message, ...error.help ? [make("div", {className: "help"}, `help: ${error.help}`)] : [], fixes);
          }};
}
function item(error, i) {
  const button = make("button", {className: "problem", onclick: () => jump(i)}, make("span", {className: "place"}, error.place),
                      `${error.severity === "warning" ? "warning: " : ""}${error.message}`);
  if (error.help) button.append(make("span", {className: "help"}, `help: ${error.help}`));
  if (error.trail.length) button.append(make("span", {className: "help"}, `in ${error.trail.join(", from ")}`));
  const code = make("button", {className: "code", title: `explain ${error.code}`, onclick: () => explain(error.code)}, error.code);
  return make("li", {className: error.severity}, button, code, make("div", {className: "fixes"}));
}
async function explain(code) {
  const answer = await ask("explain", {code});
  if (answer) tell(code, answer.text ?? answer.error);
}

/** Buttons for what removes an error. Each fix is tried on the whole text, so they are asked for when they are wanted. */
async function fill(place, error) {
  if (error.from === null || !error.help || error.of !== text()) return;
  error.fixes ??= askFixes(error);
  const fixes = await error.fixes;
  place.replaceChildren(...fixes.map(({title, edits}) => make("button", {onclick: () => {
    edit(edits, error.of, "fix");
    view.focus();
  }}, title)));
}
let turn = Promise.resolve();
function askFixes(error) {
  const {from, to, of, code} = error;
  turn = turn.then(async () => {
    if (of !== text()) return [];
    const answer = await ask("fixes", {start: pointAt(from), end: pointAt(to)});
    return (answer?.fixes ?? []).filter(fix => fix.code === code);
  });
  return turn;
}

function jump(i) {
  const {from, to} = problems[i];
  if (from !== null) select(from, Math.max(from, to));
}
function next() {
  const places = problems.map((error, i) => [error.from, i]).filter(([from]) => from !== null);
  const behind = places.find(([from]) => from > view.state.selection.main.from) ?? places[0];
  if (behind) jump(behind[1]);
}
const touches = ({from, to}, at) => from !== null && from <= at && at <= Math.max(to, from + 1);
/** The errors at the cursor stand out in the list, with their fixes. */
function showProblemsHere() {
  const at = view.state.selection.main.head;
  [...$("#problems ol").children].forEach((item, i) => {
    const here = touches(problems[i], at);
    item.classList.toggle("at", here);
    if (here || i < 3) fill($(".fixes", item), problems[i]);
  });
}
async function toFix() {
  const i = problems.findIndex(error => touches(error, view.state.selection.main.head));
  if (i < 0) return state("there is no error at the cursor");
  const fixes = $("#problems ol").children[i].querySelector(".fixes");
  await fill(fixes, problems[i]);
  if (!fixes.firstChild) return state("this error has no automatic fix");
  fixes.onkeydown = event => { if (event.key === "Escape") view.focus(); };
  fixes.firstChild.focus();
}
