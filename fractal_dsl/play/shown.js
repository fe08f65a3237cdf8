// What is beside the text: parameters, the picture, figures.
// --- parameters
let shape = null, controls = new Map();
function showParams(params) {
  const names = new Set(params.map(({name}) => name));
  for (const name of Object.keys(doc.params)) if (!names.has(name)) delete doc.params[name];
  const now = JSON.stringify(params.map(({value, default: _, ...rest}) => rest));
  if (now !== shape) {
    shape = now;
    controls = new Map(params.map(param => [param.name, control(param)]));
    $("#params").replaceChildren(...controls.values());
    $("#params").hidden = !params.length;
  }
  for (const param of params) controls.get(param.name).show(param);
}
function control(param) {
  const {name, kind, unit = ""} = param, id = `param-${name}`;
  const reset = make("button", {className: "reset", title: `back to the text's value`}, "↺");
  reset.setAttribute("aria-label", `reset ${name}`);
  const inputs = kind === "choice" ? [make("select", {id}, ...param.choices.map(text => new Option(text)))]
    : kind === "range" ? ["range", "number"].map((type, i) =>
        make("input", {type, id: i ? "" : id, min: param.low, max: param.high, step: param.step}))
    : [make("input", {type: "text", id, placeholder: param.required ? `a value: ${param.type}` : ""})];
  if (kind === "range") inputs[1].setAttribute("aria-label", `${name}, as a number`);
  if (kind === "text") inputs[0].size = Math.min(26, Math.max(6, (param.default ?? "").length + 2));
  const label = make("label", {htmlFor: id, title: param.doc || `${name}: ${param.type}`}, name);
  const row = make("div", {className: "param"}, label, ...inputs, ...(unit ? [unit] : []), reset);
  const set = text => {
    if (text === null || text.trim() === "") delete doc.params[name];
    else doc.params[name] = text.trim();
    row.classList.toggle("set", name in doc.params);
    reset.hidden = !(name in doc.params);
    later(120);
  };
  for (const input of inputs)
    input.addEventListener(kind === "choice" ? "change" : "input", () => {
      for (const other of inputs) if (other !== input) other.value = input.value;
      set(kind === "range" && input.value ? `${input.value}${unit}` : input.value);
    });
  reset.onclick = () => { set(null); inputs[0].focus(); row.show(row.last); };
  row.show = now => {
    row.last = now;
    const text = doc.params[name] ?? now.default ?? now.value ?? "";
    for (const input of inputs) if (input !== document.activeElement) input.value = unit ? text.replace(unit, "") : text;
    row.classList.toggle("set", name in doc.params);
    reset.hidden = !(name in doc.params);
  };
  return row;
}

// --- what is drawn
function showNets(nets, net) {
  const pick = $("#nets select");
  pick.replaceChildren(...nets.map(name => new Option(name, name)));
  pick.value = net;
  $("#nets").hidden = nets.length < 2;
}
$("#nets select").onchange = event => { doc.net = event.target.value; later(0); };
for (const label of config.labels) $("#label").append(new Option(label, label));
function chosen() {
  const view = $("#view").value, whole = view === "net" || view === "block", depth = $("#depth").value;
  return {view: view === "plans" ? "net" : view, block: Math.max(1, Math.floor(Number($("#block").value)) || 1),
          raw: whole && $("#raw").checked, plan: view === "plans" ? "all" : null, label: $("#label").value,
          heat: view === "rule" ? null : $("#heat").value || null, depth: depth === "" ? null : Number(depth)};
}
$("#options").addEventListener("change", event => {
  const view = $("#view").value;
  $("#blocks").hidden = !["block", "figure"].includes(view);
  $("#raws").hidden = !["net", "block"].includes(view);
  $("#heats").hidden = view === "rule";
  if (!event.target.closest("#nets")) later(0);
});

let drawn = null, figured = null;  // the documents whose picture and figures are shown
let kept = null;  // what the reader has set in the picture: view, plan, folds, search
function showPicture(page) {
  drawn = doc;
  const frame = make("iframe", {title: "Picture of the net", src: `picture/${page}`});
  frame.setAttribute("sandbox", "allow-scripts");
  if (kept) frame.name = JSON.stringify(kept);
  const before = [...$("#picture").children];
  frame.style.visibility = before.length ? "hidden" : "visible";
  frame.addEventListener("load", () => {
    frame.style.visibility = "visible";
    before.forEach(old => old.remove());
    $("#picture").classList.remove("old");
  });
  $("#picture").append(frame);
}
addEventListener("message", event => {
  if (event.source !== [...$("#picture").children].at(-1)?.contentWindow) return;
  if (event.data.state) kept = event.data.state;
  if (event.data.save) save();
});

function showFigures(figures) {
  figured = doc;
  $("#figures").classList.remove("old");
  $("#figures").hidden = !figures;
  if (!figures) return;
  const head = ["column", "depth", "parameters", "MACs per sample", "of the net"];
  const rows = figures.columns.map(({cells, share}) => {
    const part = make("span");
    part.style.width = `${Math.min(1, share) * 100}%`;
    const bar = make("span", {className: "bar"}, part);
    return make("tr", {}, ...cells.map(cell => make("td", {}, cell)), make("td", {}, `${Math.round(share * 100)}%`, bar));
  });
  const columns = make("table", {}, make("thead", {}, make("tr", {}, ...head.map(text => make("th", {scope: "col"}, text)))),
                       make("tbody", {}, ...rows));
  $("#figures").replaceChildren(
    make("dl", {}, ...figures.rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    ...rows.length ? [columns] : []);
}

open(config.documents[0].key);
