// What is drawn, and the frame that shows it. The frame has no rights: it runs two scripts, and talks by messages.
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
function showOptions() {
  const view = $("#view").value;
  $("#blocks").hidden = !["block", "figure"].includes(view);
  $("#raws").hidden = !["net", "block"].includes(view);
  $("#heats").hidden = view === "rule";
}
$("#options").addEventListener("change", event => {
  showOptions();
  if (!event.target.closest("#nets")) later(0);
});

let drawn = null;  // the document whose picture is shown
let kept = null;  // what the reader has set in the picture: zoom, plan, folds, search, the chosen box
const frame = () => [...$("#frames").children].at(-1);
function clearPicture() {
  $("#frames").replaceChildren();
  showBox(null);
}
function showPicture(page) {
  drawn = doc;
  const {policy, style, script} = config.frame, cut = page.lastIndexOf("</body>");
  const head = `<head><meta http-equiv="Content-Security-Policy" content="${policy}">`;
  const html = `${page.slice(0, cut)}<style>${style}</style><script>${script}</script>${page.slice(cut)}`.replace("<head>", () => head);
  const next = make("iframe", {title: "Picture of the net", srcdoc: html});
  next.setAttribute("sandbox", "allow-scripts");
  if (kept) next.name = JSON.stringify(kept);
  const before = [...$("#frames").children];
  next.style.visibility = before.length ? "hidden" : "visible";
  next.addEventListener("load", () => {
    next.style.visibility = "visible";
    before.forEach(old => old.remove());
    $("#picture").classList.remove("old");
    showBoxesHere();
  });
  $("#frames").append(next);
}
addEventListener("message", event => {
  if (event.source !== frame()?.contentWindow) return;
  const {state, box, clicked, key} = event.data;
  if (state) {
    const planned = kept?.plan;
    kept = state;
    if (state.plan !== planned) showPlan(state.plan);
  }
  if (box !== undefined) showBox(box, clicked);
  if (key === "save") save();
});

/** The boxes whose source is at the cursor stand out, unless the picture is of another text. */
function showBoxesHere() {
  const current = !$("#busy").classList.contains("on") && !$("#picture").classList.contains("old");
  const at = current && drawn === doc ? toCharacters(text(), view.state.selection.main.head) : null;
  frame()?.contentWindow?.postMessage({cursor: at}, "*");
}

// --- files
$("#formats").addEventListener("click", async event => {
  const format = event.target.dataset.format;
  if (!format) return;
  $("#formats").open = false;
  if (format === "frac") return downloadText();
  state(`drawing ${format.toUpperCase()} …`);
  const plan = kept?.plan && kept.plan !== "full" ? kept.plan : null, options = chosen();
  const answer = await ask("export", {format, picture: {...options, plan: options.plan ?? (options.view === "net" ? plan : null)}});
  if (!answer || answer.error) return state(answer?.error ?? "");
  give(answer.name, Uint8Array.from(atob(answer.data), c => c.charCodeAt(0)), answer.type);
  state(`downloaded ${answer.name}`);
});
addEventListener("click", event => {
  if (!event.target.closest("#formats")) $("#formats").open = false;
});
