// The lines between the parts of the page can be moved, with a mouse or with arrow keys. Where they are is remembered.
function splitter(line, property, [least, most]) {
  const across = line.getAttribute("aria-orientation") === "vertical", around = line.parentElement;
  const name = `fractal-dsl ${property}`;
  let share = Number(line.getAttribute("aria-valuenow"));
  const set = (value, keep = true) => {
    share = Math.min(most, Math.max(least, value));
    around.style.setProperty(property, `${share}%`);
    line.setAttribute("aria-valuenow", Math.round(share));
    try {
      if (keep) localStorage.setItem(name, share);
    } catch { /* a frame without storage */ }
  };
  try {
    set(Number(localStorage.getItem(name)) || share, false);
  } catch {
    set(share, false);
  }
  line.addEventListener("pointerdown", event => {
    event.preventDefault();
    line.setPointerCapture(event.pointerId);
    document.body.classList.add("moving");
  });
  line.addEventListener("pointermove", event => {
    if (!line.hasPointerCapture(event.pointerId)) return;
    const box = around.getBoundingClientRect();
    set(across ? 100 * (event.clientX - box.left) / box.width : 100 * (box.bottom - event.clientY) / box.height);
  });
  line.addEventListener("lostpointercapture", () => document.body.classList.remove("moving"));
  line.addEventListener("keydown", event => {
    const by = {ArrowLeft: -2, ArrowRight: 2, ArrowUp: 2, ArrowDown: -2}[event.key];
    if (by === undefined || /Left|Right/.test(event.key) !== across) return;
    event.preventDefault();
    set(share + by);
  });
  line.addEventListener("dblclick", () => set(Number(line.dataset.start)));
}
splitter($("#between"), "--left", [20, 80]);
splitter($("#above"), "--pane", [8, 80]);
