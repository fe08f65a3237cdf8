"use strict";
// Runs in the page that `render -o x.html` writes, behind its own script, whose names it uses: the playground shows
// each picture in a new frame, and what a reader has set in the last one goes on in the next.
{
  let chosen = null;
  const state = () => ({
    view: fits() ? null : view,
    plan: picker.selectedOptions[0]?.text ?? null,
    closed: [...frames.values()].filter(frame => !frame.open).map(frame => frame.title),
    search: field.value,
    chosen: chosen && data.boxes[chosen].name,
  });
  const post = message => parent.postMessage(message, "*");

  // --- boxes: what is told about one, and which are at the cursor
  const columns = data.plans.filter(({name}) => name.startsWith("column:"));
  const told = name => {
    const box = data.boxes[name], share = (part, all) => ({count: part, share: all ? part / all : 0});
    const drops = plan => plan.nodes.includes(name);
    return {
      ...box, params: share(box.params, data.whole.params), macs: share(box.macs, data.whole.macs),
      source: box.source === null || box.source === undefined ? null : data.places[box.source],
      columns: columns.length && box.does ? columns.filter(plan => !drops(plan)).map(({name}) => name.split(":")[1]) : null,
      dropped: columns.length && box.does ? data.plans.filter(drops).map(({name}) => name) : null,
    };
  };
  const choose = (name, clicked) => {
    chosen = name;
    if (clicked) facts.style.display = "none";  // the panel tells it
    for (const [other, g] of nodes) g.classList.toggle("chosen", other === name);
    if (name) post({box: told(name), clicked});
  };
  let pressed = [0, 0];
  svg.addEventListener("pointerdown", event => { pressed = [event.clientX, event.clientY]; });
  svg.addEventListener("click", event => {
    if (Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 4) return;
    const g = event.target.closest("g.node"), name = [...nodes].find(([, other]) => other === g)?.[0];
    if (data.boxes[name]) choose(name, true);
  });
  // Enter in the search chooses the box that it goes to, so that the panel tells it without a pointer.
  field.addEventListener("keydown", event => {
    const name = event.key === "Enter" && [...nodes].find(([, g]) => g === found[at])?.[0];
    if (!name || !data.boxes[name]) return;
    facts.style.display = "none";
    choose(name, false);
  });
  const length = i => data.places[i][1] - data.places[i][0];
  const mark = at => {
    const under = data.places.map((_, i) => i).filter(i => data.places[i][0] <= at && at <= data.places[i][1]);
    const least = Math.min(...under.map(length));
    for (const [name, g] of nodes) {
      const places = data.boxes[name]?.places ?? [];
      g.classList.toggle("here", at !== null && places.some(i => length(i) === least && under.includes(i)));
    }
  };
  addEventListener("message", event => {
    if (event.source !== parent) return;
    if (event.data.cursor !== undefined) mark(event.data.cursor);
    if (event.data.choose !== undefined) choose(event.data.choose, false);
    if (event.data.plan !== undefined) showPlan(event.data.plan);
    tellState();
  });
  const showPlan = text => {
    const option = [...picker.options].find(option => option.text === text);
    if (!option) return;
    picker.value = option.value;
    plan();
  };

  const last = JSON.parse(window.name || "null");
  if (last) {
    for (const frame of frames.values()) frame.open = !last.closed.includes(frame.title);
    lay();
    showPlan(last.plan);
    field.value = last.search;
    field.oninput();
    fit();
    if (last.view) {
      view = last.view;
      show();
    }
    const again = Object.keys(data.boxes).find(name => last.chosen && data.boxes[name].name === last.chosen);
    if (last.chosen && !again) post({box: null});
    if (again) choose(again, false);
  }

  const tellState = () => requestAnimationFrame(() => post({state: state()}));
  for (const event of ["pointerup", "wheel", "click", "change", "input", "keyup"]) addEventListener(event, tellState);
  addEventListener("keydown", event => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "s") return;
    event.preventDefault();
    post({key: "save"});
  });
}
