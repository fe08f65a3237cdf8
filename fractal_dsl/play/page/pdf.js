"use strict";
// A picture as a PDF with one page. Lines, areas and texts stay what they are, so that it is sharp at any size and can be
// searched. It reads what Graphviz writes here: paths, polygons and texts in one group.
const svgToPdf = (() => {
  const LARGEST = 14400;  // points, of a page that every reader opens
  const STENCIL = 8;  // pixels per point of a character that the font of the PDF lacks
  const FONT = "Helvetica, Arial, 'DejaVu Sans', sans-serif";
  // The characters of the font: Latin letters in the encoding of Windows, and the widths of the first 95 in 1/1000.
  const ABOVE = "€\0‚ƒ„…†‡ˆ‰Š‹Œ\0Ž\0\0‘’“”•–—˜™š›œ\0žŸ";
  const WIDTHS = [
    ...[278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556],
    ...[556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778],
    ...[667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556],
    ...[556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584],
  ];
  function codeOf(character) {
    const code = character.codePointAt(0);
    if ((code >= 32 && code < 127) || (code >= 160 && code < 256)) return code;
    const above = character === "\0" ? -1 : ABOVE.indexOf(character);
    return above < 0 ? null : 128 + above;
  }
  const canvas = (width, height) => new OffscreenCanvas(Math.max(1, Math.ceil(width)), Math.max(1, Math.ceil(height))).getContext("2d");
  const measure = canvas(1, 1);
  function widthOf(run, size) {
    measure.font = `100px ${FONT}`;
    const measured = character => WIDTHS[codeOf(character) - 32] ?? 10 * measure.measureText(character).width;
    if (codeOf(run[0]) === null) return size * measure.measureText(run).width / 100;
    return size * Array.from(run).reduce((sum, character) => sum + measured(character), 0) / 1000;
  }
  /** The parts of a text that the font has, and those that it lacks. */
  function runsOf(text) {
    const runs = [];
    for (const character of text) {
      const last = runs.at(-1);
      if (last && (codeOf(last[0]) === null) === (codeOf(character) === null)) runs[runs.length - 1] = last + character;
      else runs.push(character);
    }
    return runs;
  }

  const round = value => String(Math.round(value * 1000) / 1000);
  /** The operands of a colour; null for none. */
  function paint(colour) {
    if (!colour || colour === "none" || colour === "transparent") return null;
    measure.fillStyle = colour;
    return [1, 3, 5].map(at => round(parseInt(measure.fillStyle.slice(at, at + 2), 16) / 255)).join(" ");
  }
  /** An area or a line: what SVG writes in `d` or `points`, as operators. */
  function outline(element) {
    if (element.tagName === "polygon") {
      const points = element.getAttribute("points").trim().split(/\s+/).map(point => point.replace(",", " "));
      return `${points.map((point, i) => `${point} ${i ? "l" : "m"}`).join(" ")} h`;
    }
    const pieces = element.getAttribute("d").matchAll(/([MLCZ])([^MLCZ]*)/gi), operators = [];
    for (const [, kind, given] of pieces) {
      const numbers = given.match(/-?[\d.]+/g) ?? [], count = {M: 2, L: 2, C: 6}[kind.toUpperCase()];
      if (!count) operators.push("h");
      for (let i = 0; count && i < numbers.length; i += count)
        operators.push(`${numbers.slice(i, i + count).join(" ")} ${kind === "M" && i ? "l" : kind.toLowerCase()}`);
    }
    return operators.join(" ");
  }
  function shape(element) {
    const fill = paint(element.getAttribute("fill")), stroke = paint(element.getAttribute("stroke"));
    if (!fill && !stroke) return "";
    const dashes = (element.getAttribute("stroke-dasharray") ?? "").replaceAll(",", " ");
    const set = [fill && `${fill} rg`, stroke && `${stroke} RG`, `${element.getAttribute("stroke-width") ?? 1} w`, `[${dashes}] 0 d`];
    return `${set.filter(Boolean).join(" ")} ${outline(element)} ${fill && stroke ? "B" : fill ? "f" : "S"}`;
  }
  function text(element, stencils) {
    const [size, at, y] = ["font-size", "x", "y"].map(name => Number(element.getAttribute(name)));
    const runs = runsOf(element.textContent), widths = runs.map(run => widthOf(run, size));
    const whole = widths.reduce((sum, width) => sum + width, 0);
    let x = at - whole * ({middle: 0.5, end: 1}[element.getAttribute("text-anchor")] ?? 0);
    const colour = paint(element.getAttribute("fill") ?? "#000000");
    return !colour ? "" : runs.map((run, i) => {
      const left = round(x);
      x += widths[i];
      if (codeOf(run[0]) === null) return `${colour} rg ${stencils.place(run, size, left, y, widths[i])}`;
      const hex = Array.from(run, character => codeOf(character).toString(16).padStart(2, "0")).join("");
      return `BT ${colour} rg /F ${size} Tf 1 0 0 -1 ${left} ${y} Tm <${hex}> Tj ET`;
    }).join("\n");
  }
  /** Characters that the font lacks, as the browser paints them, each as an image of one colour. */
  class Stencils {
    images = new Map();
    place(run, size, x, y, width) {
      const key = `${run} ${size}`, height = 1.5 * size;
      if (!this.images.has(key)) this.images.set(key, {name: `S${this.images.size}`, ...this.painted(run, size, width, height)});
      return `q ${round(width)} 0 0 ${-height} ${x} ${round(y + 0.4 * size)} cm /${this.images.get(key).name} Do Q`;
    }
    painted(run, size, width, height) {
      const context = canvas(width * STENCIL, height * STENCIL), {width: columns, height: rows} = context.canvas;
      context.font = `${size * STENCIL}px ${FONT}`;
      context.fillText(run, 0, 1.1 * size * STENCIL);
      const {data} = context.getImageData(0, 0, columns, rows), row = Math.ceil(columns / 8), bytes = new Uint8Array(row * rows).fill(255);
      for (let i = 0; i < columns * rows; i += 1)
        if (data[4 * i + 3] > 127) bytes[Math.floor(i / columns) * row + ((i % columns) >> 3)] &= ~(128 >> (i % columns % 8));
      return {columns, rows, bytes};
    }
  }

  const deflated = async bytes =>
    new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer());
  /** A file of numbered objects: a dictionary each, with or without bytes. */
  async function file(objects) {
    const encoder = new TextEncoder(), parts = [], places = [];
    let size = 0;
    const write = part => {
      const bytes = typeof part === "string" ? encoder.encode(part) : part;
      parts.push(bytes);
      size += bytes.length;
    };
    write("%PDF-1.4\n");
    for (const [dictionary, stream] of objects) {
      const bytes = stream && await deflated(stream);
      places.push(size);
      write(`${places.length} 0 obj\n<<${dictionary}${bytes ? `/Filter/FlateDecode/Length ${bytes.length}` : ""}>>\n`);
      if (bytes) ["stream\n", bytes, "\nendstream\n"].forEach(write);
      write("endobj\n");
    }
    const begin = size, row = place => `${String(place).padStart(10, "0")} 00000 n \n`;
    write(`xref\n0 ${places.length + 1}\n0000000000 65535 f \n${places.map(row).join("")}`);
    write(`trailer\n<</Size ${places.length + 1}/Root 1 0 R>>\nstartxref\n${begin}\n%%EOF\n`);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  return async svg => {
    const root = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, stencils = new Stencils();
    const [, , across, down] = root.getAttribute("viewBox").split(/[\s,]+/).map(Number);
    const moved = root.querySelector("g").getAttribute("transform");
    const [scale, dx, dy] = [/scale\(([\d.]+)/, /translate\((-?[\d.]+)/, /translate\(-?[\d.]+[\s,]+(-?[\d.]+)/]
      .map(part => Number(part.exec(moved)[1]));
    const points = parseFloat(root.getAttribute("width")) / across, zoom = Math.min(points, LARGEST / Math.max(across, down));
    const [width, height] = [across, down].map(side => round(side * zoom));
    const drawn = [...root.querySelectorAll("path, polygon, text")]
      .map(element => element.tagName === "text" ? text(element, stencils) : shape(element)).filter(Boolean);
    const place = [zoom * scale, 0, 0, -zoom * scale, zoom * scale * dx, height - zoom * scale * dy].map(round).join(" ");
    const images = [...stencils.images.values()];
    const named = images.map(({name}, i) => `/${name} ${6 + i} 0 R`).join("");
    return file([
      ["/Type/Catalog/Pages 2 0 R"],
      ["/Type/Pages/Kids[3 0 R]/Count 1"],
      [`/Type/Page/Parent 2 0 R/MediaBox[0 0 ${width} ${height}]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>/XObject<<${named}>>>>`],
      ["", new TextEncoder().encode(`${place} cm\n${drawn.join("\n")}`)],
      ["/Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding"],
      ...images.map(({columns, rows, bytes}) =>
        [`/Type/XObject/Subtype/Image/ImageMask true/Width ${columns}/Height ${rows}/BitsPerComponent 1`, bytes]),
    ]);
  };
})();
