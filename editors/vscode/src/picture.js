// The live picture: a panel beside the text, drawn anew by the server when the text has rested for a moment.
"use strict";
const vscode = require("vscode");

const RESTED = 250;

/** A page in the panel may run its own scripts, which fold and search, and may fetch nothing. */
const POLICY =
  `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; ` +
  `style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">`;

const escaped = text => text.replace(/[&<>]/g, c => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

class Picture {
  /** @param {() => import("vscode-languageclient/node").LanguageClient | undefined} client */
  constructor(client) {
    this.client = client;
    this.changes = vscode.workspace.onDidChangeTextDocument(({ document }) => {
      if (this.panel && document.uri.toString() === this.uri) this.soon();
    });
  }

  /** Show the net of an editor's text. */
  open(editor) {
    if (!editor || editor.document.languageId !== "frac") return;
    this.uri = editor.document.uri.toString();
    if (!this.panel) {
      this.panel = vscode.window.createWebviewPanel("fractalDsl.picture", "", vscode.ViewColumn.Beside, {
        enableScripts: true,
        retainContextWhenHidden: true,
        localResourceRoots: [],
      });
      this.panel.onDidDispose(() => (this.panel = undefined));
    }
    this.panel.title = `Picture of ${editor.document.uri.path.split("/").pop()}`;
    this.panel.reveal(vscode.ViewColumn.Beside, true);
    return this.draw();
  }

  soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.draw(), RESTED);
  }

  /** Draw the text as it is. The last picture stays while the text has errors. */
  async draw() {
    const client = this.client(), number = (this.number = (this.number ?? 0) + 1);
    if (!client || !this.panel) return;
    const answer = await client.sendRequest("fractal-dsl/picture", { uri: this.uri });
    if (number !== this.number || !this.panel) return;  // the text has changed meanwhile
    if (answer.page) this.panel.webview.html = answer.page.replace("<head>", `<head>${POLICY}`);
    else if (!this.panel.webview.html) this.panel.webview.html = `${POLICY}<p>${escaped(answer.error ?? "no net")}</p>`;
  }

  dispose() {
    clearTimeout(this.timer);
    this.changes.dispose();
    this.panel?.dispose();
  }
}

module.exports = { Picture };
