// A link that holds the text and what is set around it: compressed, behind the #, so that no server sees it.
const LINK = "#s=", SET = ["view", "block", "label", "heat", "depth"];
async function packed(value) {
  const stream = new Blob([JSON.stringify(value)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
/** The value in a link. A link that would unpack to more than the limit of a text is refused. */
async function unpacked(code) {
  const bytes = Uint8Array.from(atob(code.replaceAll("-", "+").replaceAll("_", "/")), c => c.charCodeAt(0));
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader(), chunks = [];
  for (let size = 0; ;) {
    const {done, value} = await reader.read();
    if (done) return JSON.parse(await new Blob(chunks).text());
    size += value.length;
    if (size > 4 * config.limit) throw new Error("too large");
    chunks.push(value);
  }
}

async function share() {
  const options = {raw: $("#raw").checked, ...Object.fromEntries(SET.map(id => [id, $(`#${id}`).value]))};
  const {view: _, ...picture} = kept ?? {};
  const code = await packed({text: text(), params: doc.params, net: doc.net, options, picture: kept && picture});
  const files = [...text().matchAll(/^\s*(?:import|from)\s+"(?!std:)([^"]+)"/gm)].map(([, name]) => name);
  const said = files.length ? `; it does not hold ${files.join(", ")}` : transport.linked;
  await copy(new URL(`${LINK}${code}`, location.href).href, "link", said);
}
$("#share").onclick = share;

/** Open the net that the address holds, or else the first document if none is open. */
async function openLink() {
  const held = location.hash.startsWith(LINK), opened = held && await openHeld();
  if (!opened && !doc.key) await open(config.documents[0].key);
  if (held && !opened) state("the link is damaged: it holds no net");
}
async function openHeld() {
  try {
    const {text, params, net, options, picture} = await unpacked(location.hash.slice(LINK.length));
    if (typeof text !== "string") throw new Error("no text");
    for (const id of SET) if (options?.[id] !== undefined) $(`#${id}`).value = options[id];
    $("#raw").checked = Boolean(options?.raw);
    showOptions();
    kept = picture ? {view: null, plan: null, closed: [], search: "", ...picture} : null;
    if (![...picker.options].some(({value}) => value === "shared")) picker.prepend(new Option("a shared net", "shared"));
    const values = Object.fromEntries(Object.entries(params ?? {}).map(([name, value]) => [name, String(value)]));
    await open("shared", {text, name: "shared.frac", digest: null, params: values, net: net ?? null});
    return true;
  } catch {
    return false;
  }
}
addEventListener("hashchange", openLink);
