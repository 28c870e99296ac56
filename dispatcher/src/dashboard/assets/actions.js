// Approve, retry and cancel: only with the token, which is asked for once and kept in the memory of this page only.

import { el, say } from "./words.js";

let token = null;

export class Actions {
  constructor(view) {
    this.view = view;
    this.mayAct = false;
    this.approval = el("button", { type: "button", onclick: () => this.approve() });
    this.again = el("button", { type: "button", onclick: () => this.retry([]) }, "Retry failed");
    this.stop = el("button", { type: "button", class: "careful", onclick: () => this.cancel() }, "Cancel job");
    this.note = el("small", { hidden: true }, "read-only: start the dashboard with --token-file to approve, retry and cancel here");
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
    this.ask(`Approve ring ${ring}`, "All earlier rings have succeeded; this ring starts at once.", "Approve", async () => {
      await this.send("approve", { ring });
      say(this.done, `ring ${ring} is approved`);
    });
  }

  retry(targets) {
    const what = targets.length === 1 ? "this target" : "everything that failed or was cancelled";
    this.ask("Retry", `Retries ${what}; what has succeeded stays.`, "Retry", async () => {
      const { operations } = await this.send("retry", { targets });
      say(this.done, `retrying ${operations} operations`);
    });
  }

  cancel() {
    this.ask("Cancel this job", "Operations that have not started are cancelled, running ones stop at their next checkpoint, and what has succeeded stays.",
      "Cancel the job", async () => {
        await this.send("cancel", {});
        say(this.done, "cancelling");
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
