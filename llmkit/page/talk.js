// The conversation: asks, shows what comes, and lets nothing happen that nobody agreed to.

import { card } from "./card.js";
import { byId, el, say } from "./dom.js";

const NOTHING_RAN = "All right, I have not run that.";
const CUT = "The answer became too long and was cut off, so nothing of it can be run. Please ask for less at once.";

export class Talk {
  #server; #machine; #options;
  #messages = []; // as the model is sent them
  #open = null; // the card that waits for a decision
  #busy = null; // an AbortController while something runs
  #log = byId("log");
  #field = byId("message");

  constructor(server, machine, options) {
    this.#server = server;
    this.#machine = machine;
    this.#options = options;
    byId("composer").addEventListener("submit", (event) => { event.preventDefault(); this.#submit(); });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    byId("stop").addEventListener("click", () => this.#busy?.abort(new Error("stopped")));
    byId("again").addEventListener("click", () => this.begin("The conversation begins anew; the machine stays as it is."));
    let end = true; // the newest is in sight, and stays so when there is less room
    this.#log.addEventListener("scroll", () => {
      end = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 40;
    });
    new ResizeObserver(() => { if (end) this.#follow(); }).observe(this.#log);
    machine.addEventListener("taken", (event) => this.begin(`The machine: ${event.detail}.`));
  }

  begin(note) {
    this.#busy?.abort(new Error("stopped"));
    this.#now(null);
    this.#messages = [];
    this.#open = null;
    this.#log.replaceChildren(el("li", { class: "note" }, note),
      el("li", { class: "note" }, "Say in your own words what you want done on it. A command that is proposed is " +
        "shown with what it would do, and happens only when you apply it, on a machine that is made up."));
    say(note);
  }

  #submit() {
    const text = this.#field.value.trim();
    if (!text || this.#busy || !this.#machine.state) return;
    this.#field.value = "";
    this.#decline();
    this.#add("you", "You", el("p", { class: "text" }, text));
    const own = text.startsWith("$") ? text.slice(1).trim() : "";
    this.#during((signal) => (own ? this.#propose(own, own, signal) : this.#ask(text, signal)), text);
  }

  #now(busy) {
    this.#busy = busy;
    this.#machine.busy = busy !== null;
    byId("send").disabled = busy !== null;
    byId("stop").hidden = busy === null;
  }

  // Run one thing at a time; what goes wrong is said, and what was typed can be sent again.
  async #during(act, text) {
    const busy = new AbortController();
    this.#now(busy);
    try {
      await act(busy.signal);
    } catch (error) {
      if (this.#busy === busy) this.#failed(busy.signal.aborted ? "Stopped." : error.message, text);
    } finally {
      if (this.#busy === busy) this.#now(null);
    }
  }

  #failed(message, text) {
    for (const left of this.#log.querySelectorAll(".waiting")) left.remove();
    const again = el("button", { type: "button", on: { click: () => {
      if (this.#busy) return;
      entry.remove();
      this.#field.value = text;
      this.#submit();
    } } }, "Send again");
    const entry = this.#add("problem", "Problem", el("p", { class: "text" }, message), el("div", { class: "row" }, again));
    say(message);
  }

  async #ask(text, signal) {
    const shown = el("p", { class: "text" });
    const entry = this.#add("model waiting", "Assistant", shown, el("span", { class: "dots", "aria-hidden": "true" }, "…"));
    const turns = this.#messages.slice(-this.#options.history);
    while (turns.length && turns[0].role !== "user") turns.shift();
    const asked = (history) => this.#server.ask("generate", {
      messages: [...history, { role: "user", content: text }],
      system_context: this.#machine.context,
      max_tokens: this.#options.max_tokens,
      temperature: this.#options.temperature,
    }, { signal, onText: (so) => { shown.textContent = so; this.#follow(); } });
    let answer;
    try {
      answer = await asked(turns);
    } catch (error) {
      if (error.status !== 400 || turns.length < 2) throw error;
      answer = await asked(turns.slice(Math.floor(turns.length / 4) * 2 + 2)); // too long, perhaps
    }
    entry.classList.remove("waiting");
    entry.querySelector(".dots").remove();
    if (answer.thinking) {
      entry.insertBefore(el("details", { class: "thinking" }, el("summary", {}, "Reasoning"),
        el("p", { class: "text" }, String(answer.thinking))), shown);
    }
    if (answer.type === "text") {
      let said = String(answer.response ?? "").trim();
      if (answer.finish_reason === "length" && (!said || said.startsWith("$"))) said = CUT;
      shown.textContent = said || "(an empty answer)";
      this.#keep(text, said || "…");
      say(`Answer: ${said}`);
      this.#follow();
      return;
    }
    const command = answer.arguments?.command;
    if (typeof command !== "string" || !command.trim()) {
      shown.textContent = `The model called ${answer.tool_name}, which this page cannot do.`;
      this.#keep(text, shown.textContent);
      return;
    }
    shown.remove();
    await this.#propose(command.trim(), text, signal, entry);
  }

  #keep(asked, answered) {
    this.#messages.push({ role: "user", content: asked }, { role: "assistant", content: answered });
  }

  async #propose(command, text, signal, entry = null) {
    const place = entry ?? this.#add("own", "Your command");
    const check = await this.#server.ask("domain/check", { state: this.#machine.state, command }, { signal });
    const before = this.#messages.length;
    const shown = card(command, check, {
      apply: () => this.#apply(command, shown, before),
      edit: () => { this.#field.value = `$ ${command}`; this.#field.focus(); },
      cancel: () => { this.#decline(); this.#field.focus(); },
    });
    place.append(shown.node);
    this.#keep(text, shown.refused ? check.reason : NOTHING_RAN);
    if (!shown.refused) this.#open = shown;
    say(`${shown.refused ? "Refused" : "Proposed"}: ${command}. ${check.reason}`);
    this.#follow();
  }

  #decline() {
    this.#open?.close("Not applied.");
    this.#open = null;
  }

  #apply(command, shown, before) {
    if (this.#open !== shown || this.#busy) { shown.reset(); return; }
    this.#during(async (signal) => {
      let found;
      try {
        found = await this.#server.ask("domain/apply", { state: this.#machine.state, command }, { signal });
        if (!found.applied) {
          this.#settle(shown, before, found.reason, `Refused: ${found.reason}`, true);
          return;
        }
        const changed = await this.#machine.become(found.state, command, (back) => this.#takenBack(command, before, back));
        const failed = Boolean(found.status);
        const content = failed ? `$ ${command}\n\n${found.error ?? ""}` : `$ ${command}`;
        const word = failed ? `It failed: ${found.error ?? `status ${found.status}`}` : "Applied.";
        this.#settle(shown, before, content, word, failed, changed, found);
      } catch (error) {
        shown.reset();
        throw error;
      }
    }, `$ ${command}`);
  }

  #settle(shown, before, content, word, failed, changed = [], found = {}) {
    this.#messages[before + 1] = { role: "assistant", content };
    this.#open = null;
    shown.close(word, failed);
    if (found.stdout) shown.node.append(el("pre", { class: "output", tabindex: "0", "aria-label": "Output" }, found.stdout.slice(0, 20000)));
    if (changed.length) {
      shown.node.append(el("ul", { class: "changes", "aria-label": "Changed on the machine" },
        ...changed.map((line) => el("li", {}, line))));
    } else if (!failed) {
      shown.node.append(el("p", { class: "end" }, "The picture stays as it was."));
    }
    if (found.unmodelled?.length) {
      shown.node.append(el("p", { class: "end" }, `Taken to change nothing: ${found.unmodelled.join(", ")}`));
    }
    say([word, ...changed].join(" "));
    this.#follow();
    this.#field.focus({ preventScroll: true });
  }

  #takenBack(command, before, changed) {
    this.#decline();
    this.#messages.length = Math.min(this.#messages.length, before);
    const note = `Taken back: ${command}`;
    this.#log.append(el("li", { class: "note" }, note));
    say([note, ...changed].join(" "));
    this.#follow();
  }

  #add(kind, who, ...children) {
    const entry = el("li", { class: kind }, el("span", { class: "who" }, who), ...children);
    this.#log.append(entry);
    this.#follow();
    return entry;
  }

  #follow() {
    this.#log.scrollTop = this.#log.scrollHeight;
  }
}
