// Puts the page together: the server's health as a line and a banner, the key, machine and talk.

import { Server } from "./api.js";
import { byId, el, say } from "./dom.js";
import { load } from "./keep.js";
import { Machine } from "./machine.js";
import { Talk } from "./talk.js";

const WORDS = {
  ok: "ready", loading: "loading the model", restarting: "restarting", stopping: "shutting down",
  gone: "not there",
};
const BANNERS = {
  loading: "The server loads its model. What you send waits for it.",
  restarting: "The model restarts. What you send waits for it.",
  stopping: "The server shuts down. What you send waits until it is back.",
  gone: "The server does not answer. What you sent waits, and the machine is kept here.",
};

const server = new Server();
const machine = new Machine(server);
const banner = byId("banner"), count = el("span", { "aria-hidden": "true" });
let counting = 0;

server.addEventListener("status", (event) => {
  byId("status").textContent = WORDS[server.status] ?? server.status;
  byId("status").dataset.status = server.status in WORDS ? server.status : "gone";
  clearInterval(counting);
  if (server.status === "ok") {
    banner.hidden = event.detail === "";
    banner.className = "back";
    banner.textContent = "The server is back.";
    setTimeout(() => { if (server.status === "ok") banner.hidden = true; }, 4000);
    return;
  }
  banner.className = "away";
  banner.hidden = false;
  const again = el("button", { type: "button", on: { click: () => server.look() } }, "Try now");
  banner.replaceChildren(el("span", {}, BANNERS[server.status] ?? BANNERS.gone), count, again);
  counting = setInterval(tick, 500);
  tick();
});
server.addEventListener("looked", () => { byId("model").textContent = server.model; });

function tick() {
  const left = Math.max(0, Math.ceil((server.next - Date.now()) / 1000));
  count.textContent = left ? `Next try in ${left} s.` : "Trying …";
}

server.addEventListener("keyless", () => {
  const form = byId("ask-key");
  if (form.hidden) {
    form.hidden = false;
    byId("key").focus();
    say("This server needs a key.");
  }
});
byId("ask-key").addEventListener("submit", (event) => {
  event.preventDefault();
  byId("ask-key").hidden = true;
  server.useKey(byId("key").value.trim());
  byId("key").value = "";
});

server.look();
try {
  const found = await server.ask("page/begin", null);
  const talk = new Talk(server, machine, found);
  machine.offer(found.presets);
  const kept = load();
  if (!kept || !(await talk.restore(kept))) await machine.begin();
  document.documentElement.dataset.ready = "yes";
} catch (error) {
  byId("machine-error").textContent = error.message;
  byId("choose").open = true;
}
