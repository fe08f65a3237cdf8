"use strict";
// Runs in the page that `render -o x.html` writes, behind its own script, whose names it uses: the playground shows
// each picture in a new frame, and what a reader has set in the last one goes on in the next.
{
  const same = (a, b) => ["x", "y", "w", "h"].every(side => Math.abs(a[side] - b[side]) < 0.01);
  const state = () => ({
    view: same(view, {...home, h: home.h - gained}) ? null : view,
    plan: picker.selectedOptions[0]?.text ?? null,
    closed: [...frames.values()].filter(frame => !frame.open).map(frame => frame.title),
    search: field.value,
  });

  const last = JSON.parse(window.name || "null");
  if (last) {
    for (const frame of frames.values()) frame.open = !last.closed.includes(frame.title);
    lay();
    const option = [...picker.options].find(option => option.text === last.plan);
    if (option) {
      picker.value = option.value;
      plan();
    }
    field.value = last.search;
    field.oninput();
    $("#fit").click();
    if (last.view) {
      view = last.view;
      show();
    }
  }

  const tell = () => requestAnimationFrame(() => parent.postMessage({state: state()}, "*"));
  for (const event of ["pointerup", "wheel", "click", "change", "input", "keyup"]) addEventListener(event, tell);
  addEventListener("keydown", event => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s") return;
    event.preventDefault();
    parent.postMessage({save: true}, "*");
  });
}
