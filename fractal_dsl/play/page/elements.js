"use strict";
// Elements of the page, and what all its scripts share.
const $ = (selector, within = document) => within.querySelector(selector);
const config = JSON.parse($("#config").textContent);

/** An element with properties and children; texts become text nodes, so nothing needs escaping. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
const state = text => { $("#state").textContent = text; };
const counted = (n, what) => `${n ? n.toLocaleString("en") : "no"} ${what}${n === 1 ? "" : "s"}`;

/** Over the picture: why there is none, or what was folded. Nothing moves when it comes and goes. */
function notice(text, wrong = false) {
  $("#notice").textContent = text ?? "";
  $("#notice").hidden = !text;
  $("#notice").classList.toggle("wrong", wrong);
}

function give(name, content, type) {
  const link = make("a", {href: URL.createObjectURL(new Blob([content], {type})), download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
async function copy(text, what, more = "") {
  try {
    await navigator.clipboard.writeText(text);
    state(`${what} copied${more}`);
  } catch {  // a frame without the right to copy, or an old browser
    tell(what, text);
  }
}

/** Shows a text in a dialog until it is closed. */
function tell(title, text) {
  $("#told h2").textContent = title;
  $("#told pre").textContent = text;
  $("#told").showModal();
}
/** Asks in a dialog, and gives the value of the button that was pressed; Escape gives the empty text. */
function choose(question, buttons, field) {
  const form = $("#ask form");
  $("#asked").textContent = question;
  form.replaceChildren(...field ? [field] : [], ...Object.entries(buttons).map(([value, text]) => make("button", {value}, text)));
  $("#ask").returnValue = "";
  $("#ask").showModal();
  field?.select();
  return new Promise(resolve => $("#ask").addEventListener("close", () => resolve($("#ask").returnValue), {once: true}));
}

/** Questions about the open document: a newer one of the same kind takes the place of an older one. */
const asking = new Map();
let number = 0;
async function ask(kind, question = {}) {
  asking.get(kind)?.abort();
  const mine = new AbortController();
  asking.set(kind, mine);
  number += 1;
  const whole = {page: config.page ?? 0, number, document: doc.key, text: text(), params: doc.params, net: doc.net, ...question};
  try {
    const answer = await transport.ask(kind, whole, mine.signal);
    return mine.signal.aborted || answer.stale ? null : answer;
  } catch (error) {
    if (error.name !== "AbortError") notice(transport.gone, true);
    return null;
  }
}
