"use strict";
// Carries the questions of the page to Python in the browser. One is answered at a time; one that takes too long ends
// the worker, and a new one begins.
const transport = (() => {
  const LIMIT = 30000, RESOLUTION = 150 / 72, LARGEST = 8000;
  const busy = document.getElementById("busy"), compiling = busy.textContent;
  let worker = null, first = true, ready = false, running = null, waiting = [], timer = 0;
  const aborted = () => new DOMException("superseded", "AbortError");

  function start() {
    ready = false;
    worker = new Worker("page/worker.js", {type: "module"});
    worker.onmessage = ({data: {progress, answer, failed}}) => {
      if (progress !== undefined) {
        ready = progress === "";
        busy.textContent = progress || compiling;
        if (progress) busy.classList.add("on");
        if (first) notice(progress && "The compiler is loading into this page. The first time takes several seconds.");
        first &&= !ready;
        return pump();
      }
      const {resolve, reject} = running;
      finish();
      failed ? reject(new Error(failed)) : resolve(answer);
      pump();
    };
    worker.onerror = event => { busy.textContent = `Python could not be loaded: ${event.message ?? "a file is missing"}`; };
  }
  function finish() {
    clearTimeout(timer);
    running = null;
  }
  function pump() {
    waiting = waiting.filter(job => !job.signal.aborted || job.reject(aborted()));
    if (!ready || running || !waiting.length) return;
    running = waiting.shift();
    worker.postMessage({kind: running.kind, question: JSON.stringify(running.question)});
    timer = setTimeout(() => {
      const {resolve} = running;
      worker.terminate();
      finish();
      resolve({error: `the answer took more than ${LIMIT / 1000} seconds and was stopped: lower the parameters`});
      start();
    }, LIMIT);
  }
  function answered(kind, question, signal) {
    return new Promise((resolve, reject) => {
      waiting.push({kind, question, signal, resolve, reject});
      signal.addEventListener("abort", () => {
        reject(aborted());
        pump();
      });
      pump();
    });
  }

  // --- pictures as files: the browser paints the SVG, or it becomes a PDF
  async function painted(svg) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([svg], {type: "image/svg+xml"}));
    await image.decode();
    URL.revokeObjectURL(image.src);
    const {naturalWidth: width, naturalHeight: height} = image, scale = Math.min(2 * RESOLUTION, LARGEST / Math.max(width, height));
    const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale)), context = canvas.getContext("2d");
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Uint8Array(await (await canvas.convertToBlob({type: "image/png"})).arrayBuffer());
  }
  const base64 = bytes => {
    let binary = "";
    for (const byte of bytes) binary += String.fromCharCode(byte);
    return btoa(binary);
  };
  async function exported(question, signal) {
    const drawn = await answered("export", {...question, format: "svg", light: true}, signal);
    if (drawn.error) return drawn;
    const svg = new TextDecoder().decode(Uint8Array.from(atob(drawn.data), c => c.charCodeAt(0)));
    const [type, bytes] = question.format === "png" ? ["image/png", await painted(svg)] : ["application/pdf", await svgToPdf(svg)];
    return {name: drawn.name.replace(/svg$/, question.format), type, data: base64(bytes)};
  }

  start();
  return {
    gone: "Python in this page does not answer. Copy what you have typed, and reload the page.",
    linked: "",
    ask: (kind, question, signal) => kind === "export" && question.format !== "svg" ? exported(question, signal)
                                                                                    : answered(kind, question, signal),
  };
})();
if ("serviceWorker" in navigator && location.protocol.startsWith("http")) navigator.serviceWorker.register("offline.js").catch(() => {});
