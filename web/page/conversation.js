// The conversation: turns with one answer, or with those of the base model and of an adapter side by side.

import { AnyLoraError } from "./anylora/index.js";
import { announce, byId, element } from "./dom.js";
import { alertError } from "./problems.js";
import { sampling, system } from "./settings.js";

/** Pixels from the end within which the view follows an answer. */
const FOLLOW = 200;

export class Conversation {
  /** Gives the model, and the adapter in use: `{name, scale}`, name null for the base model. */
  #model;
  #adapter;
  #onAnswer;
  /** `{prompt, item, answers}`; answers by lane: `main`, and `base` where two answer. */
  #turns = [];
  #abort = null;

  constructor({ model, adapter, onAnswer }) {
    this.#model = model;
    this.#adapter = adapter;
    this.#onAnswer = onAnswer;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    const prompt = byId("prompt");
    prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#send();
      }
    });
    byId("stop").addEventListener("click", () => this.stop());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.stop();
      }
    });
    byId("new-chat").addEventListener("click", () => this.clear());
    byId("compare").addEventListener("click", ({ currentTarget: button }) => {
      const pressed = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", pressed);
    });
  }

  get isAnswering() {
    return this.#abort !== null;
  }

  stop() {
    this.#abort?.abort();
  }

  clear() {
    this.stop();
    this.#turns = [];
    byId("turns").replaceChildren();
    byId("empty").hidden = false;
    byId("prompt").focus();
  }

  #send() {
    const prompt = byId("prompt").value.trim();
    if (!prompt || this.isAnswering || !this.#model()) {
      return;
    }
    byId("prompt").value = "";
    byId("empty").hidden = true;
    const answers = element("div", { class: "answers" });
    const item = element(
      "li",
      { class: "turn" },
      element("div", { class: "user" }, element("p", { text: prompt })),
      answers,
    );
    item.firstChild.prepend(element("h3", { class: "unseen", text: "You" }));
    byId("turns").append(item);
    const turn = { prompt, item, answers: {} };
    this.#turns.push(turn);
    this.#answer(turn);
  }

  #regenerate() {
    const turn = this.#turns.at(-1);
    if (turn && !this.isAnswering && this.#model()) {
      this.#answer(turn);
    }
  }

  /** Who answers: one of them, or the base model and the adapter. */
  #lanes() {
    const adapter = this.#adapter();
    const both = byId("compare").getAttribute("aria-pressed") === "true" && adapter.name !== null;
    return both ? { base: { name: null, scale: 1 }, main: adapter } : { main: adapter };
  }

  async #answer(turn) {
    const lanes = this.#lanes();
    const box = turn.item.querySelector(".answers");
    box.replaceChildren();
    box.classList.toggle("two", Object.keys(lanes).length > 1);
    byId("turns")
      .querySelectorAll(".regenerate")
      .forEach((button) => button.remove());
    turn.answers = {};
    for (const [lane, adapter] of Object.entries(lanes)) {
      turn.answers[lane] = new Answer(box, adapter);
    }
    this.#abort = new AbortController();
    this.#setBusy(true);
    announce("Answering");
    // The same draw for both, so that they differ by the adapter alone.
    const settings = sampling();
    try {
      for (const [lane, answer] of Object.entries(turn.answers)) {
        await this.#stream(turn, lane, answer, settings);
      }
      const texts = Object.values(turn.answers).map(({ text, who }) => `${who}: ${text}`);
      announce(this.#abort.signal.aborted ? "Stopped" : texts.join("\n"));
    } catch (error) {
      announce("");
      if (error.code !== "device-lost") {
        alertError(error);
      }
    } finally {
      for (const answer of Object.values(turn.answers)) {
        answer.end();
      }
      this.#abort = null;
      this.#setBusy(false);
      const again = element("button", { type: "button", class: "quiet regenerate", text: "Regenerate" });
      again.addEventListener("click", () => this.#regenerate());
      turn.item.append(again);
      this.#follow();
      this.#onAnswer();
    }
  }

  async #stream(turn, lane, answer, settings) {
    const { signal } = this.#abort;
    if (signal.aborted) {
      answer.finish("stopped");
      return;
    }
    answer.begin();
    const turns = this.#turns.slice(0, this.#turns.indexOf(turn));
    for (let left = 0; ; left += 1) {
      const generation = this.#generate(turn, turns.slice(left), lane, answer.adapter, settings);
      try {
        for await (const { text } of generation) {
          answer.add(text);
          this.#follow();
        }
        const stats = await generation.stats;
        answer.finish(stats.finish, stats, left);
        return;
      } catch (error) {
        if (error.code === "aborted") {
          answer.finish("stopped", await generation.stats.catch(() => undefined), left);
          return;
        }
        // A conversation that has grown too long loses its oldest turns.
        if (error.code !== "argument" || left >= turns.length) {
          answer.finish("failed");
          throw error;
        }
      }
    }
  }

  #generate(turn, turns, lane, { name, scale }, settings) {
    const model = this.#model();
    if (!model) {
      throw new AnyLoraError("device-lost", "the GPU was lost");
    }
    const raw = !model.info.hasChatTemplate;
    const prompt = raw ? turn.prompt : messages(turns, lane, turn.prompt);
    return model.generate(prompt, { ...settings, raw, adapter: name, scale, signal: this.#abort.signal });
  }

  #setBusy(busy) {
    byId("send").hidden = busy;
    byId("stop").hidden = !busy;
    byId("turns").setAttribute("aria-busy", busy);
    if (document.activeElement === document.body) {
      byId("prompt").focus();
    }
  }

  /** Keeps the end in view, unless the visitor has scrolled away from it. */
  #follow() {
    const scroll = byId("scroll");
    if (scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < FOLLOW) {
      scroll.scrollTop = scroll.scrollHeight;
    }
  }
}

/** What a lane has said so far, where it was silent what the other one said, and the new message. */
function messages(turns, lane, prompt) {
  const said = turns.flatMap(({ prompt, answers }) => {
    const { text } = answers[lane] ?? answers.main;
    // A turn that failed or was stopped before the first word was none.
    return text
      ? [
          { role: "user", content: prompt },
          { role: "assistant", content: text },
        ]
      : [];
  });
  return [...system(), ...said, { role: "user", content: prompt }];
}

/** One answer on the page. */
class Answer {
  text = "";

  constructor(box, adapter) {
    this.adapter = adapter;
    this.who = adapter.name === null ? "Base model" : adapter.name;
    const scale = adapter.name !== null && adapter.scale !== 1 ? ` × ${adapter.scale.toFixed(2)}` : "";
    this.body = element("p", { class: "text" });
    this.footer = element("p", { class: "footer", text: "Waiting" });
    this.element = element(
      "article",
      { class: "answer", "aria-label": `Answer of ${this.who}` },
      element("h3", { text: this.who + scale }),
      this.body,
      this.footer,
    );
    box.append(this.element);
  }

  begin() {
    this.element.classList.add("running");
    this.footer.textContent = "Reading";
  }

  add(text) {
    this.text += text;
    this.body.append(text);
    this.footer.textContent = "Writing";
  }

  /** `how` it ended; `left`: so many turns were left out of what the model read. */
  finish(how, stats, left = 0) {
    this.element.classList.remove("running");
    const parts = [];
    if (stats) {
      parts.push(`${stats.tokens} tokens`);
      if (stats.tokensPerSecond > 0) {
        parts.push(`${stats.tokensPerSecond.toFixed(1)} tokens/s`);
      }
      parts.push(`first after ${(stats.prefillMs / 1000).toFixed(stats.prefillMs < 1000 ? 2 : 1)} s`);
    }
    const ends = { length: "cut at the longest answer", stopped: "stopped", failed: "failed", aborted: "stopped" };
    if (ends[how]) {
      parts.push(ends[how]);
    }
    if (left > 0) {
      parts.push(`without the first ${left} of the conversation's turns`);
    }
    this.footer.textContent = parts.join(" · ");
    const copy = element("button", {
      type: "button",
      class: "quiet copy",
      text: "Copy",
      "aria-label": `Copy the answer of ${this.who}`,
    });
    copy.addEventListener("click", () => {
      navigator.clipboard?.writeText(this.text).then(() => {
        copy.textContent = "Copied";
      });
    });
    if (this.text) {
      this.footer.append(" ", copy);
    }
  }

  /** An answer that an error kept from beginning. */
  end() {
    this.element.classList.remove("running");
    if (["Waiting", "Reading", "Writing"].includes(this.footer.textContent)) {
      this.footer.textContent = "no answer";
    }
  }
}
