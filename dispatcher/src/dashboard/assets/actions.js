// To approve, to try again and to stop: only with the token, which is asked for once and kept in this page's memory alone.

import { el, say } from "./words.js";

let token = null;

export class Actions {
  constructor(view) {
    this.view = view;
    this.mayAct = false;
    this.approval = el("button", { type: "button", onclick: () => this.approve() });
    this.again = el("button", { type: "button", onclick: () => this.retry([]) }, "Try failed again");
    this.stop = el("button", { type: "button", class: "careful", onclick: () => this.cancel() }, "Cancel job");
    this.note = el("small", { hidden: true }, "only shows: start it with --token-file to act from here");
    this.done = el("span", { role: "status", tabindex: "-1" });
    this.element = el("div", { class: "actions" }, this.done, this.approval, this.again, this.stop, this.note);
    this.learn();
  }

  async learn() {
    try {
      this.mayAct = (await (await fetch("api/jobs")).json()).may_act === true;
    } catch {
      this.mayAct = false;
    }
    this.note.hidden = this.mayAct;
    if (this.view.job.status) this.draw(this.view.job.status);
  }

  draw(status) {
    const held = document.activeElement;
    const wrong = Object.values(status.phases).some((phase) => phase.failed + phase.cancelled > 0);
    this.ring = status.approvals?.waits ?? null;
    this.approval.hidden = !this.mayAct || this.ring === null;
    say(this.approval, `Approve ring ${this.ring}`);
    this.again.hidden = !this.mayAct || !wrong || !status.planned;
    this.stop.hidden = !this.mayAct || status.state !== "running" || status.detail === "cancelling";
    // A button that goes does not take the keys' place on the page with it.
    if (held?.hidden && this.element.contains(held)) this.done.focus();
  }

  approve() {
    const { ring } = this;
    this.ask(`Approve ring ${ring}`, "All rings before it have succeeded; its copies begin at once.", "Approve", async () => {
      await this.send("approve", { ring });
      say(this.done, `ring ${ring} is approved`);
    });
  }

  retry(targets) {
    const what = targets.length === 1 ? "this target" : "all that failed or was cancelled";
    this.ask("Try again", `Does ${what} again; what is done stays done.`, "Try again", async () => {
      const { operations } = await this.send("retry", { targets });
      say(this.done, `${operations} operations are tried again`);
    });
  }

  cancel() {
    this.ask("Cancel this job", "What has not begun never will; what runs stops at its next checkpoint; what is done stays done.",
      "Cancel the job", async () => {
        await this.send("cancel", {});
        say(this.done, "it stops");
      });
  }

  async send(deed, body) {
    const answer = await fetch(`api/jobs/${encodeURIComponent(this.view.id)}/${deed}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) return said;
    if (answer.status === 401) token = null;
    throw new Error([said.error ?? answer.statusText, said.hint].filter(Boolean).join(": "));
  }

  // Asks whether it is meant, and for the token where it is not known yet.
  ask(title, text, yes, deed) {
    const dialog = document.getElementById("ask");
    const part = (name) => document.getElementById(`ask-${name}`);
    say(part("title"), title);
    say(part("text"), text);
    say(part("yes"), yes);
    say(part("error"), "");
    part("token").value = "";
    part("token-row").hidden = token !== null;
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      token ??= part("token").value.trim();
      try {
        await deed();
        dialog.close();
      } catch (error) {
        part("token-row").hidden = token !== null;
        say(part("error"), error.message);
      }
    };
    dialog.showModal();
  }
}

// Buttons that close the dialog that they are in.
export function closeDialogs() {
  for (const button of document.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
}
