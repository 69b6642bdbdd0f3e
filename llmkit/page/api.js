// The server: asks, streams, and a watch on whether it is there. A request that finds nobody waits
// until somebody is there again and is sent anew; nothing that is asked here changes anything there.

const LOOK = 5000; // milliseconds between looks while all is well
const LONGEST = 8000; // between looks while it is not
const SILENCE = 180000; // that a stream may say nothing
const TRIES = 4; // of one request on a server that seems well

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

class Broken extends Error {} // the connection, not the answer

const sleep = (milliseconds, signal) => new Promise((done, failed) => {
  const stop = () => { clearTimeout(timer); failed(signal.reason); };
  const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); done(); }, milliseconds);
  signal?.addEventListener("abort", stop, { once: true });
});

export class Server extends EventTarget {
  status = ""; // not known yet; then ok, loading, restarting, stopping or gone
  model = "";
  key = "";
  next = 0; // when it is looked at again
  #timer = 0;
  #wait = 1000;

  // Ask /health, now and from now on.
  async look() {
    clearTimeout(this.#timer);
    let status = "gone";
    try {
      const answer = await fetch("health", { cache: "no-store", signal: AbortSignal.timeout(6000) });
      const found = await answer.json();
      status = typeof found.status === "string" ? found.status : "gone";
      this.model = String(found.model ?? "");
    } catch { /* nobody, or no llmkit: gone */ }
    this.#set(status);
    clearTimeout(this.#timer);
    const wait = status === "ok" ? LOOK : this.#wait;
    this.#wait = status === "ok" ? 1000 : Math.min(LONGEST, this.#wait * 1.6);
    this.next = Date.now() + wait;
    this.#timer = setTimeout(() => this.look(), wait);
    this.dispatchEvent(new Event("looked"));
  }

  #set(status) {
    const before = this.status;
    this.status = status;
    if (before !== status) this.dispatchEvent(new CustomEvent("status", { detail: before }));
  }

  useKey(key) {
    this.key = key;
    this.dispatchEvent(new Event("key"));
  }

  #until(event, holds, signal) {
    return new Promise((done, failed) => {
      const end = (finish, value) => {
        this.removeEventListener(event, look);
        signal?.removeEventListener("abort", stop);
        finish(value);
      };
      const look = () => { if (holds()) end(done); };
      const stop = () => end(failed, signal.reason);
      this.addEventListener(event, look);
      signal?.addEventListener("abort", stop, { once: true });
      if (signal?.aborted) stop();
    });
  }

  // The answer's JSON. With onText a stream is asked for, and its last event is the answer; onText
  // gets the text so far, and "" when it begins anew. `brief`: what can be done without is not waited for,
  // and not asked twice. Throws Refused, or the signal's reason; Broken where it is brief.
  async ask(path, body, { signal, onText, brief = false } = {}) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#once(path, body, signal, onText);
      } catch (error) {
        signal?.throwIfAborted();
        onText?.("");
        if (brief) throw error;
        if (error instanceof Refused && error.status === 401) {
          this.dispatchEvent(new Event("keyless"));
          await this.#until("key", () => true, signal);
          tries = 0;
        } else if (error instanceof Refused && error.status === 429) {
          await sleep(1000 * Math.min(tries, 5), signal);
          if (tries > 30) throw error;
        } else if (error instanceof Broken || (error instanceof Refused && error.status === 503)) {
          if (tries >= TRIES) throw new Refused(error.message, error.status ?? 0);
          if (error instanceof Broken) this.#set("gone");
          await this.look();
          if (this.status !== "ok") {
            await this.#until("status", () => this.status === "ok", signal);
            tries = 0;
          } else {
            await sleep(500 * tries, signal);
          }
        } else {
          throw error;
        }
      }
    }
  }

  async #once(path, body, signal, onText) {
    const headers = { "Content-Type": "application/json" };
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    const stall = new AbortController();
    const signals = [stall.signal, ...(signal ? [signal] : [])];
    const sent = { headers, cache: "no-store", signal: AbortSignal.any(signals) };
    if (body !== null) {
      sent.method = "POST";
      sent.body = JSON.stringify(onText ? { ...body, stream: true } : body);
    }
    let timer = setTimeout(() => stall.abort(), SILENCE);
    try {
      const answer = await fetch(path, sent);
      if (!answer.ok) throw await refused(answer);
      if (!onText) return await answer.json();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "", text = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) throw new Broken("the answer broke off");
        clearTimeout(timer);
        timer = setTimeout(() => stall.abort(), SILENCE);
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          if (!event.startsWith("data: ")) continue;
          const data = JSON.parse(event.slice(6));
          if (typeof data.delta === "string") onText(text += data.delta);
          else if (data.success === true) return data;
          else throw new Refused(String(data.error ?? "no answer"), 0);
        }
      }
    } catch (error) {
      if (error instanceof Refused || error instanceof Broken) throw error;
      throw new Broken("the server does not answer");
    } finally {
      clearTimeout(timer);
    }
  }
}

async function refused(answer) {
  let said = "";
  try {
    const found = await answer.json();
    said = String(found.error ?? "");
  } catch { /* no JSON: the status has to do */ }
  return new Refused(said || `the server answered with status ${answer.status}`, answer.status);
}
