// Keys that work everywhere on the page; the editor has its own.
addEventListener("keydown", event => {
  if (event.defaultPrevented) return;
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") {
    event.preventDefault();
    save();
  } else if (event.key === "F8") {
    event.preventDefault();
    next();
  }
});
$("#format").onclick = format;
$("#help").onclick = () => tell("Keys", $("#keys").textContent);
