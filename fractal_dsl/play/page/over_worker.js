"use strict";
// Carries the questions of the page to Python in the browser. One is answered at a time; one that takes too long ends
// the worker, and a new one begins.
const transport = (() => {
  const LIMIT = 30000, RESOLUTION = 150 / 72, LARGEST = 8000;
  const busy = document.getElementById("busy"), compiling = busy.textContent;
  let worker = null, ready = false, running = null, waiting = [], timer = 0;
  const aborted = () => new DOMException("superseded", "AbortError");

  function start() {
    ready = false;
    worker = new Worker("page/worker.js", {type: "module"});
    worker.onmessage = ({data: {progress, answer, failed}}) => {
      if (progress !== undefined) {
        ready = progress === "";
        busy.textContent = progress || compiling;
        if (progress) busy.classList.add("on");
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

  // --- pictures as files: the browser paints the SVG
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
    return {canvas, width: width * 0.75, height: height * 0.75};  // in points
  }
  const bytesOf = async (canvas, type) => new Uint8Array(await (await canvas.convertToBlob({type, quality: 0.95})).arrayBuffer());
  /** A PDF with one page that is filled by an image. */
  async function pdf({canvas, width, height}) {
    const jpeg = await bytesOf(canvas, "image/jpeg"), encoder = new TextEncoder(), parts = [], places = [];
    let size = 0;
    const write = part => {
      const bytes = typeof part === "string" ? encoder.encode(part) : part;
      parts.push(bytes);
      size += bytes.length;
    };
    const object = (head, stream = null) => {
      places.push(size);
      write(`${places.length} 0 obj\n${stream ? head.replace(">>", `/Length ${stream.length}>>`) : head}\n`);
      if (stream) [`stream\n`, stream, `\nendstream\n`].forEach(write);
      write("endobj\n");
    };
    write("%PDF-1.4\n");
    object("<</Type/Catalog/Pages 2 0 R>>");
    object("<</Type/Pages/Kids[3 0 R]/Count 1>>");
    object(`<</Type/Page/Parent 2 0 R/MediaBox[0 0 ${width} ${height}]/Contents 4 0 R/Resources<</XObject<</P 5 0 R>>>>>>`);
    object("<<>>", encoder.encode(`${width} 0 0 ${height} 0 0 cm /P Do`));
    object(`<</Type/XObject/Subtype/Image/Width ${canvas.width}/Height ${canvas.height}/ColorSpace/DeviceRGB/BitsPerComponent 8` +
           "/Filter/DCTDecode>>", jpeg);
    const begin = size, row = place => `${String(place).padStart(10, "0")} 00000 n \n`;
    write(`xref\n0 6\n0000000000 65535 f \n${places.map(row).join("")}trailer\n<</Size 6/Root 1 0 R>>\nstartxref\n${begin}\n%%EOF\n`);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }
  const base64 = bytes => {
    let binary = "";
    for (const byte of bytes) binary += String.fromCharCode(byte);
    return btoa(binary);
  };
  async function exported(question, signal) {
    const drawn = await answered("export", {...question, format: "svg", light: true}, signal);
    if (drawn.error) return drawn;
    const picture = await painted(new TextDecoder().decode(Uint8Array.from(atob(drawn.data), c => c.charCodeAt(0))));
    const [type, bytes] = question.format === "png" ? ["image/png", await bytesOf(picture.canvas, "image/png")]
                                                    : ["application/pdf", await pdf(picture)];
    return {name: drawn.name.replace(/svg$/, question.format), type, data: base64(bytes)};
  }

  start();
  return {
    gone: "Python in this page does not answer. Reload the page; what you have typed is still here to be copied.",
    linked: "",
    ask: (kind, question, signal) => kind === "export" && question.format !== "svg" ? exported(question, signal)
                                                                                    : answered(kind, question, signal),
  };
})();
if ("serviceWorker" in navigator && location.protocol.startsWith("http")) navigator.serviceWorker.register("offline.js").catch(() => {});
