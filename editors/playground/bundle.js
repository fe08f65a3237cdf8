// Bundles the editor of the playground into one file, with the licence of what is in it.
import {readFileSync} from "node:fs";
import {build} from "esbuild";

const output = new URL("../../fractal_dsl/play/page/codemirror.js", import.meta.url).pathname;
const result = await build({
  entryPoints: ["index.js"], bundle: true, minify: true, format: "iife", globalName: "CM", target: "es2022",
  charset: "utf8", legalComments: "none", metafile: true, write: true, outfile: output,
  banner: {js: `/*! Made by \`make codemirror\`: do not edit.\n${notice()}*/`},
});
const [{bytes}] = Object.values(result.metafile.outputs);
console.log(`${output}: ${bytes.toLocaleString("en")} bytes`);

/** The packages in the bundle, and their licence. All have the same licence and author. */
function notice() {
  const {packages} = JSON.parse(readFileSync("package-lock.json", "utf8"));
  const bundled = Object.entries(packages).filter(([path, {license}]) => path && license === "MIT" && !path.includes("esbuild"));
  const names = bundled.map(([path, {version}]) => `${path.replace("node_modules/", "")} ${version}`);
  const licence = readFileSync("node_modules/@codemirror/view/LICENSE", "utf8");
  return `Contains ${names.join(", ")}.\n\n${licence}`;
}
