// The documents: each keeps its text, its history and the values of its parameters.
const opened = new Map();
let doc = {key: "", name: "", params: {}, net: null};
const picker = $("#document");
for (const {key, title, group} of config.documents) {
  let place = picker;
  if (group) {
    place = [...picker.children].find(child => child.label === group) ?? make("optgroup", {label: group});
    picker.append(place);
  }
  place.append(new Option(title, key));
}
picker.onchange = () => open(picker.value);

/** Opens a document. ``given`` holds its text and values if it is not one of the server's. */
async function open(key, given = null) {
  if (given || !opened.has(key)) {
    const answer = given ?? await ask("open", {document: key});
    if (!answer || answer.error) {
      if (answer) notice(answer.error, true);
      picker.value = doc.key || key;
      return;
    }
    const first = !given && key === config.documents[0].key;
    const params = first ? {...config.params} : {}, net = first ? config.net : null;
    opened.set(key, {params, net, ...answer, key, saved: answer.text,
                     state: CM.EditorState.create({doc: answer.text, extensions})});
  }
  if (opened.has(doc.key)) doc.state = view.state;
  doc = opened.get(key);
  picker.value = key;
  view.setState(doc.state);
  shape = null;
  if (!given) kept = null;
  showBox(null);
  $("#save").hidden = doc.digest === null;  // what has no file of its own can be downloaded
  state("");
  showErrors([], 0);
  titled();
  later(0);
}
function titled() {
  const title = [...picker.options].find(option => option.value === doc.key).text;
  document.title = `${text() === doc.saved ? "" : "● "}${title} · fractal-dsl play`;
}

function downloadText() {
  give(doc.name.split("/").at(-1), text(), "text/plain");
  doc.saved = text();
  titled();
}
async function save() {
  if (doc.digest === null) return downloadText();
  const mine = doc, saved = text();
  const answer = await ask("save", {digest: mine.digest});
  if (!answer) return;
  if (answer.error) return refused(answer.error);
  Object.assign(mine, {digest: answer.digest, saved});
  state(`saved ${mine.name}`);
  titled();
}
async function refused(error) {
  state("not saved");
  const chosen = await choose(error, {reload: "Take the file's text", mine: "Download mine", "": "Cancel"});
  if (chosen === "mine") return downloadText();
  if (chosen !== "reload") return;
  const answer = await ask("open", {document: doc.key});
  if (!answer || answer.error) return state(answer?.error ?? "");
  Object.assign(doc, {digest: answer.digest, saved: answer.text});
  replaceText(answer.text);
  titled();
}
$("#save").onclick = save;
addEventListener("beforeunload", event => {
  if (opened.has(doc.key)) doc.state = view.state;
  if ([...opened.values()].some(({state, saved}) => state.doc.toString() !== saved)) event.preventDefault();
});
