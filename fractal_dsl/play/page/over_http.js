"use strict";
// Carries the questions of the page to the server of `fractal-dsl play`.
const transport = {
  gone: "The server does not answer. Copy what you have typed, and start `fractal-dsl play` again.",
  linked: "; it opens while this server runs",
  async ask(kind, question, signal) {
    const body = JSON.stringify(question), headers = {"Content-Type": "application/json"};
    return (await fetch(kind, {method: "POST", headers, body, signal})).json();
  },
};
