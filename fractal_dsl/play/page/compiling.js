// What is asked about the text after each change, and what of the answer is shown.
let asked = 0, timer = 0;
function changed() {
  state("");
  titled();
  later(250);
}
/** The cursor has moved, or what lies under it. */
function moved() {
  showProblemsHere();
  showBoxesHere();
}
/** Ask soon; what is on its way is out of date from now on. */
function later(wait) {
  asked += 1;
  for (const kind of ["check", "picture"]) asking.get(kind)?.abort();
  clearTimeout(timer);
  timer = setTimeout(update, wait);
}
async function update() {
  const mine = asked;
  $("#busy").classList.add("on");
  await compile(() => mine !== asked);
  if (mine !== asked) return;
  $("#busy").classList.remove("on");
  document.body.dataset.settled = mine;
}
async function compile(late) {
  const size = new Blob([text()]).size;
  if (size > config.limit) {
    showErrors([], 0);
    return failed(`The text has ${size.toLocaleString("en")} bytes; the limit is ${config.limit.toLocaleString("en")}.`);
  }
  const checked = await ask("check");
  if (late() || !checked) return;
  if (checked.error) {
    showErrors([], 0);
    return failed(checked.error);
  }
  if (checked.params) showParams(checked.params);
  showErrors(checked.errors, checked.more, checked.warnings);
  if (checked.errors.length) return failed("");
  showNets(checked.nets, checked.net);
  showFigures(checked.figures);
  if (!checked.figures) {
    clearPicture();
    return notice("No net is declared here, so there is nothing to draw.");
  }
  const picture = await ask("picture", {picture: chosen()});
  if (late() || !picture) return;
  if (picture.error) return failed(picture.error, false);
  showPicture(picture.page);
  notice(picture.note);
}

/** Something is wrong: the last good picture stays, and is said to be that. */
function failed(message, figures = true) {
  if (figured !== doc) showFigures(null);
  if (drawn !== doc) clearPicture();
  const last = $("#picture iframe") ? "The picture is the last one that could be drawn." : "";
  $("#picture").classList.add("old");
  $("#figures").classList.toggle("old", figures);
  notice([message, last].filter(Boolean).join("\n"), Boolean(message));
}
