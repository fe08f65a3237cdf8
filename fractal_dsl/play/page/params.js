// The parameters: a control for each, whose value goes before the text's until it is written into it.
let shape = null, controls = new Map(), placed = {text: "", params: []};
function showParams(params) {
  const names = new Set(params.map(({name}) => name));
  for (const name of Object.keys(doc.params)) if (!names.has(name)) delete doc.params[name];
  placed = {text: text(), params};
  const now = JSON.stringify(params.map(({value, default: _, place, ...rest}) => rest));
  if (now !== shape) {
    shape = now;
    controls = new Map(params.map(param => [param.name, control(param)]));
    $("#params .controls").replaceChildren(...controls.values());
    $("#params").hidden = !params.length;
  }
  for (const param of params) controls.get(param.name).show(param);
  showSet();
}
function control(param) {
  const {name, kind, unit = "", stops} = param, id = `param-${name}`;
  const reset = make("button", {className: "reset", title: "back to the text's value"}, "↺");
  reset.setAttribute("aria-label", `reset ${name}`);
  const inputs = kind === "choice" ? [make("select", {id}, ...param.choices.map(text => new Option(text)))]
    : kind === "range" ? ["range", "number"].map((type, i) =>
        make("input", {type, id: i ? "" : id, min: param.low, max: param.high, step: i && stops ? "any" : param.step}))
    : [make("input", {type: "text", id, placeholder: param.required ? `a value: ${param.type}` : ""})];
  if (kind === "range") inputs[1].setAttribute("aria-label", `${name}, as a number`);
  if (stops) Object.assign(inputs[0], {min: 0, max: stops.length - 1, step: 1});
  if (kind === "text") inputs[0].size = Math.min(26, Math.max(6, (param.default ?? "").length + 2));
  const label = make("label", {htmlFor: id, title: param.doc || `${name}: ${param.type}`}, name);
  const row = make("div", {className: "param"}, label, ...inputs, ...(unit ? [unit] : []), reset);
  // a logarithmic slider counts its stops
  const shown = (input, value) => {
    if (!stops || input.type !== "range") return input.value = value;
    const near = stops.reduce((best, stop, i) => Math.abs(stop - value) < Math.abs(stops[best] - value) ? i : best, 0);
    input.setAttribute("aria-valuetext", value);
    return input.value = near;
  };
  const valueOf = input => stops && input.type === "range" ? String(stops[input.value]) : input.value;
  const set = value => {
    if (value === null || value.trim() === "") delete doc.params[name];
    else doc.params[name] = value.trim();
    showSet();
    later(120);
  };
  for (const input of inputs)
    input.addEventListener(kind === "choice" ? "change" : "input", () => {
      const value = valueOf(input);
      for (const other of inputs) if (other !== input) shown(other, value);
      set(kind === "range" && value ? `${value}${unit}` : value);
    });
  reset.onclick = () => { set(null); inputs[0].focus(); row.show(row.last); };
  row.show = now => {
    row.last = now;
    const value = doc.params[name] ?? now.default ?? now.value ?? "";
    for (const input of inputs) if (input !== document.activeElement) shown(input, unit ? value.replace(unit, "") : value);
  };
  return row;
}

/** What differs from the text, as arguments of a command. */
const quoted = word => /^[\w.=,%+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
const asArguments = () => Object.entries(doc.params).map(([name, value]) => `-p ${quoted(`${name}=${value}`)}`).join(" ");
function showSet() {
  const some = Object.keys(doc.params).length > 0;
  $("#set").textContent = some ? asArguments() : "all as in the text";
  for (const button of $("#params").querySelectorAll(".actions button")) button.disabled = !some;
  for (const [name, row] of controls) {
    row.classList.toggle("set", name in doc.params);
    $(".reset", row).style.visibility = name in doc.params ? "visible" : "hidden";
  }
}
$("#copy-set").onclick = () => copy(asArguments(), "arguments");
$("#reset-set").onclick = () => {
  doc.params = {};
  for (const row of controls.values()) row.show(row.last);
  showSet();
  later(0);
};
/** Write the values into the text, where they become defaults. */
$("#write-set").onclick = () => {
  if (placed.text !== text()) return state("wait until the text is checked, and write again");
  const changes = [], elsewhere = [];
  for (const {name, type, place, default: old} of placed.params.filter(({name}) => name in doc.params)) {
    if (!place) {
      elsewhere.push(name);
      continue;
    }
    const [from, to] = place.map(at => fromCharacters(text(), at)), literal = asLiteral(doc.params[name], type);
    changes.push({from, to, insert: from === to ? ` = ${literal}` : literal});
    delete doc.params[name];
  }
  view.dispatch({changes, userEvent: "input.write", annotations: CM.isolateHistory.of("full")});
  showSet();
  later(0);
  state(elsewhere.length ? `${elsewhere.join(", ")}: declared in another file` : "written into the text");
};
function asLiteral(value, type) {
  if (type === "str" && !value.startsWith('"')) return JSON.stringify(value);
  return type === "float" && /^-?\d+$/.test(value) ? `${value}.0` : value;
}
