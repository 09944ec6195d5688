// The card form: a saved card is charged by the site; a new one is typed into the provider's Payment Element, mounted with the
// client secret that the page carries, to pay with it or (data-setup) only to save it. Or (data-bank) the bank's question alone.
"use strict";

(() => {
  const form = document.getElementById("payment");
  const button = form.querySelector("button");
  const label = form.querySelector("[data-label]");
  const problem = document.getElementById("payment-problem");
  const payText = label.textContent;
  const setup = "setup" in form.dataset;
  const bank = "bank" in form.dataset;
  const choices = [...form.querySelectorAll("input[name=stored]")];
  const newCard = form.querySelector("[data-new-card]");
  const keepBox = form.querySelector("input[name=keep]");
  let stripe = null;
  let elements = null;
  let usable = false;
  let expired = false;
  let busy = false;

  const typed = () => !choices.length || form.elements.stored.value === "another";
  const show = (text, title = form.dataset.declinedTitle) => {
    problem.querySelector("[data-problem-title]").textContent = title;
    problem.querySelector("[data-problem]").textContent = text;
    problem.hidden = false;
    problem.focus();
  };
  const refresh = () => { button.disabled = busy || (!bank && typed() && !usable); };
  const working = (yes) => {
    busy = yes;
    label.textContent = yes ? form.dataset.working : payText;
    refresh();
  };
  const missing = () => {
    document.getElementById("payment-element").hidden = true;
    show(form.dataset.unreachable, form.dataset.unreachableTitle);
  };

  document.addEventListener("time-over", (event) => {
    expired = true;
    // A payment under way is never torn off: the return page tells how it ended.
    if (!busy) window.location.assign(event.target.dataset.expiredUrl);
  });
  window.addEventListener("pageshow", (event) => { if (event.persisted) working(false); });

  if (typeof window.Stripe === "function") stripe = window.Stripe(form.dataset.key, { locale: form.dataset.locale });

  const mount = () => {
    if (elements) return;
    if (!stripe) { missing(); return; }
    const style = getComputedStyle(document.documentElement);
    const token = (name) => style.getPropertyValue(name).trim();
    const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
    elements = stripe.elements({
      clientSecret: form.dataset.clientSecret,
      locale: form.dataset.locale,
      appearance: {
        theme: dark ? "night" : "stripe",
        variables: {
          colorPrimary: dark ? "#ffc72c" : token("--ink"),
          colorBackground: token("--raised"),
          colorText: token("--ink"),
          colorTextSecondary: token("--soft"),
          colorDanger: token("--bad"),
          fontFamily: "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif",
          borderRadius: "10px",
          spacingUnit: "4px",
        },
      },
    });
    const element = elements.create("payment", { layout: "tabs" });
    element.on("ready", () => { usable = true; refresh(); });
    element.on("loaderror", missing);
    element.mount("#payment-element");
  };

  const choose = () => {
    if (newCard) newCard.hidden = !typed();
    if (newCard && typed()) mount();
    refresh();
  };

  // The provider must know before the card is used whether to keep it; another window may have said something else since.
  const tellWhetherToKeep = async () => {
    if (!keepBox) return true;
    const body = new FormData();
    body.set("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
    body.set("keep", keepBox.checked ? "1" : "");
    body.set("payment", form.dataset.payment);
    const answer = await fetch(form.dataset.keepUrl, { method: "POST", body }).catch(() => null);
    if (!answer || !answer.ok) return false;
    if (answer.status === 205) { // another payment took this one's place
      window.location.reload();
      return new Promise(() => {});
    }
    await elements.fetchUpdates();
    return true;
  };

  const confirm = () => {
    const options = { elements, confirmParams: { return_url: form.dataset.returnUrl } };
    return setup ? stripe.confirmSetup(options) : stripe.confirmPayment(options);
  };

  const askBank = async () => {
    working(true);
    try {
      if (stripe) await stripe.handleNextAction({ clientSecret: form.dataset.clientSecret });
    } finally {
      window.location.assign(form.dataset.returnUrl); // the return page asks the provider how it ended
    }
  };

  form.addEventListener("submit", async (event) => {
    if (busy) { event.preventDefault(); return; }
    if (!bank && !typed()) { working(true); return; } // the form itself goes to the site
    event.preventDefault();
    problem.hidden = true;
    if (bank) { await askBank(); return; }
    working(true);
    if (!(await tellWhetherToKeep())) {
      working(false);
      show(form.dataset.keepFailed);
      return;
    }
    try {
      const { error } = await confirm();
      if (!error) return; // the browser is on its way to the return page
      working(false);
      const intent = error.payment_intent || error.setup_intent;
      if (intent && ["succeeded", "processing", "canceled"].includes(intent.status)) {
        window.location.assign(form.dataset.returnUrl);
        return;
      }
      if (error.type !== "validation_error") show(error.message || form.dataset.general);
      if (expired) window.location.assign(document.querySelector("[data-countdown]").dataset.expiredUrl);
    } catch {
      // Unknown how it ended: the return page asks the provider instead of inviting a second payment.
      window.location.assign(form.dataset.returnUrl);
    }
  });

  for (const choice of choices) choice.addEventListener("change", choose);
  choose();
  if (bank && new URLSearchParams(window.location.search).has("bank")) askBank();
})();
