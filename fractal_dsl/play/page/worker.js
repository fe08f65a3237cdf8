// Python in the browser: the compiler below PyTorch, and Graphviz, both as WebAssembly.
import {loadPyodide} from "../runtime/pyodide.mjs";
import {Graphviz} from "../runtime/graphviz.js";

const tell = progress => postMessage({progress});
const bytes = async name => new Uint8Array(await (await fetch(new URL(`../runtime/${name}`, import.meta.url))).arrayBuffer());

async function session() {
  tell("loading Python …");
  const [python, graphviz, packages] = await Promise.all([
    loadPyodide({indexURL: new URL("../runtime/", import.meta.url).href}), Graphviz.load(), bytes("packages.zip"),
  ]);
  python.unpackArchive(packages, "zip", {extractDir: "/lib/packages"});
  python.registerJsModule("graphviz_of_page", {svg: dot => graphviz.layout(dot, "svg", "nop2")});
  tell("loading the compiler …");
  return python.runPython(`
import sys
sys.path.insert(0, "/lib/packages")
from fractal_dsl.play.browser import Session
Session()`);
}
const started = session();
started.then(() => tell(""), error => tell(`Python could not be started: ${error.message}`));

onmessage = async ({data: {kind, question}}) => {
  try {
    postMessage({answer: JSON.parse((await started).ask(kind, question))});
  } catch (error) {
    postMessage({failed: String(error.message)});
  }
};
