// The extension: starts the language server, and shows the live picture of the text beside it.
"use strict";
const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");
const { Picture } = require("./picture");

/** @type {LanguageClient | undefined} */
let client;

/** The client of a server that the settings name. */
function newClient() {
  const settings = vscode.workspace.getConfiguration("fractalDsl");
  const [command, ...words] = settings.get("command");
  return new LanguageClient(
    "fractalDsl",
    "Frac",
    { command, args: [...words, "lsp"] },
    {
      documentSelector: [{ scheme: "file", language: "frac" }, { scheme: "untitled", language: "frac" }],
      synchronize: { fileEvents: vscode.workspace.createFileSystemWatcher("**/*.frac") },
      initializationOptions: { allowPython: settings.get("allowPython") },
    },
  );
}

async function start() {
  client = newClient();
  try {
    await client.start();
  } catch (error) {
    const install = "pip install 'fractal_dsl[lsp]'";
    const chosen = await vscode.window.showErrorMessage(
      `The language server of Frac did not start. Install it with ${install}, or set fractalDsl.command.`,
      "Open Settings",
    );
    if (chosen) await vscode.commands.executeCommand("workbench.action.openSettings", "fractalDsl.command");
  }
}

async function restart() {
  await client?.stop().catch(() => undefined);
  await start();
}

async function activate(context) {
  const picture = new Picture(() => client);
  context.subscriptions.push(
    picture,
    vscode.commands.registerCommand("fractalDsl.preview", () => picture.open(vscode.window.activeTextEditor)),
    vscode.commands.registerCommand("fractalDsl.restart", restart),
    vscode.workspace.onDidChangeConfiguration(change => change.affectsConfiguration("fractalDsl") && restart()),
  );
  await start();
}

const deactivate = () => client?.stop();

module.exports = { activate, deactivate };
