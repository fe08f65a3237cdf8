// The panel about the box that was clicked.
let about = null;
function showBox(box, clicked = false) {
  about = box;
  $("#panel").hidden = !box;
  if (!box) return;
  const {name, label, does, into, out, params, macs, columns, dropped, written, source} = box;
  const close = make("button", {className: "close", title: "close", onclick: () => {
    showBox(null);
    frame()?.contentWindow?.postMessage({choose: null}, "*");
  }}, "×");
  close.setAttribute("aria-label", "close");
  const rows = [
    ["shape", into && out ? `${into} → ${out}` : out],
    ["parameters", does && figure(params)], ["MACs", does && figure(macs)],
    ["columns", columns?.length ? columns.join(", ") : ""],
    ["dropped by", dropped?.length ? plans(dropped) : columns ? "no plan shown here" : ""],
    ["written in", written ? make("button", {className: "link", onclick: () => toSource(box)}, `${written.file}:${written.line}`) : ""],
  ].filter(([, value]) => value);
  $("#panel").replaceChildren(
    make("h2", {}, name || label.split("\n")[0]), close, make("p", {}, does),
    make("dl", {}, ...rows.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)])));
  if (clicked && source) toSource(box, matchMedia("(min-width: 721px)").matches ? select : selectQuietly);
}
const figure = ({count, share}) => count ? `${count.toLocaleString("en")} (${percent(share)} of the net)` : "none";
const percent = share => share < 0.001 ? "under 0.1%" : `${(100 * share).toFixed(1)}%`;
/** The plans that drop the box; each shows what it leaves. */
function plans(names) {
  return make("span", {}, ...names.map(name => make("button", {className: "link", onclick: () =>
    frame()?.contentWindow?.postMessage({plan: name}, "*")}, name)));
}
/** Select what a box comes from: its own text, else the call in the text that leads to another file. */
function toSource({source, written}, choose = select) {
  if (drawn !== doc) return;
  if (source) return choose(...source.map(at => fromCharacters(text(), at)));
  state(written ? `written in ${written.file}, line ${written.line}` : "");
}
