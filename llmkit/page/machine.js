// The machine: chosen or pasted, drawn as bars, and what changed marked. It is the server's word for
// it that is drawn; nothing here knows what a disk is.

import { byId, el, svg } from "./dom.js";

const KINDS = new Set(["free", "plain", "filled", "used", "root", "boot", "swap", "locked"]);
const HEIGHT = 46, LEAST = 9, GAP = 2, CHARACTER = 7.4; // pixels

const kind = (name) => `k-${KINDS.has(name) ? name : "plain"}`;

export class Machine extends EventTarget {
  state = null;
  context = "";
  busy = false; // a command is on its way: nothing is taken back meanwhile
  #server;
  #taken = 0; // machines so far
  #picture = null;
  #changed = new Set();
  #earlier = []; // what `undo` goes back to

  constructor(server) {
    super();
    this.#server = server;
    byId("use-preset").addEventListener("click", () => this.#preset());
    byId("use-pasted").addEventListener("click", () => this.#pasted());
    byId("undo").addEventListener("click", () => this.undo());
    const fold = byId("fold"), body = byId("machine-body");
    fold.addEventListener("click", () => {
      body.hidden = !body.hidden;
      fold.setAttribute("aria-expanded", String(!body.hidden));
      fold.textContent = body.hidden ? "Show" : "Hide";
    });
    let width = 0;
    new ResizeObserver(([entry]) => {
      const now = Math.round(entry.contentRect.width);
      if (now !== width) { width = now; this.#draw(); }
    }).observe(byId("picture"));
  }

  // The machines to choose from.
  offer(presets) {
    this.presets = presets;
    byId("preset").replaceChildren(
      ...presets.map((preset, place) => el("option", { value: place }, preset.name)));
  }

  // The first of those.
  async begin() {
    const [first] = this.presets;
    if (first) await this.take(first.state, first.name);
    else byId("choose").open = true;
  }

  // What a reload needs, and back from it.
  kept() {
    return { state: this.state, earlier: this.#earlier };
  }

  async restore({ state, earlier }) {
    const found = await this.#server.ask("page/show", { state });
    this.#taken += 1;
    this.#earlier = earlier;
    this.#picture = null;
    this.#set(found);
  }

  // Another machine; the conversation about the last one is over.
  async take(state, name) {
    const found = await this.#server.ask("page/show", { state });
    this.#taken += 1;
    this.#earlier = [];
    this.#picture = null;
    this.#set(found);
    this.dispatchEvent(new CustomEvent("taken", { detail: name }));
  }

  // The machine after `command`, which was proposed behind `before` messages. Gives what changed, in words.
  async become(state, command, before) {
    const taken = this.#taken;
    const found = await this.#server.ask("page/show", { state });
    if (taken !== this.#taken) throw new Error("Another machine was chosen meanwhile.");
    this.#earlier.push({ state: this.state, context: this.context, picture: this.#picture, command, before });
    const changed = this.#set(found);
    byId("picture").querySelector(".part.changed")?.closest("figure").scrollIntoView({ block: "nearest" });
    return changed;
  }

  undo() {
    const last = this.busy ? null : this.#earlier.pop();
    if (!last) return;
    const changed = this.#set({ state: last.state, system_context: last.context, picture: last.picture });
    this.dispatchEvent(new CustomEvent("back", { detail: { ...last, changed } }));
  }

  #set({ state, system_context: context, picture }) {
    const before = this.#picture;
    this.state = state;
    this.context = context;
    this.#picture = picture;
    this.#changed = before ? difference(before, picture) : new Set();
    byId("undo").disabled = this.#earlier.length === 0;
    byId("context").textContent = context;
    this.#draw();
    return [...this.#changed].map((id) => id.split("\n")[0]);
  }

  async #preset() {
    const chosen = this.presets[byId("preset").selectedIndex];
    if (chosen) await this.#try(() => this.take(chosen.state, chosen.name));
  }

  async #pasted() {
    const text = byId("pasted").value.trim();
    await this.#try(async () => {
      if (!text) throw new Error("There is nothing to use yet.");
      let state = text;
      if (text.startsWith("{")) {
        try { state = JSON.parse(text); } catch { throw new Error("This begins as JSON does, and is none."); }
      }
      await this.take(state, "pasted");
    });
  }

  async #try(act) {
    const place = byId("machine-error");
    place.textContent = "";
    try {
      await act();
      byId("choose").open = false;
    } catch (error) {
      place.textContent = error.message;
      byId("choose").open = true;
    }
  }

  #draw() {
    if (!this.#picture) return;
    const { bars, facts, tables } = this.#picture, changed = this.#changed;
    byId("picture").replaceChildren(...bars.map((bar) => figure(bar, changed, byId("picture").clientWidth)));
    byId("facts").replaceChildren(...facts.map(([name, value]) =>
      el("div", { class: changed.has(`${name}: ${value}`) ? "changed" : null },
        el("dt", {}, name), el("dd", {}, value))));
    byId("tables").replaceChildren(...tables.map((table) => tableOf(table, changed)));
  }
}

// What is new in a picture, or other than before.
function difference(before, after) {
  const known = new Set(before.bars.flatMap((bar) => [barKey(bar), ...bar.parts.map(partKey)]));
  const changed = new Set();
  for (const bar of after.bars) {
    if (!known.has(barKey(bar))) changed.add(barKey(bar));
    for (const part of bar.parts) if (!known.has(partKey(part)) && part.kind !== "free") changed.add(partKey(part));
  }
  const facts = new Set(before.facts.map((fact) => fact.join(": ")));
  for (const fact of after.facts) if (!facts.has(fact.join(": "))) changed.add(fact.join(": "));
  const rows = new Set(before.tables.flatMap((table) => table.rows.map((row) => rowKey(table, row))));
  for (const table of after.tables) {
    for (const row of table.rows) if (!rows.has(rowKey(table, row))) changed.add(rowKey(table, row));
  }
  return changed;
}

const barKey = (bar) => `${bar.title}: ${bar.text}\n${bar.id}`;
const rowKey = (table, row) => `${table.title}: ${row.join(", ")}`;
const words = (part) => `${part.title}: ${part.text}${part.place ? ` (${part.place})` : ""}`;
const partKey = (part) =>
  `${words(part)}\n${part.id} ${part.kind} ${part.size}`;

function figure(bar, changed, width) {
  const parts = bar.parts.length ? bar.parts : [{ id: "", title: "empty", size: bar.size, kind: "free", text: "", place: "" }];
  const rows = bar.parts.map((part) => {
    const marked = changed.has(partKey(part));
    return el("li", { class: marked ? "changed" : null },
      svg("svg", { class: "swatch", viewBox: "0 0 12 12", "aria-hidden": "true" },
        svg("rect", { class: kind(part.kind), x: 1, y: 1, width: 10, height: 10, rx: 2 })),
      el("b", {}, part.title), el("span", {}, part.text),
      part.place ? el("span", { class: "place" }, part.place) : null,
      marked ? el("em", {}, "changed") : null);
  });
  return el("figure", { class: changed.has(barKey(bar)) ? "changed" : null },
    el("figcaption", {}, el("b", {}, bar.title), " ", el("span", {}, bar.text)),
    drawing(bar, parts, changed, Math.max(120, width)),
    bar.parts.some((part) => part.kind !== "free") ? el("ul", { "aria-label": `Parts of ${bar.title}` }, ...rows) : null);
}

// Lengths are in proportion, but every part can be seen.
function drawing(bar, parts, changed, width) {
  const all = parts.reduce((sum, part) => sum + part.size, 0) || 1;
  const room = width - GAP * (parts.length - 1);
  const least = Math.min(LEAST, room / parts.length);
  const spare = room - least * parts.length;
  let x = 0;
  const drawn = parts.map((part) => {
    const wide = least + (spare * part.size) / all;
    const group = svg("g", { class: changed.has(partKey(part)) ? "part changed" : "part" },
      svg("title", {}, words(part)),
      svg("rect", { class: kind(part.kind), x: x + 0.75, y: 1, width: Math.max(1, wide - 1.5), height: HEIGHT - 2, rx: 4 }));
    const lines = part.place ? [part.title, part.place] : [part.title];
    lines.forEach((line, place) => {
      if (line.length * CHARACTER + 10 > wide) return;
      const y = lines.length === 1 ? HEIGHT / 2 + 4 : 19 + 17 * place;
      group.append(svg("text", { x: x + wide / 2, y, "text-anchor": "middle" }, line));
    });
    x += wide + GAP;
    return group;
  });
  const told = parts.map(words).join("; ");
  return svg("svg", { class: "disk", role: "img", "aria-label": `${bar.title}: ${told}`,
    viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT }, ...drawn);
}

function tableOf(table, changed) {
  if (!table.rows.length) return el("p", { class: "none" }, `${table.title}: none`);
  const rows = table.rows.map((row) => el("tr", { class: changed.has(rowKey(table, row)) ? "changed" : null },
    ...row.map((cell) => el("td", {}, cell))));
  return el("table", {}, el("caption", {}, table.title),
    el("thead", {}, el("tr", {}, ...table.head.map((cell) => el("th", { scope: "col" }, cell)))),
    el("tbody", {}, ...rows));
}
