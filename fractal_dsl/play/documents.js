// Documents, and what is asked of the server for the one that is open.
const opened = new Map();  // what has been opened stays as it was left
let doc = null;
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

async function open(key) {
  if (!opened.has(key)) {
    const answer = await ask("open", {document: key}).catch(gone);
    if (!answer || answer.error) {
      if (answer) notice(answer.error, true);
      picker.value = doc?.key ?? key;
      return;
    }
    const first = key === config.documents[0].key;
    opened.set(key, {...answer, key, saved: answer.text, params: first ? {...config.params} : {},
                     net: first ? config.net : null, caret: 0});
  }
  if (doc) Object.assign(doc, {text: editor.value, caret: editor.selectionStart});
  doc = opened.get(key);
  picker.value = key;
  errors = [];
  editor.value = known = doc.text;
  editor.setSelectionRange(doc.caret, doc.caret);
  editor.scrollTop = editor.scrollLeft = 0;
  shape = kept = null;
  $("#save").textContent = doc.digest === null ? "Download" : "Save";
  state("");
  paint();
  titled();
  later(0);
}
function titled() {
  const title = [...picker.options].find(option => option.value === doc.key).text;
  document.title = `${editor.value === doc.saved ? "" : "● "}${title} · fractal-dsl play`;
}
const state = text => { $("#state").textContent = text; };

function download() {
  const link = make("a", {href: URL.createObjectURL(new Blob([editor.value])), download: doc.name.split("/").at(-1)});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  doc.saved = editor.value;
  titled();
}
async function save() {
  if (doc.digest === null) return download();
  const [mine, text] = [doc, editor.value];
  const answer = await ask("save", {text, digest: mine.digest}).catch(gone);
  if (!answer) return;
  if (answer.error) return refused(answer.error);
  Object.assign(mine, {digest: answer.digest, saved: text});
  state(`saved ${mine.name}`);
  titled();
}
function refused(error) {
  $("#asked").textContent = error;
  const reload = make("button", {}, "Take the file's text"), mine = make("button", {}, "Download mine");
  reload.onclick = async () => {
    const answer = await ask("open", {document: doc.key}).catch(gone);
    if (!answer || answer.error) return state(answer?.error ?? "");
    Object.assign(doc, {digest: answer.digest, saved: answer.text});
    replace(0, editor.value.length, answer.text);  // what was there comes back by undo
    titled();
  };
  mine.onclick = download;
  $("#ask form").replaceChildren(reload, mine, make("button", {}, "Cancel"));
  $("#ask").showModal();
  state("not saved");
}
$("#save").onclick = save;
addEventListener("keydown", event => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
    event.preventDefault();
    save();
  } else if (event.key === "F8") {
    event.preventDefault();
    next();
  }
});
addEventListener("beforeunload", event => {
  if (doc) doc.text = editor.value;
  if ([...opened.values()].some(({text, saved}) => text !== saved)) event.preventDefault();
});

// --- questions and answers; a late answer to an old question is dropped
async function ask(kind, question, signal) {
  const body = JSON.stringify(question), headers = {"Content-Type": "application/json"};
  return (await fetch(kind, {method: "POST", headers, body, signal})).json();
}
function gone() {
  notice("The server does not answer. Start `fractal-dsl play` again; what you have typed is still here to be copied.", true);
}
let number = 0, timer = 0, running = null, known = "";
function changed() {
  moved(known, editor.value);
  known = editor.value;
  state("");
  titled();
  paint();
  later(250);
}
editor.addEventListener("input", changed);
/** Ask soon; what is on its way is out of date from now on. */
function later(wait) {
  number += 1;
  clearTimeout(timer);
  timer = setTimeout(update, wait);
}
async function update() {
  const mine = number;
  running?.abort();
  running = new AbortController();
  $("#busy").classList.add("on");
  try {
    await compile(() => mine !== number, running.signal);
  } catch (error) {
    if (error.name !== "AbortError") gone();
  }
  if (mine !== number) return;
  $("#busy").classList.remove("on");
  document.body.dataset.settled = mine;
}
async function compile(late, signal) {
  const size = new Blob([editor.value]).size;
  if (size > config.limit) {
    showErrors([], 0);
    return failed(`The text has ${size.toLocaleString("en")} bytes; the limit is ${config.limit.toLocaleString("en")}.`);
  }
  const question = {page: config.page, number, document: doc.key, text: editor.value, params: doc.params, net: doc.net};
  const found = await ask("check", question, signal);
  if (late() || found.stale) return;
  if (found.error) {
    showErrors([], 0);
    return failed(found.error);
  }
  if (found.params) showParams(found.params);
  showErrors(found.errors, found.more, found.warnings);
  if (found.errors.length) return failed("");
  showNets(found.nets, found.net);
  showFigures(found.figures);
  if (!found.figures) {
    $("#picture").replaceChildren();
    return notice("No net is declared here, so there is nothing to draw.");
  }
  const picture = await ask("picture", {...question, picture: chosen()}, signal);
  if (late() || picture.stale) return;
  if (picture.error) return failed(picture.error, false);
  showPicture(picture.page);
  notice(picture.note);
}

/** Something is wrong: the last good picture stays, and is said to be that. */
function failed(message, figures = true) {
  forget();
  const last = $("#picture iframe") ? "The picture is the last one that could be drawn." : "";
  $("#picture").classList.add("old");
  $("#figures").classList.toggle("old", figures);
  notice([message, last].filter(Boolean).join("\n"), Boolean(message));
}
/** What is shown of another text says nothing about this one. */
function forget() {
  if (figured !== doc) showFigures(null);
  if (drawn !== doc) $("#picture").replaceChildren();
}
function notice(text, wrong = false) {
  $("#notice").textContent = text ?? "";
  $("#notice").hidden = !text;
  $("#notice").classList.toggle("wrong", wrong);
}
