// The card form: the provider's Payment Element, mounted with the client secret that the page carries.
"use strict";

(() => {
  const form = document.getElementById("payment");
  const button = form.querySelector("button");
  const label = form.querySelector("[data-label]");
  const problem = document.getElementById("payment-problem");
  const payText = label.textContent;
  let expired = false;
  let busy = false;

  const show = (text, title = form.dataset.declinedTitle) => {
    problem.querySelector("[data-problem-title]").textContent = title;
    problem.querySelector("[data-problem]").textContent = text;
    problem.hidden = false;
    problem.focus();
  };
  const working = (yes) => {
    busy = yes;
    button.disabled = yes;
    label.textContent = yes ? form.dataset.working : payText;
  };

  document.addEventListener("time-over", (event) => {
    expired = true;
    // A payment under way is never torn off: the return page tells how it ended.
    if (!busy) window.location.assign(event.target.dataset.expiredUrl);
  });

  const missing = () => {
    document.getElementById("payment-element").hidden = true;
    show(form.dataset.unreachable, form.dataset.unreachableTitle);
  };

  if (typeof window.Stripe !== "function") {
    missing();
    return;
  }
  const style = getComputedStyle(document.documentElement);
  const token = (name) => style.getPropertyValue(name).trim();
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const stripe = window.Stripe(form.dataset.key, { locale: form.dataset.locale });
  const elements = stripe.elements({
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
  element.on("ready", () => { button.disabled = false; });
  element.on("loaderror", missing);
  element.mount("#payment-element");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    working(true);
    problem.hidden = true;
    try {
      const { error } = await stripe.confirmPayment({ elements, confirmParams: { return_url: form.dataset.returnUrl } });
      if (!error) return; // the browser is on its way to the return page
      working(false);
      if (error.payment_intent && ["succeeded", "processing"].includes(error.payment_intent.status)) {
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
})();
