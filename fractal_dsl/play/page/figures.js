// The figures of the net and its columns, and those of a plan.
let figured = null;  // the document whose figures are shown
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
    ...rows.length ? [columns] : [], make("pre", {id: "plan", hidden: true}));
  showPlan(kept?.plan);
}
/** The plan that the picture shows: what `fractal-dsl plan` prints about it. */
async function showPlan(plan) {
  const place = $("#plan");
  if (!place) return;
  const answer = plan && plan !== "full" ? await ask("plan", {plan}) : null;
  place.textContent = answer?.text ? `plan ${plan} of ${answer.text}` : "";
  place.hidden = !answer?.text;
}
