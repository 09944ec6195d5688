// Inside the frame: reads the card, speaks with the sandbox, tells the page only whether the form is complete.
(() => {
  "use strict";

  const words = {
    en: { number: "Card number", expiry: "Expiration date", cvc: "Security code", country: "Country", postal: "Postal code", zip: "ZIP code", hint: "Sandbox – no real money. Test cards:", incomplete_number: "Your card number is incomplete.", incorrect_number: "Your card number is invalid.", incomplete_expiry: "Your card's expiration date is incomplete.", invalid_expiry: "Your card's expiration date is in the past.", incomplete_cvc: "Your card's security code is incomplete.", incomplete_postal: "Your postal code is incomplete.", works: "Succeeds", secure: "3-D Secure", declined: "Declined", funds: "No funds" },
    de: { number: "Kartennummer", expiry: "Ablaufdatum", cvc: "Prüfziffer", country: "Land", postal: "Postleitzahl", zip: "Postleitzahl", hint: "Sandbox – kein echtes Geld. Testkarten:", incomplete_number: "Die Kartennummer ist unvollständig.", incorrect_number: "Die Kartennummer ist ungültig.", incomplete_expiry: "Das Ablaufdatum ist unvollständig.", invalid_expiry: "Das Ablaufdatum liegt in der Vergangenheit.", incomplete_cvc: "Die Prüfziffer ist unvollständig.", incomplete_postal: "Die Postleitzahl ist unvollständig.", works: "Klappt", secure: "3-D Secure", declined: "Abgelehnt", funds: "Kein Guthaben" },
    es: { number: "Número de tarjeta", expiry: "Fecha de caducidad", cvc: "Código de seguridad", country: "País", postal: "Código postal", zip: "Código postal", hint: "Sandbox: sin dinero real. Tarjetas de prueba:", incomplete_number: "El número de tarjeta está incompleto.", incorrect_number: "El número de tarjeta no es válido.", incomplete_expiry: "La fecha de caducidad está incompleta.", invalid_expiry: "La fecha de caducidad ya pasó.", incomplete_cvc: "El código de seguridad está incompleto.", incomplete_postal: "El código postal está incompleto.", works: "Correcta", secure: "3-D Secure", declined: "Rechazada", funds: "Sin fondos" },
    fr: { number: "Numéro de carte", expiry: "Date d’expiration", cvc: "Code de sécurité", country: "Pays", postal: "Code postal", zip: "Code postal", hint: "Sandbox – pas d’argent réel. Cartes de test :", incomplete_number: "Le numéro de carte est incomplet.", incorrect_number: "Le numéro de carte n’est pas valide.", incomplete_expiry: "La date d’expiration est incomplète.", invalid_expiry: "La date d’expiration est passée.", incomplete_cvc: "Le code de sécurité est incomplet.", incomplete_postal: "Le code postal est incomplet.", works: "Acceptée", secure: "3-D Secure", declined: "Refusée", funds: "Sans provision" },
  };
  const countries = "AT AU BE BG BR CA CH CN CY CZ DE DK EE ES FI FR GB GR HK HR HU IE IN IS IT JP KR KW LT LU LV MT MX NL NO NZ PL PT RO SE SG SI SK TR UA US ZA".split(" ");
  const asksPostal = new Set(["US", "GB", "CA"]);
  const brands = [["amex", /^3[47]/], ["mastercard", /^(5[1-5]|2(22[1-9]|2[3-9]|[3-6]|7[01]|720))/], ["visa", /^4/], ["discover", /^6(011|5)/], ["diners", /^3(0|6|8)/], ["jcb", /^35/], ["unionpay", /^62/]];
  const marks = { visa: "VISA", mastercard: "Mastercard", amex: "Amex", discover: "Discover", diners: "Diners", jcb: "JCB", unionpay: "UnionPay" };

  const parentOrigin = (() => {
    try {
      const given = decodeURIComponent(window.location.hash.slice(1));
      return given && new URL(given).origin === given ? given : null;
    } catch {
      return null;
    }
  })();
  const form = document.getElementById("card-form");
  const field = Object.fromEntries(["number", "expiry", "cvc", "country", "postal"].map((name) => [name, document.getElementById(name)]));
  const touched = new Set();
  let state = { key: "", texts: words.en };
  let busy = false;

  const post = (message) => {
    if (parentOrigin && window.parent !== window) window.parent.postMessage({ sandbox: "stripe", ...message }, parentOrigin);
  };
  const digits = (value) => value.replace(/\D/g, "");
  const brandOf = (number) => (brands.find(([, pattern]) => pattern.test(number)) || [""])[0];
  const luhn = (number) => [...number].reverse().reduce((sum, digit, index) => {
    const value = Number(digit) * (index % 2 ? 2 : 1);
    return sum + (value > 9 ? value - 9 : value);
  }, 0) % 10 === 0;
  const lengthOf = (brand) => ({ amex: 15, diners: 14 }[brand] || 16);

  const group = (number) => {
    if (brandOf(number) === "amex") return [number.slice(0, 4), number.slice(4, 10), number.slice(10, 15)].filter(Boolean).join(" ");
    return (number.slice(0, 19).match(/.{1,4}/g) || []).join(" ");
  };

  const keepCaret = (input, formatted) => {
    const before = digits(input.value.slice(0, input.selectionStart)).length;
    if (input.value === formatted) return;
    input.value = formatted;
    let position = 0;
    let seen = 0;
    while (position < formatted.length && seen < before) {
      if (/\d/.test(formatted[position])) seen += 1;
      position += 1;
    }
    if (document.activeElement === input) input.setSelectionRange(position, position);
  };

  const problems = () => {
    const found = {};
    const number = digits(field.number.value);
    const brand = brandOf(number);
    if (number.length < lengthOf(brand)) found.number = "incomplete_number";
    else if (!luhn(number)) found.number = "incorrect_number";
    const [month, year] = field.expiry.value.split("/").map((part) => digits(part || ""));
    if (!month || month.length < 2 || !year || year.length < 2) found.expiry = "incomplete_expiry";
    else {
      const now = new Date();
      const end = new Date(2000 + Number(year), Number(month), 1);
      if (Number(month) < 1 || Number(month) > 12 || end <= now) found.expiry = "invalid_expiry";
    }
    if (digits(field.cvc.value).length < (brand === "amex" ? 4 : 3)) found.cvc = "incomplete_cvc";
    if (!field.postal.closest(".field").hidden && field.postal.value.trim().length < 3) found.postal = "incomplete_postal";
    return found;
  };

  const show = (found) => {
    for (const name of ["number", "expiry", "cvc", "postal"]) {
      const slot = document.getElementById(`${name}-problem`);
      const wrong = found[name] && touched.has(name);
      slot.textContent = wrong ? state.texts[found[name]] || found[name] : "";
      field[name].setAttribute("aria-invalid", wrong ? "true" : "false");
    }
    tellHeight();
  };

  let last = "";
  const changed = () => {
    const found = problems();
    const complete = Object.keys(found).length === 0;
    const empty = !field.number.value && !field.expiry.value && !field.cvc.value;
    const now = `${complete}${empty}`;
    if (now !== last) {
      last = now;
      post({ type: "change", complete, empty });
    }
    show(found);
  };

  let height = 0;
  const tellHeight = () => {
    const now = Math.ceil(document.body.getBoundingClientRect().height);
    if (now !== height) {
      height = now;
      post({ type: "height", height: now });
    }
  };

  field.number.addEventListener("input", () => {
    const number = digits(field.number.value);
    const brand = brandOf(number);
    keepCaret(field.number, group(number.slice(0, Math.max(lengthOf(brand), brand === "unionpay" ? 19 : 0))));
    document.getElementById("brand").textContent = marks[brand] || "";
    field.cvc.maxLength = brand === "amex" ? 4 : 3;
    field.cvc.placeholder = brand === "amex" ? "1234" : "123";
    if (number.length === lengthOf(brand) && luhn(number) && field.number.selectionStart === field.number.value.length) {
      touched.add("number");
      if (document.activeElement === field.number) field.expiry.focus();
    }
    changed();
  });
  field.expiry.addEventListener("input", (event) => {
    let value = digits(field.expiry.value).slice(0, 4);
    if (value.length === 1 && Number(value) > 1) value = `0${value}`;
    const erasing = event.inputType && event.inputType.startsWith("delete");
    field.expiry.value = value.length > 2 || (value.length === 2 && !erasing) ? `${value.slice(0, 2)} / ${value.slice(2)}` : value;
    if (value.length === 4 && document.activeElement === field.expiry) {
      touched.add("expiry");
      field.cvc.focus();
    }
    changed();
  });
  field.cvc.addEventListener("input", () => {
    field.cvc.value = digits(field.cvc.value).slice(0, field.cvc.maxLength);
    changed();
  });
  field.postal.addEventListener("input", changed);
  field.country.addEventListener("change", () => {
    setPostal();
    changed();
  });
  for (const [name, input] of Object.entries(field)) {
    input.addEventListener("blur", () => {
      if (input.value) touched.add(name);
      changed();
    });
  }
  form.addEventListener("focusin", () => post({ type: "focus" }));
  form.addEventListener("focusout", () => post({ type: "blur" }));
  form.addEventListener("keydown", (event) => { if (event.key === "Escape") post({ type: "escape" }); });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-card]")) {
    button.addEventListener("click", () => {
      field.number.value = button.dataset.card;
      field.number.dispatchEvent(new Event("input"));
      field.expiry.value = `12 / ${button.dataset.year}`;
      field.cvc.value = "123";
      if (!field.postal.closest(".field").hidden && !field.postal.value) field.postal.value = "12345";
      for (const name of Object.keys(field)) touched.add(name);
      changed();
    });
  }

  const setPostal = () => {
    const country = field.country.value;
    const hidden = state.neverAddress || !asksPostal.has(country);
    field.postal.closest(".field").hidden = hidden;
    document.getElementById("place").classList.toggle("alone", hidden);
    document.querySelector('label[for="postal"]').textContent = country === "US" ? state.texts.zip : state.texts.postal;
    tellHeight();
  };

  const dress = (appearance) => {
    const allowed = {
      colorPrimary: "--primary", colorBackground: "--background", colorText: "--text", colorTextSecondary: "--soft", colorTextPlaceholder: "--placeholder", colorDanger: "--danger", fontFamily: "--font", borderRadius: "--radius", spacingUnit: "--unit", fontSizeBase: "--size",
    };
    document.documentElement.dataset.theme = appearance.theme === "night" ? "night" : "stripe";
    for (const [name, property] of Object.entries(allowed)) {
      const value = (appearance.variables || {})[name];
      if (typeof value === "string" && value.length < 200 && /^[\w\s#%(),.'"/+-]+$/.test(value) && !/url\s*\(/i.test(value)) document.documentElement.style.setProperty(property, value);
    }
  };

  const init = (message) => {
    const wanted = message.locale === "auto" || !message.locale ? navigator.language : message.locale;
    const language = wanted.slice(0, 2).toLowerCase();
    const texts = words[language] || words.en;
    state = { key: message.key, texts, neverAddress: ((message.fields || {}).billingDetails || {}).address === "never" || (message.fields || {}).billingDetails === "never" };
    document.documentElement.lang = words[language] ? language : "en";
    dress(message.appearance || {});
    for (const name of ["number", "expiry", "cvc", "country"]) document.querySelector(`label[for="${name}"]`).textContent = texts[name];
    document.getElementById("hint").textContent = texts.hint;
    for (const button of document.querySelectorAll("[data-word]")) button.textContent = texts[button.dataset.word];
    const names = new Intl.DisplayNames([document.documentElement.lang], { type: "region" });
    const chosen = field.country.value || (((message.defaults || {}).billingDetails || {}).address || {}).country || (/-([A-Z]{2})$/.exec(navigator.language) || [])[1] || "US";
    field.country.replaceChildren(...countries.map((code) => [names.of(code) || code, code]).sort((one, other) => one[0].localeCompare(other[0])).map(([name, code]) => new Option(name, code, false, code === chosen)));
    if (!field.country.value) field.country.value = "US";
    document.getElementById("place").hidden = state.neverAddress;
    for (const input of Object.values(field)) input.disabled = Boolean(message.readOnly);
    setPostal();
    document.body.hidden = false;
    tellHeight();
    post({ type: "ready" });
  };

  const validate = () => {
    for (const name of Object.keys(field)) touched.add(name);
    const found = problems();
    show(found);
    const first = ["number", "expiry", "cvc", "postal"].find((name) => found[name]);
    if (!first) return null;
    field[first].focus();
    return { type: "validation_error", code: found[first], message: state.texts[found[first]] };
  };

  const makeMethod = async (billing) => {
    const wrong = validate();
    if (wrong) return { error: wrong };
    const [month, year] = field.expiry.value.split("/").map(digits);
    const params = new URLSearchParams({ type: "card", "card[number]": digits(field.number.value), "card[exp_month]": month, "card[exp_year]": year, "card[cvc]": digits(field.cvc.value) });
    const address = { country: field.country.value, ...(field.postal.closest(".field").hidden ? {} : { postal_code: field.postal.value.trim() }), ...(billing.address || {}) };
    for (const name of ["name", "email", "phone"]) if (billing[name]) params.set(`billing_details[${name}]`, billing[name]);
    if (!state.neverAddress || billing.address) for (const [name, value] of Object.entries(address)) if (value) params.set(`billing_details[address][${name}]`, value);
    try {
      const response = await fetch("../../stripe/v1/payment_methods", { method: "POST", credentials: "omit", headers: { Authorization: `Bearer ${state.key}` }, body: params });
      const body = await response.json();
      if (response.ok) return { paymentMethod: body };
      const place = { number: "number", exp_month: "expiry", exp_year: "expiry", cvc: "cvc" }[body.error.param];
      if (place) {
        document.getElementById(`${place}-problem`).textContent = body.error.message;
        field[place].setAttribute("aria-invalid", "true");
        tellHeight();
      }
      return { error: body.error };
    } catch {
      return { error: { type: "api_connection_error", message: "We could not reach the payment provider. Please check your connection and try again." } };
    }
  };

  window.addEventListener("message", async (event) => {
    if (event.source !== window.parent || event.origin !== parentOrigin) return;
    const message = event.data || {};
    if (message.sandbox !== "stripe") return;
    if (message.type === "init") init(message);
    else if (message.type === "focus") field.number.focus();
    else if (message.type === "blur") { if (document.activeElement) document.activeElement.blur(); }
    else if (message.type === "clear") { form.reset(); touched.clear(); changed(); }
    else if (message.type === "submit") post({ type: "answer", number: message.number, result: { error: validate() } });
    else if (message.type === "method") {
      if (busy) {
        post({ type: "answer", number: message.number, result: { error: { type: "invalid_request_error", message: "The card is being sent already." } } });
        return;
      }
      busy = true;
      const result = await makeMethod(message.billing || {});
      busy = false;
      post({ type: "answer", number: message.number, result });
    }
  });
  new ResizeObserver(tellHeight).observe(document.body);
  post({ type: "hello" });
})();
